"""Usage as the Messages API counts it: cached and newly cached tokens are *beside* the input.

    "usage": {"input_tokens": 9, "cache_creation_input_tokens": 0, "cache_read_input_tokens": 100,
              "output_tokens": 12, "output_tokens_details": {"thinking_tokens": 5}}

The neutral form counts them within the input, as OpenAI does; 9 here is 109 there.
"""

from __future__ import annotations

from typing import Any

import msgspec

from tidegate.dialects.unreadable import UNREADABLE
from tidegate.dialects.usage import Usage

#: A count with more bits is nonsense, which is treated as none.
_TOKEN_BITS = 31


class _OutputDetails(msgspec.Struct):
    thinking_tokens: int | None = None


class WireUsage(msgspec.Struct):
    """`usage` of an answer, of `message_start` and of `message_delta` (cumulative there)."""

    input_tokens: int | None = None
    output_tokens: int | None = None
    cache_creation_input_tokens: int | None = None
    cache_read_input_tokens: int | None = None
    output_tokens_details: _OutputDetails | None = None


_decode_usage = msgspec.json.Decoder(WireUsage).decode


def read_usage(raw: bytes | msgspec.Raw, before: WireUsage | None = None) -> WireUsage | None:
    """Read a usage object; counts it leaves out are those of *before*. None when malformed."""
    try:
        wire = _decode_usage(raw)
    except UNREADABLE:
        return None
    if before is not None:
        if wire.input_tokens is None:
            wire.input_tokens = before.input_tokens
        if wire.output_tokens is None:
            wire.output_tokens = before.output_tokens
        if wire.cache_creation_input_tokens is None:
            wire.cache_creation_input_tokens = before.cache_creation_input_tokens
        if wire.cache_read_input_tokens is None:
            wire.cache_read_input_tokens = before.cache_read_input_tokens
        if wire.output_tokens_details is None:
            wire.output_tokens_details = before.output_tokens_details
    return wire


def neutral_usage(wire: WireUsage) -> Usage | None:
    """Count cached tokens into the input; None for counts that make no sense, or none at all."""
    told, output_tokens = wire.input_tokens, wire.output_tokens
    if told is None:
        if output_tokens is None:
            return None
        told = 0
    if output_tokens is None:
        output_tokens = 0
    cached = wire.cache_read_input_tokens or 0
    written = wire.cache_creation_input_tokens or 0
    thought = 0
    if wire.output_tokens_details is not None:
        thought = wire.output_tokens_details.thinking_tokens or 0
    input_tokens = told + cached + written
    if (told | cached | written | input_tokens | output_tokens | thought) >> _TOKEN_BITS:
        return None  # too many, or less than none
    return Usage(input_tokens, output_tokens, cached, written, thought)


class _Answer(msgspec.Struct):
    usage: WireUsage | None = None


_decode_answer = msgspec.json.Decoder(_Answer).decode


def usage_of_answer(body: bytes) -> Usage | None:
    """Read the usage out of a whole JSON answer; None when it has none or is malformed."""
    try:
        wire = _decode_answer(body).usage
    except UNREADABLE:
        return None
    return None if wire is None else neutral_usage(wire)


def usage_object(usage: Usage) -> dict[str, Any]:
    """Write usage, cached tokens taken out of the input."""
    cached, written = usage.cached_input_tokens, usage.cache_write_tokens
    rest = usage.input_tokens - cached - written
    body: dict[str, Any] = {
        "input_tokens": rest if rest > 0 else 0,
        "cache_creation_input_tokens": written,
        "cache_read_input_tokens": cached,
        "output_tokens": usage.output_tokens,
    }
    if usage.reasoning_tokens:
        body["output_tokens_details"] = {"thinking_tokens": usage.reasoning_tokens}
    return body
