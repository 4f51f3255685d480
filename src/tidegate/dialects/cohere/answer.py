"""Whole answers of Cohere's Chat API.

    {"id": "…", "finish_reason": "COMPLETE", "usage": {"tokens": {"input_tokens": 9, …}},
     "message": {"role": "assistant", "content": [{"type": "text", "text": "Hi"}]}}

Source: the API reference of Chat v2.
"""

from __future__ import annotations

import msgspec

from tidegate.dialects.answer_reader import usage_reader
from tidegate.dialects.neutral import (
    Choice,
    FinishReason,
    NeutralAnswer,
    Part,
    Text,
    Thinking,
    ToolUse,
    WireError,
)
from tidegate.dialects.unreadable import UNREADABLE
from tidegate.dialects.usage import Usage
from tidegate.dialects.wire import UnreadableAnswer

NAME = "cohere"
#: A larger count is nonsense, which is treated as none.
_MAX_TOKENS = 1 << 31

FINISH_READ: dict[str, FinishReason] = {
    "COMPLETE": "stop",
    "STOP_SEQUENCE": "stop_sequence",
    "MAX_TOKENS": "length",
    "TOOL_CALL": "tool_use",
    "ERROR_TOXIC": "refusal",
}
_KINDS = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    429: "rate_limit_error",
}


class _Tokens(msgspec.Struct):
    input_tokens: float | None = None
    output_tokens: float | None = None


NULL = msgspec.Raw(b"null")


class WireUsage(msgspec.Struct):
    """Tokens as counted; `billed_units` leaves out what is not charged for."""

    tokens: _Tokens | None = None
    billed_units: _Tokens | None = None
    cached_tokens: float | None = None


class WireFunction(msgspec.Struct):
    """The function of a call, whole or a piece."""

    name: str = ""
    arguments: str = ""


class WireCall(msgspec.Struct):
    """A tool call."""

    id: str = ""
    function: WireFunction | None = None


class _Content(msgspec.Struct):
    type: str = "text"
    text: str = ""
    thinking: str = ""


class _Message(msgspec.Struct):
    content: list[_Content] | str | None = None
    tool_plan: str = ""
    tool_calls: list[WireCall] | None = None


class _Answer(msgspec.Struct):
    message: _Message
    id: str = ""
    finish_reason: str = "COMPLETE"
    usage: msgspec.Raw = NULL


class _Error(msgspec.Struct):
    message: str | None = None


_decode_answer = msgspec.json.Decoder(_Answer).decode
_decode_error = msgspec.json.Decoder(_Error).decode


def neutral_usage(wire: WireUsage) -> Usage | None:
    """Return the counts; None for those that make no sense, or none at all."""
    tokens = wire.tokens or wire.billed_units
    if tokens is None or (tokens.input_tokens is None and tokens.output_tokens is None):
        return None
    counts = (
        int(tokens.input_tokens or 0),
        int(tokens.output_tokens or 0),
        int(wire.cached_tokens or 0),
    )
    if min(counts) < 0 or max(counts) > _MAX_TOKENS:
        return None
    return Usage(*counts)


read_usage = usage_reader(WireUsage, neutral_usage)


def decode_answer(body: bytes) -> NeutralAnswer:
    """Read a whole answer; raises `UnreadableAnswer`."""
    try:
        wire = _decode_answer(body)
    except UNREADABLE as error:
        raise UnreadableAnswer(f"The provider's answer cannot be read ({error}).") from None
    message = wire.message
    parts: list[Part] = []
    if message.tool_plan:
        parts.append(Thinking(message.tool_plan, origin=NAME))
    if isinstance(message.content, str):
        parts.append(Text(message.content))
    else:
        for item in message.content or ():
            if item.type == "thinking":
                parts.append(Thinking(item.thinking, origin=NAME))
            elif item.text:
                parts.append(Text(item.text))
    for call in message.tool_calls or ():
        function = call.function or WireFunction()
        parts.append(ToolUse(call.id, function.name, function.arguments))
    usage = read_usage(wire.usage)
    finish = FINISH_READ.get(wire.finish_reason, "other")
    return NeutralAnswer(wire.id, "", [Choice(parts, finish)], usage)


def decode_error(status: int, body: bytes) -> WireError:
    """Read a refusal; a *status* of 0 (in a stream) becomes 502."""
    try:
        message = _decode_error(body).message
    except UNREADABLE:
        message = None
    status = status or 502
    kind = _KINDS.get(status) or ("invalid_request_error" if status < 500 else "api_error")
    return WireError(status, message or f"The provider answered with status {status}.", kind)
