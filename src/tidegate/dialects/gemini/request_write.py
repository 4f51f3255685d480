"""A neutral request as a `generateContent` request.

Model and streaming stand in the path. What the API insists on is seen to here: roles are `user`
and `model`, neighbours of one role become one turn, and a result names the function it is of.
"""

from __future__ import annotations

from typing import Any

import msgspec

from tidegate.dialects.encode import CUSTOM_SCHEMA, encode_json, report_leftovers
from tidegate.dialects.fidelity import Loss
from tidegate.dialects.gemini.parts import NAME
from tidegate.dialects.gemini.prompt_write import (
    PromptWriter,
    sign_foreign_calls,
    wants_signed_calls,
)
from tidegate.dialects.neutral import (
    NeutralRequest,
    OpaqueTool,
    Reasoning,
    ResponseFormat,
    Tool,
)
from tidegate.dialects.wire import Quirks

MAX_STOPS = 5

_BUDGET_OF_EFFORT = {
    "none": 0,
    "minimal": 512,
    "low": 1024,
    "medium": 8192,
    "high": 24576,
    "xhigh": 32768,
    "max": 32768,
}

_LEVELS = {"minimal": "MINIMAL", "low": "LOW", "medium": "MEDIUM", "high": "HIGH", "xhigh": "XHIGH"}


def encode_request(request: NeutralRequest, model: str, quirks: Quirks) -> tuple[bytes, list[Loss]]:
    """Write *request*; return the body and what was lost. *model* goes into the path."""
    writer = _Writer(request, quirks)
    system, contents = writer.prompt()
    if writer.calls and wants_signed_calls(model):
        sign_foreign_calls(contents)
    body: dict[str, Any] = {"contents": contents}
    if system:
        body["systemInstruction"] = {"parts": system}
    if request.tools or request.tool_choice is not None:
        tools = writer.tools()
        if tools:
            body["tools"] = tools
        writer.add_tool_choice(body)
    if request.parallel_tool_calls is False:
        writer.losses.drop("parallel_tool_calls")
    config = writer.generation_config()
    if config:
        body["generationConfig"] = config
    if request.user is not None:
        writer.losses.drop("user")
    if request.metadata is not None:
        writer.losses.drop("metadata")
    if request.extra or request.unread:
        body.update(report_leftovers(request, quirks, writer.losses))
    return encode_json(body), writer.losses.listed() if writer.losses else []


class _Writer(PromptWriter):
    """Writes one request; collects its losses."""

    __slots__ = ()

    # --- tools ------------------------------------------------------------------------------

    def tools(self) -> list[dict[str, Any]]:
        """Return one entry for all functions, and one for each tool that the provider runs."""
        declared = []
        own: list[dict[str, Any]] = []
        allowed = self._filtered()
        for tool in self._request.tools:
            if isinstance(tool, OpaqueTool):
                if tool.dialect == NAME:
                    own.append(msgspec.json.decode(tool.raw, type=dict[str, Any]))
                else:
                    self.losses.drop("tool.builtin")
            elif allowed is None or tool.name in allowed:
                declared.append(self._tool(tool))
        return [{"functionDeclarations": declared}, *own] if declared else own

    def _filtered(self) -> list[str] | None:
        """Return the only tools to be told of, where the API cannot narrow a free choice."""
        choice = self._request.tool_choice
        if choice is None or choice.allowed is None or choice.mode == "required":
            return None
        self.losses.bend("tool_choice.allowed")
        return choice.allowed

    def _tool(self, tool: Tool) -> dict[str, Any]:
        self._cache(tool.cache)
        written: dict[str, Any] = {"name": tool.name}
        if tool.description is not None:
            written["description"] = tool.description
        if tool.custom_format is not None:
            self.losses.bend("tool.custom")
            written["parametersJsonSchema"] = CUSTOM_SCHEMA
        elif tool.schema is not None:
            written["parametersJsonSchema"] = msgspec.Raw(tool.schema)
        if tool.strict is not None:
            if tool.strict:
                self.losses.bend("tool.strict")  # VALIDATED holds for all functions or none
            else:
                self.losses.drop("tool.strict")
        return written

    def add_tool_choice(self, body: dict[str, Any]) -> None:
        """Write which functions may be called."""
        request = self._request
        choice = request.tool_choice
        has_tools = "tools" in body
        strict = any(isinstance(tool, Tool) and tool.strict for tool in request.tools)
        if not has_tools:
            if choice is not None and choice.mode != "none":
                self.losses.drop("tool_choice")
            return
        if choice is None:
            calling: dict[str, Any] = {"mode": "VALIDATED"} if strict else {}
        elif choice.mode == "auto":
            calling = {"mode": "VALIDATED" if strict else "AUTO"}
        elif choice.mode == "none":
            calling = {"mode": "NONE"}
        elif choice.mode == "tool":
            calling = {"mode": "ANY", "allowedFunctionNames": [choice.name]}
        else:
            calling = {"mode": "ANY"}
            if choice.allowed is not None:
                calling["allowedFunctionNames"] = choice.allowed
        if calling:
            body["toolConfig"] = {"functionCallingConfig": calling}

    # --- the rest ---------------------------------------------------------------------------

    def generation_config(self) -> dict[str, Any]:
        """Return limits, sampling, the shape of the answer and thinking."""
        request = self._request
        takes = self._takes
        config: dict[str, Any] = {}
        if request.temperature is not None and takes("temperature"):
            config["temperature"] = request.temperature
        if request.top_p is not None and takes("top_p"):
            config["topP"] = request.top_p
        if request.top_k is not None and takes("top_k"):
            config["topK"] = request.top_k
        if request.seed is not None and takes("seed"):
            config["seed"] = request.seed
        if request.presence_penalty is not None and takes("presence_penalty"):
            config["presencePenalty"] = request.presence_penalty
        if request.frequency_penalty is not None and takes("frequency_penalty"):
            config["frequencyPenalty"] = request.frequency_penalty
        if request.n is not None and takes("n"):
            config["candidateCount"] = request.n
        if request.max_output_tokens is not None:
            config["maxOutputTokens"] = self._limit(request.max_output_tokens)
        if request.stop:
            if len(request.stop) > MAX_STOPS:
                self.losses.bend("stop")
            config["stopSequences"] = request.stop[:MAX_STOPS]
        if (request.logprobs or request.top_logprobs is not None) and self._takes("logprobs"):
            config["responseLogprobs"] = bool(request.logprobs)
            if request.top_logprobs is not None:
                config["logprobs"] = request.top_logprobs
        if request.response_format is not None:
            self._add_format(config, request.response_format)
        if request.reasoning is not None:
            self._add_thinking(config, request.reasoning)
        return config

    def _limit(self, wanted: int) -> int:
        most = self._quirks.max_output_tokens
        if most is None or wanted <= most:
            return wanted
        self.losses.bend("max_output_tokens")
        return most

    def _add_format(self, config: dict[str, Any], wanted: ResponseFormat) -> None:
        if not self._takes("response_format"):
            return
        config["responseMimeType"] = "application/json"
        if wanted.schema is not None:
            config["responseJsonSchema"] = msgspec.Raw(wanted.schema)
        if wanted.name:
            self.losses.drop("response_format.name")
        if wanted.description is not None:
            self.losses.drop("response_format.description")
        if wanted.strict is False:
            self.losses.bend("response_format.strict")

    def _add_thinking(self, config: dict[str, Any], reasoning: Reasoning) -> None:
        quirks = self._quirks
        if quirks.thinking == "none" or "reasoning" in quirks.unsupported:
            if reasoning.mode != "off":
                self.losses.drop("reasoning")
            return
        written: dict[str, Any] = {}
        if reasoning.display is not None:
            written["includeThoughts"] = reasoning.display != "omitted"
        if reasoning.mode == "between_tools":
            self.losses.bend("reasoning")
        if quirks.thinking == "effort":
            self._add_level(written, reasoning)
        elif reasoning.mode == "off" or reasoning.effort == "none":
            written["thinkingBudget"] = 0
        elif reasoning.budget_tokens is not None:
            written["thinkingBudget"] = reasoning.budget_tokens
            if reasoning.effort is not None:
                self.losses.bend("reasoning")
        elif reasoning.effort is not None:
            written["thinkingBudget"] = _BUDGET_OF_EFFORT.get(reasoning.effort, 8192)
            self.losses.bend("reasoning")
        elif reasoning.mode == "adaptive":
            written["thinkingBudget"] = -1
        if written:
            config["thinkingConfig"] = written

    def _add_level(self, written: dict[str, Any], reasoning: Reasoning) -> None:
        """Write an effort for models that take levels; they cannot be told not to think."""
        effort = reasoning.effort
        if reasoning.mode == "off" or effort == "none":
            self.losses.bend("reasoning")
            effort = "minimal"
        elif effort is None and reasoning.budget_tokens is not None:
            self.losses.bend("reasoning.budget")
            effort = "low" if reasoning.budget_tokens <= 2048 else "high"
        elif effort is not None and reasoning.budget_tokens is not None:
            self.losses.bend("reasoning.budget")
        if effort is None:
            return
        if effort not in _LEVELS:
            self.losses.bend("reasoning")
        written["thinkingLevel"] = _LEVELS.get(effort, "HIGH")
