"""A neutral request as a Messages request.

What the API insists on is seen to here: turns alternate, results come first in their turn, a
limit of the output is given, four cache markers at most, and thinking leaves room for text.
Version 2026-10-21 has no sampling parameters: they are left out and named.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from tidegate.dialects.anthropic.parts import NAME
from tidegate.dialects.anthropic.prompt_write import PromptWriter
from tidegate.dialects.anthropic.sampling import sampling_of
from tidegate.dialects.encode import CUSTOM_SCHEMA, NO_SCHEMA, encode_json, report_leftovers
from tidegate.dialects.fidelity import Loss
from tidegate.dialects.neutral import (
    NeutralRequest,
    OpaqueTool,
    Reasoning,
    ResponseFormat,
    Tool,
)
from tidegate.dialects.wire import Quirks

VERSION_WITHOUT_SAMPLING = "2026-10-21"

MIN_BUDGET_TOKENS = 1024

_BUDGET_OF_EFFORT = {
    "minimal": 1024,
    "low": 2048,
    "medium": 8192,
    "high": 16384,
    "xhigh": 32768,
    "max": 65536,
}

_EFFORTS = {"low": "low", "medium": "medium", "high": "high", "xhigh": "xhigh", "max": "max"}

_CHOICES = {"auto": "auto", "none": "none", "required": "any", "tool": "tool"}


def encode_request(request: NeutralRequest, model: str, quirks: Quirks) -> tuple[bytes, list[Loss]]:
    """Write *request* for *model*; return the body and what was lost."""
    writer = _Writer(request, quirks)
    losses = writer.losses
    body: dict[str, Any] = {"model": model, "max_tokens": writer.limit()}
    system, messages = writer.prompt()
    tools = writer.tools() if request.tools or request.tool_choice is not None else []
    if writer.may_mark:
        writer.bound_markers(tools, system, messages)
    if system:
        plain = len(system) == 1 and len(system[0]) == 2
        body["system"] = system[0]["text"] if plain else system
    body["messages"] = messages
    if tools:
        body["tools"] = tools
    if request.tool_choice is not None or request.parallel_tool_calls is not None:
        writer.add_tool_choice(body, bool(tools))
    if request.reasoning is not None:
        writer.add_reasoning(body, request.reasoning)
    writer.add_sampling(body, model)
    if request.response_format is not None:
        writer.add_format(body, request.response_format)
    if request.metadata is not None or request.user is not None:
        writer.add_metadata(body)
    if request.stream:
        body["stream"] = True
    if request.extra or request.unread:
        body.update(report_leftovers(request, quirks, losses))
    return encode_json(body), losses.listed() if losses else []


class _Writer(PromptWriter):
    """Writes one request; collects its losses."""

    __slots__ = ()

    # --- tools ------------------------------------------------------------------------------

    def tools(self) -> list[dict[str, Any]]:
        """Return the tools; those that another provider runs are named and left out."""
        written = []
        allowed = self._allowed()
        for tool in self._request.tools:
            if isinstance(tool, OpaqueTool):
                if tool.dialect == NAME:
                    self.may_mark = True
                    written.append(msgspec.json.decode(tool.raw, type=dict[str, Any]))
                else:
                    self.losses.drop("tool.builtin")
            elif allowed is None or tool.name in allowed:
                written.append(self._tool(tool))
        return written

    def _allowed(self) -> list[str] | None:
        choice = self._request.tool_choice
        if choice is None or choice.allowed is None:
            return None
        # The model is not told of the others, which costs the cached prefix.
        self.losses.bend("tool_choice.allowed")
        return choice.allowed

    def _tool(self, tool: Tool) -> dict[str, Any]:
        written: dict[str, Any] = {"name": tool.name}
        if tool.description is not None:
            written["description"] = tool.description
        if tool.custom_format is not None:
            self.losses.bend("tool.custom")
            written["input_schema"] = CUSTOM_SCHEMA
        else:
            written["input_schema"] = NO_SCHEMA if tool.schema is None else msgspec.Raw(tool.schema)
        if tool.strict is not None and self._takes("tool.strict"):
            written["strict"] = tool.strict
        written.update(self._cache(tool.cache))
        return written

    def add_tool_choice(self, body: dict[str, Any], has_tools: bool) -> None:
        """Write which tools may be called; parallel calls are part of that here."""
        request = self._request
        choice, parallel = request.tool_choice, request.parallel_tool_calls
        if not has_tools:
            if choice is not None and choice.mode != "none":
                self.losses.drop("tool_choice")
            if parallel is not None:
                self.losses.drop("parallel_tool_calls")
            return
        mode = "auto" if choice is None else choice.mode
        written: dict[str, Any] = {"type": _CHOICES[mode]}
        if choice is not None and mode == "tool":
            written["name"] = choice.name
        if parallel is not None:
            if mode == "none":
                self.losses.drop("parallel_tool_calls")
            else:
                written["disable_parallel_tool_use"] = not parallel
        body["tool_choice"] = written

    # --- the rest ---------------------------------------------------------------------------

    def add_reasoning(self, body: dict[str, Any], reasoning: Reasoning) -> None:
        """Write how much to think, in the way that the target's models take it."""
        quirks = self._quirks
        if quirks.thinking == "none" or "reasoning" in quirks.unsupported:
            if reasoning.mode != "off":
                self.losses.drop("reasoning")
            return
        if reasoning.mode == "off":
            body["thinking"] = {"type": "disabled"}
            return
        if body.get("tool_choice", {}).get("type") in ("any", "tool"):
            self.losses.drop("reasoning")  # a call that is forced comes without thinking there
        elif quirks.thinking == "effort":
            self._add_effort(body, reasoning)
        else:
            self._add_budget(body, reasoning)
        if reasoning.display is not None and "thinking" in body:
            body["thinking"]["display"] = reasoning.display
        elif reasoning.display is not None:
            self.losses.drop("reasoning.display")

    def _add_effort(self, body: dict[str, Any], reasoning: Reasoning) -> None:
        if reasoning.mode == "between_tools":
            body["thinking"] = {"type": "between_tools"}
        else:
            if reasoning.budget_tokens is not None:
                self.losses.bend("reasoning.budget")
            body["thinking"] = {"type": "adaptive"}
        effort = reasoning.effort
        if effort is None and reasoning.budget_tokens is not None:
            effort = _effort_of_budget(reasoning.budget_tokens)
        if effort is not None:
            if effort not in _EFFORTS:
                self.losses.bend("reasoning")
            body["output_config"] = {"effort": _EFFORTS.get(effort, "low")}

    def _add_budget(self, body: dict[str, Any], reasoning: Reasoning) -> None:
        budget = reasoning.budget_tokens
        if budget is None:
            budget = _BUDGET_OF_EFFORT.get(reasoning.effort or "medium", 8192)
            self.losses.bend("reasoning")  # a drop of it further down outweighs this
        elif reasoning.effort is not None:
            self.losses.bend("reasoning")
        if continues_unsigned(body["messages"]):
            # The API wants the thinking that led to a call; it was not handed back.
            self.losses.drop("reasoning")
            return
        room = int(body["max_tokens"])
        if self._request.max_output_tokens is None:
            # The limit is ours and not the caller's: thinking comes on top of it.
            room += budget
            most = self._quirks.max_output_tokens
            body["max_tokens"] = room = room if most is None else min(room, most)
        if min(budget, room - MIN_BUDGET_TOKENS) < MIN_BUDGET_TOKENS:
            self.losses.drop("reasoning")
            return
        if budget >= room:
            budget = room - MIN_BUDGET_TOKENS
            self.losses.bend("reasoning.budget")
        body["thinking"] = {"type": "enabled", "budget_tokens": budget}

    def add_sampling(self, body: dict[str, Any], model: str) -> None:
        """Write sampling parameters, where version and model have them; see `sampling_of`."""
        request = self._request
        if (
            request.temperature is not None
            or request.top_p is not None
            or request.top_k is not None
        ):
            self._add_sampled(body, sampling_of(model))
        if request.seed is not None:
            self.losses.drop("seed")
        if request.presence_penalty:
            self.losses.drop("presence_penalty")
        if request.frequency_penalty:
            self.losses.drop("frequency_penalty")
        if request.n is not None and request.n != 1:
            self.losses.drop("n")
        if request.logprobs or request.top_logprobs:
            self.losses.drop("logprobs")
        if request.stop:
            kept = [word for word in request.stop if word.strip()]
            if len(kept) < len(request.stop):
                self.losses.drop("stop")  # a stop of white space is refused
            if kept:
                body["stop_sequences"] = kept

    def _add_sampled(self, body: dict[str, Any], taken: Literal["all", "one", "none"]) -> None:
        request = self._request
        thinks = "thinking" in body and body["thinking"]["type"] in ("enabled", "adaptive")
        none = taken == "none" or self._quirks.version >= VERSION_WITHOUT_SAMPLING
        temperature, top_p, top_k = request.temperature, request.top_p, request.top_k
        if temperature is not None:
            if none or thinks:
                if temperature != 1:
                    self.losses.drop("temperature")
            elif self._takes("temperature"):
                if temperature > 1:
                    self.losses.bend("temperature")  # the scale ends at 1 here and at 2 there
                body["temperature"] = min(temperature, 1.0)
        if top_p is not None:
            if none or (taken == "one" and "temperature" in body):
                if top_p != 1:
                    self.losses.drop("top_p")
            elif self._takes("top_p"):
                body["top_p"] = top_p
        if top_k is not None:
            if none or thinks:
                self.losses.drop("top_k")
            elif self._takes("top_k"):
                body["top_k"] = top_k

    def add_metadata(self, body: dict[str, Any]) -> None:
        """Write the end user, who is one of the labels here; labels of others are named."""
        request = self._request
        metadata: dict[str, Any] = {}
        if request.metadata is not None and request.dialect == NAME:
            metadata = msgspec.json.decode(request.metadata, type=dict[str, Any])
        elif request.metadata is not None:
            self.losses.drop("metadata")
        if request.user is not None:
            metadata["user_id"] = request.user
        if metadata:
            body["metadata"] = metadata

    def add_format(self, body: dict[str, Any], wanted: ResponseFormat) -> None:
        """Write the shape of the answer's text, where there is a schema of it."""
        if not self._takes("response_format"):
            return
        if wanted.kind == "json" or wanted.schema is None:
            self.losses.drop("response_format")
            return
        if wanted.name:
            self.losses.drop("response_format.name")
        if wanted.description is not None:
            self.losses.drop("response_format.description")
        if wanted.strict is False:
            self.losses.bend("response_format.strict")
        config = body.setdefault("output_config", {})
        config["format"] = {"type": "json_schema", "schema": msgspec.Raw(wanted.schema)}


def _effort_of_budget(budget_tokens: int) -> str:
    for effort in ("low", "medium", "high", "xhigh"):
        if budget_tokens <= _BUDGET_OF_EFFORT[effort]:
            return effort
    return "max"


def continues_unsigned(messages: list[dict[str, Any]]) -> bool:
    """Whether the model is amid a round of calls whose thinking is missing."""
    for turn in reversed(messages):
        blocks = turn["content"]
        if isinstance(blocks, str):
            return False
        if turn["role"] == "assistant":
            kinds = [block["type"] for block in blocks]
            return "tool_use" in kinds and kinds[0] not in ("thinking", "redacted_thinking")
        if blocks[0]["type"] != "tool_result":
            return False
    return False
