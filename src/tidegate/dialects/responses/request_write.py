"""A neutral request as a Responses request.

Text comes out as it went in and fields in a fixed order, so equal requests are equal bytes.
Nothing is to be kept by the provider: whoever asks in another dialect sends its history itself.
"""

from __future__ import annotations

from typing import Any

import msgspec

from tidegate.dialects.encode import encode_json, report_leftovers
from tidegate.dialects.fidelity import Loss, Losses
from tidegate.dialects.neutral import (
    NeutralRequest,
    OpaqueTool,
    Reasoning,
    ResponseFormat,
    Tool,
)
from tidegate.dialects.openai.chat_write import effort_of_budget, is_strict_schema
from tidegate.dialects.responses.input_write import InputWriter
from tidegate.dialects.responses.parts import KIN, NAME
from tidegate.dialects.responses.request_read import ENCRYPTED_REASONING, LOGPROBS
from tidegate.dialects.wire import Quirks

_LEAST_OUTPUT_TOKENS = 16


def encode_request(request: NeutralRequest, model: str, quirks: Quirks) -> tuple[bytes, list[Loss]]:
    """Write *request* for *model*; return the body and what was lost."""
    writer = _Writer(request, quirks)
    body: dict[str, Any] = {"model": model}
    InputWriter(request, quirks, writer.losses).add_input(body)
    if request.tools or request.tool_choice is not None or request.parallel_tool_calls is not None:
        writer.add_tools(body)
    writer.add_sampling(body)
    writer.add_output(body)
    if request.extra or request.unread:
        body.update(report_leftovers(request, quirks, writer.losses))
    return encode_json(body), writer.losses.listed() if writer.losses else []


class _Writer:
    """Writes one request; collects its losses."""

    __slots__ = ("_quirks", "_request", "losses")

    def __init__(self, request: NeutralRequest, quirks: Quirks) -> None:
        self._request = request
        self._quirks = quirks
        self.losses = Losses()

    def _takes(self, feature: str) -> bool:
        """Whether the target takes *feature*; a refused one is named."""
        if feature in self._quirks.unsupported:
            self.losses.drop(feature)
            return False
        return True

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
        if request.tool_choice is not None and self._takes("tool_choice"):
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
            return {"type": "custom" if name in custom else "function", "name": name}

        if choice.mode == "tool":
            return named(choice.name)
        if choice.allowed is None or not self._takes("tool_choice.allowed"):
            return choice.mode
        return {
            "type": "allowed_tools",
            "mode": choice.mode,
            "tools": [named(name) for name in choice.allowed],
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
        written: dict[str, Any] = {"type": "function", "name": tool.name}
        if tool.description is not None:
            written["description"] = tool.description
        if tool.custom_format is not None:
            if not self._takes("tool.custom"):
                return None
            written["type"] = "custom"
            if tool.custom_format != b"{}":
                written["format"] = msgspec.Raw(tool.custom_format)
            return written
        written["parameters"] = None if tool.schema is None else msgspec.Raw(tool.schema)
        # Exactness is the default here and nowhere else.
        written["strict"] = None if self._request.dialect == NAME else False
        if tool.strict is not None and self._takes("tool.strict"):
            written["strict"] = tool.strict
        return written

    def add_sampling(self, body: dict[str, Any]) -> None:
        """Write what is one value each."""
        request, quirks = self._request, self._quirks
        limit = request.max_output_tokens
        if limit is not None and self._takes("max_output_tokens"):
            if quirks.max_output_tokens is not None and limit > quirks.max_output_tokens:
                self.losses.bend("max_output_tokens")
                limit = quirks.max_output_tokens
            if limit < _LEAST_OUTPUT_TOKENS:
                self.losses.bend("max_output_tokens")  # a smaller one is refused
            body["max_output_tokens"] = max(limit, _LEAST_OUTPUT_TOKENS)
        if request.temperature is not None and self._takes("temperature"):
            body["temperature"] = request.temperature
        if request.top_p is not None and self._takes("top_p"):
            body["top_p"] = request.top_p
        if request.top_logprobs is not None and self._takes("logprobs"):
            body["top_logprobs"] = request.top_logprobs
        if request.top_k is not None:
            self._add_foreign(body, "top_k", request.top_k)
        if request.seed is not None:
            self._add_foreign(body, "seed", request.seed)
        if request.presence_penalty:
            self._add_foreign(body, "presence_penalty", request.presence_penalty)
        if request.frequency_penalty:
            self._add_foreign(body, "frequency_penalty", request.frequency_penalty)
        if request.n is not None and request.n != 1:
            self._add_foreign(body, "n", request.n)
        if request.stop:
            self.losses.drop("stop")

    def _add_foreign(self, body: dict[str, Any], name: str, value: float) -> None:
        """Write what OpenAI's own API lacks and some compatible servers have."""
        if name in self._quirks.pass_fields:
            body[name] = value
        else:
            self.losses.drop(name)

    def add_output(self, body: dict[str, Any]) -> None:
        """Write the shape of the answer, how much to think, and whether to stream."""
        request = self._request
        include = []
        if request.logprobs and self._takes("logprobs"):
            include.append(LOGPROBS)
        if request.response_format is not None:
            self._add_format(body, request.response_format)
        if request.reasoning is not None and self._add_reasoning(body, request.reasoning):
            include.append(ENCRYPTED_REASONING)
        if include:
            body["include"] = include
        if request.user is not None and self._takes("user"):
            body["safety_identifier"] = request.user
        if request.metadata is not None and self._takes("metadata"):
            body["metadata"] = msgspec.Raw(request.metadata)
        body["store"] = False
        if request.stream:
            body["stream"] = True

    def _add_format(self, body: dict[str, Any], wanted: ResponseFormat) -> None:
        if not self._takes("response_format"):
            return
        if wanted.kind == "json":
            body["text"] = {"format": {"type": "json_object"}}
            return
        if wanted.schema is None:
            self.losses.drop("response_format")
            return
        written: dict[str, Any] = {"type": "json_schema", "name": wanted.name or "answer"}
        if wanted.description is not None:
            written["description"] = wanted.description
        written["schema"] = msgspec.Raw(wanted.schema)
        if wanted.strict is not None and self._takes("response_format.strict"):
            written["strict"] = self._strict(wanted)
        body["text"] = {"format": written}

    def _strict(self, wanted: ResponseFormat) -> bool | None:
        """Return whether to ask for the exact schema.

        OpenAI's models want every property required then; other dialects do not, and a schema
        that leaves some out would be refused.
        """
        if not wanted.strict or self._request.dialect in KIN:
            return wanted.strict
        if wanted.schema is not None and is_strict_schema(wanted.schema):
            return True
        self.losses.bend("response_format.strict")
        return False

    def _add_reasoning(self, body: dict[str, Any], reasoning: Reasoning) -> bool:
        """Write how much to think; return whether the model may think at all."""
        if self._quirks.thinking == "none" or "reasoning" in self._quirks.unsupported:
            if reasoning.mode != "off":
                self.losses.drop("reasoning")
            return False
        if reasoning.mode == "between_tools":
            self.losses.bend("reasoning")
        effort = reasoning.effort
        if reasoning.mode == "off":
            effort = "none"
        elif reasoning.budget_tokens is not None:
            self.losses.bend("reasoning.budget")
            effort = effort or effort_of_budget(reasoning.budget_tokens)
        elif effort is None and reasoning.mode is not None:
            self.losses.bend("reasoning")  # the model thinks as much as it does by default
        written: dict[str, Any] = {}
        if effort is not None:
            written["effort"] = effort
        if reasoning.display == "summarized":
            written["summary"] = "auto"
        elif reasoning.display is not None:
            self.losses.bend("reasoning.display")  # nothing is shown that was not asked for
        if written:
            body["reasoning"] = written
        return effort != "none"
