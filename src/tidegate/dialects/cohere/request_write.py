"""A neutral request as a request of Cohere's Chat API, version 2."""

from __future__ import annotations

from typing import Any

import msgspec

from tidegate.dialects.encode import (
    CUSTOM_SCHEMA,
    NO_SCHEMA,
    encode_json,
    json_object,
    refuse_empty,
    report_leftovers,
    says,
)
from tidegate.dialects.fidelity import Loss, Losses
from tidegate.dialects.neutral import (
    Audio,
    CacheMarker,
    Document,
    Image,
    Message,
    NeutralRequest,
    OpaqueTool,
    Part,
    Refusal,
    Text,
    Thinking,
    Tool,
    ToolResult,
    ToolUse,
)
from tidegate.dialects.wire import Quirks
from tidegate.errors import BadRequest

MAX_STOPS = 5
#: Field, feature, least and most: scales that end elsewhere than other dialects'.
_SCALES = (
    ("p", "top_p", 0.01, 0.99),
    ("k", "top_k", 0, 500),
    ("presence_penalty", "presence_penalty", 0.0, 1.0),
    ("frequency_penalty", "frequency_penalty", 0.0, 1.0),
)
_BUDGET_OF_EFFORT = {"minimal": 512, "low": 1024, "medium": 8192, "high": 24576}


def encode_request(request: NeutralRequest, model: str, quirks: Quirks) -> tuple[bytes, list[Loss]]:
    """Write *request* for *model*; return the body and what was lost."""
    losses = Losses()
    messages = _Turns(request, quirks, losses).write()
    body: dict[str, Any] = {"model": model, "messages": messages}
    _add_tools(body, request, losses)
    _add_sampling(body, request, quirks, losses)
    _add_format(body, request, losses)
    _add_thinking(body, request, quirks, losses)
    for name, default in (("n", 1), ("user", None), ("metadata", None)):
        value = getattr(request, name)
        if value is not None and value != default:
            losses.drop(name)
    body.update(report_leftovers(request, quirks, losses))
    if request.stream:
        body["stream"] = True
    return encode_json(body), losses.listed()


class _Turns:
    """Writes the turns."""

    __slots__ = ("_losses", "_quirks", "_request")

    def __init__(self, request: NeutralRequest, quirks: Quirks, losses: Losses) -> None:
        self._request = request
        self._quirks = quirks
        self._losses = losses

    def write(self) -> list[dict[str, Any]]:
        """Return all turns, instructions first."""
        request = self._request
        turns: list[dict[str, Any]] = []
        for part in request.system:
            self._cache(part.cache)
        instructions = "\n\n".join([part.text for part in request.system if part.text])
        if instructions:
            turns.append({"role": "system", "content": instructions})
        for number, message in enumerate(request.messages):
            if message.name is not None:
                self._losses.drop("message.name")
            before = len(turns)
            turns += self._turns(message)
            if len(turns) == before and message.role == "user" and says(message):
                raise refuse_empty(f"messages[{number}]", "anything of this turn")
        if request.cache_last is not None:
            self._cache(request.cache_last)
        if not any(turn["role"] != "system" for turn in turns):
            raise BadRequest("The request holds no turn for the model to answer.", param="messages")
        return turns

    def _turns(self, message: Message) -> list[dict[str, Any]]:
        """Return a message's turns: each tool result is one of its own."""
        turns: list[dict[str, Any]] = []
        content: list[dict[str, Any]] = []
        calls: list[dict[str, Any]] = []
        for part in message.parts:
            if isinstance(part, ToolResult):
                turns.append(self._result(part))
            elif isinstance(part, ToolUse):
                calls.append(self._call(part))
            elif (written := self._content(part)) is not None:
                content.append(written)
        turn: dict[str, Any] = {"role": message.role}
        if len(content) == 1 and content[0]["type"] == "text":
            turn["content"] = content[0]["text"]
        elif content:
            turn["content"] = content
        if calls:
            turn["tool_calls"] = calls
        return [*turns, turn] if len(turn) > 1 else turns

    def _content(self, part: Part) -> dict[str, Any] | None:
        losses = self._losses
        self._cache(getattr(part, "cache", None))
        if isinstance(part, Text):
            if part.citations:
                losses.drop("citations")
            return {"type": "text", "text": part.text} if part.text else None
        if isinstance(part, Refusal):
            losses.bend("refusal")
            return {"type": "text", "text": part.text} if part.text else None
        if isinstance(part, Image):
            return self._image(part)
        if isinstance(part, Document) and part.text:
            losses.bend("document")
            for feature, value in (("title", part.title), ("context", part.context)):
                if value is not None:
                    losses.drop(f"document.{feature}")
            if part.cites is not None:
                losses.drop("document.citations")
            return {"type": "text", "text": part.text}
        if isinstance(part, Thinking):
            if part.redacted is not None or part.signature:
                losses.drop("thinking")
                return None
            return {"type": "thinking", "thinking": part.text}
        dropped = {Document: "document", Audio: "audio"}.get(type(part), "part")
        losses.drop(dropped)
        return None

    def _image(self, part: Image) -> dict[str, Any] | None:
        if "image" in self._quirks.unsupported:
            self._losses.drop("image")
            return None
        if part.file_id:
            self._losses.drop("image.file_id")
            return None
        url = part.url or f"data:{part.mime or 'image/png'};base64,{part.data}"
        image = {"url": url}
        if part.detail is not None:
            image["detail"] = part.detail
        return {"type": "image_url", "image_url": image}

    def _call(self, part: ToolUse) -> dict[str, Any]:
        self._cache(part.cache)
        if part.signature:
            self._losses.drop("tool_use.signature")
        arguments = part.arguments
        if part.custom:
            self._losses.bend("tool.custom")
            arguments = str(encode_json({"input": arguments}), "utf-8")
        elif json_object(arguments) is None:
            self._losses.bend("tool_use.arguments")
        function = {"name": part.name, "arguments": arguments}
        return {"id": part.id, "type": "function", "function": function}

    def _result(self, part: ToolResult) -> dict[str, Any]:
        self._cache(part.cache)
        texts = []
        for item in part.parts:
            if isinstance(item, Text):
                self._cache(item.cache)
                texts.append(item.text)
            else:
                self._losses.drop("tool_result.media")
        content = "\n".join(texts)
        if part.is_error:
            # There is no flag for it: the model is told in words.
            self._losses.bend("tool_result.is_error")
            content = f"Error: {content}"
        return {"role": "tool", "tool_call_id": part.tool_use_id, "content": content}

    def _cache(self, marker: CacheMarker | None) -> None:
        if marker is not None:
            self._losses.drop("cache_marker")


def _add_tools(body: dict[str, Any], request: NeutralRequest, losses: Losses) -> None:
    choice = request.tool_choice
    allowed = None if choice is None else choice.allowed
    if choice is not None and choice.mode == "tool":
        # One function cannot be named: only that one is told of.
        losses.bend("tool_choice")
        allowed = [choice.name]
    elif allowed is not None:
        losses.bend("tool_choice.allowed")
    tools: list[dict[str, Any]] = []
    for tool in request.tools:
        if isinstance(tool, OpaqueTool):
            losses.drop("tool.builtin")
        elif allowed is None or tool.name in allowed:
            tools.append(_tool(tool, losses))
    if request.parallel_tool_calls is False:
        losses.drop("parallel_tool_calls")
    if not tools:
        if choice is not None and choice.mode != "none":
            losses.drop("tool_choice")
        return
    body["tools"] = tools
    if any(isinstance(tool, Tool) and tool.strict for tool in request.tools):
        body["strict_tools"] = True
    if choice is not None and choice.mode != "auto":
        body["tool_choice"] = "NONE" if choice.mode == "none" else "REQUIRED"


def _tool(tool: Tool, losses: Losses) -> dict[str, Any]:
    if tool.cache is not None:
        losses.drop("cache_marker")
    function: dict[str, Any] = {"name": tool.name}
    if tool.description is not None:
        function["description"] = tool.description
    if tool.custom_format is not None:
        losses.bend("tool.custom")
        function["parameters"] = CUSTOM_SCHEMA
    else:
        function["parameters"] = NO_SCHEMA if tool.schema is None else msgspec.Raw(tool.schema)
    if tool.strict is not None:
        losses.bend("tool.strict")  # one setting for all tools there
    return {"type": "function", "function": function}


def _add_sampling(
    body: dict[str, Any], request: NeutralRequest, quirks: Quirks, losses: Losses
) -> None:
    wanted, most = request.max_output_tokens, quirks.max_output_tokens
    if wanted is not None and most is not None and wanted > most:
        losses.bend("max_output_tokens")
        wanted = most
    given = (
        ("max_tokens", wanted),
        ("temperature", request.temperature),
        ("seed", request.seed),
    )
    body.update({name: value for name, value in given if value is not None})
    for name, feature, least, largest in _SCALES:
        value = getattr(request, feature)
        if value is not None:
            body[name] = min(max(value, least), largest)
            if body[name] != value:
                losses.bend(feature)
    if request.stop:
        if len(request.stop) > MAX_STOPS:
            losses.bend("stop")
        body["stop_sequences"] = request.stop[:MAX_STOPS]
    if request.logprobs or request.top_logprobs:
        losses.bend("logprobs")
        body["logprobs"] = True


def _add_format(body: dict[str, Any], request: NeutralRequest, losses: Losses) -> None:
    wanted = request.response_format
    if wanted is None:
        return
    if "tools" in body:
        losses.drop("response_format")  # the API refuses the two together
        return
    written: dict[str, Any] = {"type": "json_object"}
    if wanted.schema is not None:
        written["json_schema"] = msgspec.Raw(wanted.schema)
    for feature, value in (("name", wanted.name or None), ("description", wanted.description)):
        if value is not None:
            losses.drop(f"response_format.{feature}")
    if wanted.strict is False:
        losses.bend("response_format.strict")
    body["response_format"] = written


def _add_thinking(
    body: dict[str, Any], request: NeutralRequest, quirks: Quirks, losses: Losses
) -> None:
    reasoning = request.reasoning
    if reasoning is None:
        return
    if reasoning.mode == "off" or reasoning.effort == "none":
        body["thinking"] = {"type": "disabled"}
        return
    if quirks.thinking == "none":
        losses.drop("reasoning")
        return
    if reasoning.display is not None:
        losses.drop("reasoning.display")
    thinking: dict[str, Any] = {"type": "enabled"}
    if reasoning.budget_tokens is not None:
        thinking["token_budget"] = reasoning.budget_tokens
        if reasoning.effort is not None:
            losses.bend("reasoning")
    elif reasoning.effort is not None:
        losses.bend("reasoning")
        thinking["token_budget"] = _BUDGET_OF_EFFORT.get(reasoning.effort, 24576)
    elif reasoning.mode == "between_tools":
        losses.bend("reasoning")
    body["thinking"] = thinking
