"""Whole answers of the Converse API.

    {"output": {"message": {"role": "assistant", "content": [{"text": "Hi"}]}},
     "stopReason": "end_turn", "usage": {"inputTokens": 9, "outputTokens": 2, …}}

Source: the API reference of Converse.
"""

from __future__ import annotations

import msgspec

from tidegate.dialects.answer_reader import usage_reader
from tidegate.dialects.neutral import (
    Choice,
    FinishReason,
    NeutralAnswer,
    OpaquePart,
    Part,
    Text,
    Thinking,
    ToolUse,
)
from tidegate.dialects.unreadable import UNREADABLE
from tidegate.dialects.usage import Usage
from tidegate.dialects.wire import UnreadableAnswer

NAME = "bedrock"
#: A larger count is nonsense, which is treated as none.
_MAX_TOKENS = 1 << 31

FINISH_READ: dict[str, FinishReason] = {
    "end_turn": "stop",
    "stop_sequence": "stop_sequence",
    "max_tokens": "length",
    "tool_use": "tool_use",
    "guardrail_intervened": "refusal",
    "content_filtered": "refusal",
    "model_context_window_exceeded": "context",
}


NULL = msgspec.Raw(b"null")


class WireUsage(msgspec.Struct, rename="camel"):
    """Cached tokens stand beside the input here."""

    input_tokens: int | None = None
    output_tokens: int | None = None
    cache_read_input_tokens: int | None = None
    cache_write_input_tokens: int | None = None


class _ReasoningText(msgspec.Struct):
    text: str = ""
    signature: str | None = None


class _Reasoning(msgspec.Struct, rename="camel"):
    reasoning_text: _ReasoningText | None = None
    redacted_content: str | None = None


class _ToolUse(msgspec.Struct, rename="camel"):
    tool_use_id: str
    name: str
    input: msgspec.Raw = msgspec.Raw(b"{}")


class _Block(msgspec.Struct, rename="camel"):
    text: str | None = None
    tool_use: _ToolUse | None = None
    reasoning_content: _Reasoning | None = None


class _Message(msgspec.Struct):
    content: list[msgspec.Raw]


class _Output(msgspec.Struct):
    message: _Message


class _Answer(msgspec.Struct, rename="camel"):
    output: _Output
    stop_reason: str = "end_turn"
    usage: msgspec.Raw = NULL


_decode_answer = msgspec.json.Decoder(_Answer).decode
_decode_block = msgspec.json.Decoder(_Block).decode


def neutral_usage(wire: WireUsage) -> Usage | None:
    """Count cached tokens into the input; None for counts that make no sense, or none at all."""
    if wire.input_tokens is None and wire.output_tokens is None:
        return None
    cached, written = wire.cache_read_input_tokens or 0, wire.cache_write_input_tokens or 0
    counts = (
        (wire.input_tokens or 0) + cached + written,
        wire.output_tokens or 0,
        cached,
        written,
    )
    if min(*counts, wire.input_tokens or 0) < 0 or max(counts) > _MAX_TOKENS:
        return None
    return Usage(*counts)


read_usage = usage_reader(WireUsage, neutral_usage)


def decode_answer(body: bytes) -> NeutralAnswer:
    """Read a whole answer; raises `UnreadableAnswer`."""
    try:
        wire = _decode_answer(body)
        parts = [
            part for raw in wire.output.message.content if (part := _read_block(raw)) is not None
        ]
    except UNREADABLE as error:
        raise UnreadableAnswer(f"The provider's answer cannot be read ({error}).") from None
    usage = read_usage(wire.usage)
    finish = FINISH_READ.get(wire.stop_reason, "other")
    return NeutralAnswer("", "", [Choice(parts, finish)], usage)


def _read_block(raw: msgspec.Raw) -> Part | None:
    block = _decode_block(raw)
    if block.text is not None:
        return Text(block.text) if block.text else None
    if block.tool_use is not None:
        call = block.tool_use
        return ToolUse(call.tool_use_id, call.name, str(bytes(call.input), "utf-8"))
    if block.reasoning_content is not None:
        thought = block.reasoning_content
        if thought.redacted_content is not None:
            return Thinking(redacted=thought.redacted_content, origin=NAME)
        text = thought.reasoning_text or _ReasoningText()
        return Thinking(text.text, text.signature, origin=NAME)
    return OpaquePart(NAME, "block", bytes(raw))
