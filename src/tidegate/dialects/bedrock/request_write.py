"""A neutral request as a Converse request: the prompt is `prompt_write`'s, the rest is here."""

from __future__ import annotations

import re
from typing import Any

import msgspec

from tidegate.dialects.anthropic.sampling import sampling_of
from tidegate.dialects.bedrock.prompt_write import PromptWriter
from tidegate.dialects.encode import CUSTOM_SCHEMA, NO_SCHEMA, encode_json, report_leftovers
from tidegate.dialects.fidelity import Loss, Losses
from tidegate.dialects.neutral import (
    NeutralRequest,
    OpaqueTool,
    Reasoning,
    ResponseFormat,
    Tool,
    ToolUse,
)
from tidegate.dialects.wire import Quirks

_MAX_LABELS = 16
_LABEL = re.compile(r"[a-zA-Z0-9 :_@$#=/+,.-]{1,256}\Z")
_decode_labels = msgspec.json.Decoder(dict[str, str]).decode
_BUDGET_OF_EFFORT = {"minimal": 1024, "low": 2048, "medium": 8192, "high": 16384}


def encode_request(request: NeutralRequest, model: str, quirks: Quirks) -> tuple[bytes, list[Loss]]:
    """Write *request*; return the body and what was lost. *model* goes into the path."""
    losses = Losses()
    prompt = PromptWriter(request, quirks, losses)
    system, messages = prompt.write()
    body: dict[str, Any] = {"messages": messages}
    if system:
        body["system"] = system
    settings = _Settings(request, quirks, losses)
    settings.add_tools(body, prompt)
    settings.add_inference(body, model)
    if request.reasoning is not None:
        settings.add_reasoning(body, request.reasoning)
    if request.response_format is not None:
        settings.add_format(body, request.response_format)
    if request.metadata is not None:
        settings.add_metadata(body, request.metadata)
    settings.name_the_rest()
    if request.extra or request.unread:
        body.update(report_leftovers(request, quirks, losses))
    return encode_json(body), losses.listed() if losses else []


class _Settings:
    """Writes tools, sampling and thinking."""

    __slots__ = ("_losses", "_quirks", "_request")

    def __init__(self, request: NeutralRequest, quirks: Quirks, losses: Losses) -> None:
        self._request = request
        self._quirks = quirks
        self._losses = losses

    def add_tools(self, body: dict[str, Any], prompt: PromptWriter) -> None:
        """Write the tools and which of them may be called."""
        request, losses = self._request, self._losses
        choice = request.tool_choice
        if request.parallel_tool_calls is False:
            losses.drop("parallel_tool_calls")
        allowed = None if choice is None else choice.allowed
        if allowed is not None:
            losses.bend("tool_choice.allowed")
        given = request.tools
        if choice is not None and choice.mode == "none":
            # The API has no word for it: the model is not told of any tool, if that can be.
            if given:
                losses.bend("tool_choice")
                losses.bend("tool")
            given, choice = [], None
        if not given and prompt.calls and (used := _tools_used(request)):
            # Turns with calls are only taken beside tools.
            losses.bend("tool_use")
            given = used
        tools: list[Any] = []
        for tool in given:
            if isinstance(tool, OpaqueTool):
                losses.drop("tool.builtin")
            elif allowed is None or tool.name in allowed:
                tools.append(self._tool(tool))
                tools += prompt.cache_point(tool.cache)
        if not tools:
            if choice is not None:
                losses.drop("tool_choice")
            return
        config: dict[str, Any] = {"tools": tools}
        if choice is not None and choice.mode == "tool":
            config["toolChoice"] = {"tool": {"name": choice.name}}
        elif choice is not None:
            config["toolChoice"] = {"any" if choice.mode == "required" else "auto": {}}
        body["toolConfig"] = config

    def _tool(self, tool: Tool) -> dict[str, Any]:
        spec: dict[str, Any] = {"name": tool.name}
        if tool.description:
            spec["description"] = tool.description
        if tool.custom_format is not None:
            self._losses.bend("tool.custom")
            spec["inputSchema"] = {"json": CUSTOM_SCHEMA}
        else:
            schema = NO_SCHEMA if tool.schema is None else msgspec.Raw(tool.schema)
            spec["inputSchema"] = {"json": schema}
        if tool.strict is not None:
            if "tool.strict" in self._quirks.unsupported:
                self._losses.drop("tool.strict")
            else:
                spec["strict"] = tool.strict
        return {"toolSpec": spec}

    def add_format(self, body: dict[str, Any], wanted: ResponseFormat) -> None:
        """Write the schema of the answer's text, as JSON within a text."""
        losses = self._losses
        if wanted.schema is None or "response_format" in self._quirks.unsupported:
            losses.drop("response_format")
            return
        schema = {"schema": str(wanted.schema, "utf-8")}
        if wanted.name:
            schema["name"] = wanted.name
        if wanted.description is not None:
            schema["description"] = wanted.description
        if wanted.strict is False:
            losses.bend("response_format.strict")
        text = {"type": "json_schema", "structure": {"jsonSchema": schema}}
        body.setdefault("outputConfig", {})["textFormat"] = text

    def add_metadata(self, body: dict[str, Any], metadata: bytes) -> None:
        """Write the caller's labels, where they are what the API takes: texts of plain signs."""
        try:
            labels = _decode_labels(metadata)
        except msgspec.DecodeError:
            labels = {}
        if not 0 < len(labels) <= _MAX_LABELS or not all(
            _LABEL.match(text) for pair in labels.items() for text in pair
        ):
            self._losses.drop("metadata")
            return
        body["requestMetadata"] = labels

    def add_inference(self, body: dict[str, Any], model: str) -> None:
        """Write limits and sampling, as much of it as the model takes; see `sampling_of`."""
        request, losses = self._request, self._losses
        taken = sampling_of(model)
        config: dict[str, Any] = {}
        wanted, most = request.max_output_tokens, self._quirks.max_output_tokens
        if wanted is not None and most is not None and wanted > most:
            losses.bend("max_output_tokens")
            wanted = most
        if wanted is not None:
            config["maxTokens"] = wanted
        if taken == "none":
            if request.temperature not in (None, 1):
                losses.drop("temperature")
        elif request.temperature is not None:
            config["temperature"] = min(request.temperature, 1.0)
            if request.temperature > 1:
                losses.bend("temperature")  # the scale ends at 1 here and at 2 there
        too_much = taken == "none" or (taken == "one" and "temperature" in config)
        if request.top_p is not None and too_much:
            if request.top_p != 1:
                losses.drop("top_p")
        elif request.top_p is not None:
            config["topP"] = request.top_p
        if request.stop:
            config["stopSequences"] = request.stop
        if config:
            body["inferenceConfig"] = config
        if request.top_k is not None:
            if "top_k" in self._quirks.pass_fields and taken != "none":
                body.setdefault("additionalModelRequestFields", {})["top_k"] = request.top_k
            else:
                losses.drop("top_k")

    def add_reasoning(self, body: dict[str, Any], reasoning: Reasoning) -> None:
        """Write how much to think: a level, or a budget as Anthropic's models take it."""
        losses = self._losses
        if reasoning.mode == "off" or reasoning.effort == "none":
            return
        if self._quirks.thinking == "effort" and reasoning.effort is not None:
            body.setdefault("outputConfig", {})["effort"] = reasoning.effort
            return
        if self._quirks.thinking != "budget":
            losses.drop("reasoning")
            return
        budget = reasoning.budget_tokens
        if budget is None or reasoning.effort is not None:
            losses.bend("reasoning")
        if budget is None:
            budget = _BUDGET_OF_EFFORT.get(reasoning.effort or "medium", 16384)
        if reasoning.display is not None:
            losses.drop("reasoning.display")
        limit = self._request.max_output_tokens
        if limit is not None and budget >= limit:
            losses.bend("reasoning.budget")
            budget = limit - 1
        if budget < 1024:
            losses.drop("reasoning")
            return
        fields = body.setdefault("additionalModelRequestFields", {})
        fields["thinking"] = {"type": "enabled", "budget_tokens": budget}
        if body.get("inferenceConfig", {}).pop("temperature", 1.0) != 1.0:
            losses.drop("temperature")

    def name_the_rest(self) -> None:
        """Name what this API has no place for at all."""
        request, losses = self._request, self._losses
        if request.seed is not None:
            losses.drop("seed")
        if request.presence_penalty:
            losses.drop("presence_penalty")
        if request.frequency_penalty:
            losses.drop("frequency_penalty")
        if request.n is not None and request.n != 1:
            losses.drop("n")
        if request.user is not None:
            losses.drop("user")
        if request.logprobs or request.top_logprobs:
            losses.drop("logprobs")


def _tools_used(request: NeutralRequest) -> list[Tool | OpaqueTool]:
    """Return the tools that the conversation has calls of, as far as the caller described them."""
    names = dict.fromkeys(
        part.name
        for message in request.messages
        for part in message.parts
        if isinstance(part, ToolUse)
    )
    known = {tool.name: tool for tool in request.tools if isinstance(tool, Tool)}
    return [known.get(name) or Tool(name) for name in names]
