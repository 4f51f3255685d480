"""A neutral request as a Chat Completions request.

Text comes out as it went in and fields in a fixed order, so equal requests are equal bytes.
"""

from __future__ import annotations

from typing import Any

import msgspec

from tidegate.dialects.encode import encode_json, report_leftovers
from tidegate.dialects.fidelity import Loss
from tidegate.dialects.neutral import (
    NeutralRequest,
    OpaqueTool,
    Reasoning,
    ResponseFormat,
    Tool,
)
from tidegate.dialects.openai.chat_messages import MessagesWriter
from tidegate.dialects.openai.chat_parts import NAME
from tidegate.dialects.openai.custom_format import to_chat
from tidegate.dialects.unreadable import UNREADABLE
from tidegate.dialects.wire import Quirks

#: Shares of thinking that a budget asks for, as the nearest effort: largest budget, effort.
_EFFORT_OF_BUDGET = ((2048, "low"), (8192, "medium"))


def encode_request(request: NeutralRequest, model: str, quirks: Quirks) -> tuple[bytes, list[Loss]]:
    """Write *request* for *model*; return the body and what was lost."""
    writer = _Writer(request, quirks)
    body: dict[str, Any] = {"model": model, "messages": writer.messages()}
    if request.tools or request.tool_choice is not None or request.parallel_tool_calls is not None:
        writer.add_tools(body)
    writer.add_sampling(body)
    if request.response_format is not None:
        writer.add_response_format(body, request.response_format)
    if request.reasoning is not None:
        writer.add_reasoning(body, request.reasoning)
    if request.user is not None or request.metadata is not None:
        writer.add_labels(body)
    if request.stream:
        body["stream"] = True
        if quirks.stream_usage:
            body["stream_options"] = {"include_usage": True}
    if request.extra or request.unread:
        body.update(report_leftovers(request, quirks, writer.losses))
    return encode_json(body), writer.losses.listed() if writer.losses else []


class _Writer(MessagesWriter):
    """Writes one request; collects its losses."""

    __slots__ = ()

    # --- the rest ---------------------------------------------------------------------------

    def add_tools(self, body: dict[str, Any]) -> None:
        """Write tools, and which of them may be called."""
        request = self._request
        tools = [written for tool in request.tools if (written := self._tool(tool)) is not None]
        if not tools:
            if request.tool_choice is not None and request.tool_choice.mode != "none":
                self.losses.drop("tool_choice")
            if request.parallel_tool_calls is not None:
                self.losses.drop("parallel_tool_calls")
            return
        body["tools"] = tools
        choice = request.tool_choice
        if choice is not None and self._takes("tool_choice"):
            body["tool_choice"] = self._tool_choice()
        if request.parallel_tool_calls is not None and self._takes("parallel_tool_calls"):
            body["parallel_tool_calls"] = request.parallel_tool_calls

    def _tool_choice(self) -> Any:
        choice = self._request.tool_choice
        assert choice is not None
        custom = {
            tool.name
            for tool in self._request.tools
            if isinstance(tool, Tool) and tool.custom_format is not None
        }

        def named(name: str) -> dict[str, Any]:
            kind = "custom" if name in custom else "function"
            return {"type": kind, kind: {"name": name}}

        if choice.mode == "tool":
            return named(choice.name)
        if choice.allowed is None:
            return choice.mode
        if not self._takes("tool_choice.allowed"):
            return choice.mode
        return {
            "type": "allowed_tools",
            "allowed_tools": {"mode": choice.mode, "tools": [named(n) for n in choice.allowed]},
        }

    def _tool(self, tool: Tool | OpaqueTool) -> Any | None:
        if isinstance(tool, OpaqueTool):
            if tool.dialect == NAME:
                return msgspec.Raw(tool.raw)
            self.losses.drop("tool.builtin")
            return None
        if not self._takes("tool"):
            return None
        if tool.cache is not None:
            self.losses.drop("cache_marker")
        if tool.custom_format is not None and not self._takes("tool.custom"):
            return None
        function: dict[str, Any] = {"name": tool.name}
        if tool.description is not None:
            function["description"] = tool.description
        if tool.custom_format is not None:
            if tool.custom_format != b"{}":
                function["format"] = msgspec.Raw(to_chat(tool.custom_format))
            return {"type": "custom", "custom": function}
        if tool.schema is not None:
            function["parameters"] = msgspec.Raw(tool.schema)
        if tool.strict is not None and self._takes("tool.strict"):
            function["strict"] = tool.strict
        return {"type": "function", "function": function}

    def add_sampling(self, body: dict[str, Any]) -> None:
        """Write what is one value each."""
        request, quirks = self._request, self._quirks
        limit = request.max_output_tokens
        if limit is not None and self._takes("max_output_tokens"):
            if quirks.max_output_tokens is not None and limit > quirks.max_output_tokens:
                self.losses.bend("max_output_tokens")
                limit = quirks.max_output_tokens
            body[quirks.max_tokens_field] = limit
        takes = self._takes
        if request.temperature is not None and takes("temperature"):
            body["temperature"] = request.temperature
        if request.top_p is not None and takes("top_p"):
            body["top_p"] = request.top_p
        if request.seed is not None and takes("seed"):
            body["seed"] = request.seed
        if request.presence_penalty and takes("presence_penalty"):
            body["presence_penalty"] = request.presence_penalty
        if request.frequency_penalty and takes("frequency_penalty"):
            body["frequency_penalty"] = request.frequency_penalty
        if request.n is not None and request.n != 1 and takes("n"):
            body["n"] = request.n
        if request.logprobs and takes("logprobs"):
            body["logprobs"] = True
        if request.top_logprobs is not None and takes("logprobs"):
            body["top_logprobs"] = request.top_logprobs
        if request.top_k is not None:
            if "top_k" in quirks.pass_fields:
                body["top_k"] = request.top_k
            else:
                self.losses.drop("top_k")
        if request.stop and takes("stop"):
            body["stop"] = request.stop

    def add_labels(self, body: dict[str, Any]) -> None:
        """Write who the end user is, and the caller's labels."""
        request = self._request
        if request.user is not None and self._takes("user"):
            body["user"] = request.user
        if request.metadata is not None and self._takes("metadata"):
            body["metadata"] = msgspec.Raw(request.metadata)

    def add_response_format(self, body: dict[str, Any], wanted: ResponseFormat) -> None:
        """Write the shape of the answer's text."""
        if not self._takes("response_format"):
            return
        if wanted.kind == "json":
            body["response_format"] = {"type": "json_object"}
            return
        schema: dict[str, Any] = {"name": wanted.name or "answer"}
        if wanted.description is not None:
            schema["description"] = wanted.description
        if wanted.schema is not None:
            schema["schema"] = msgspec.Raw(wanted.schema)
        if wanted.strict is not None and self._takes("response_format.strict"):
            schema["strict"] = self._strict(wanted)
        body["response_format"] = {"type": "json_schema", "json_schema": schema}

    def _strict(self, wanted: ResponseFormat) -> bool | None:
        """Return whether to ask for the exact schema.

        OpenAI's models want every property required then; other dialects do not, and a schema
        that leaves some out would be refused.
        """
        if not wanted.strict or self._request.dialect in (NAME, "responses"):
            return wanted.strict
        if wanted.schema is not None and is_strict_schema(wanted.schema):
            return True
        self.losses.bend("response_format.strict")
        return False

    def add_reasoning(self, body: dict[str, Any], reasoning: Reasoning) -> None:
        """Write how much to think."""
        if self._quirks.thinking == "none" or "reasoning" in self._unsupported:
            if reasoning.mode != "off":
                self.losses.drop("reasoning")
            return
        if reasoning.display is not None:
            self.losses.drop("reasoning.display")
        if reasoning.mode == "between_tools":
            self.losses.bend("reasoning")
        effort = reasoning.effort
        if reasoning.mode == "off":
            effort = "none"
        elif reasoning.budget_tokens is not None:
            self.losses.bend("reasoning.budget")
            effort = effort or effort_of_budget(reasoning.budget_tokens)
        if effort is not None:
            body["reasoning_effort"] = effort
        elif reasoning.mode is not None:
            self.losses.bend("reasoning")  # the model thinks as much as it does by default


def is_strict_schema(raw: bytes) -> bool:
    """Whether all objects of a schema are closed and require all their properties."""
    try:
        return _is_closed(msgspec.json.decode(raw))
    except UNREADABLE:
        return False


def effort_of_budget(budget_tokens: int) -> str:
    """Return the effort that comes nearest to a budget of thinking tokens."""
    for largest, effort in _EFFORT_OF_BUDGET:
        if budget_tokens <= largest:
            return effort
    return "high"


def _is_closed(node: Any) -> bool:
    if isinstance(node, list):
        return all(_is_closed(item) for item in node)
    if not isinstance(node, dict):
        return True
    properties = node.get("properties")
    if node.get("type") == "object" or properties is not None:
        if node.get("additionalProperties") is not False:
            return False
        required = node.get("required")
        names = set(required) if isinstance(required, list) else set()
        if isinstance(properties, dict) and not names.issuperset(properties):
            return False
    return all(_is_closed(item) for item in node.values())
