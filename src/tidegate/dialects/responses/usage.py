"""Usage as the Responses API reports it; cached tokens are part of the input's here.

    "usage": {"input_tokens": 9, "input_tokens_details": {"cached_tokens": 0, …},
              "output_tokens": 12, "output_tokens_details": {"reasoning_tokens": 0},
              "total_tokens": 21}

Source: type `ResponseUsage` of the openai package, 3.x.
"""

from __future__ import annotations

from typing import Any

import msgspec

from tidegate.dialects.openai.usage import MAX_TOKENS
from tidegate.dialects.unreadable import UNREADABLE
from tidegate.dialects.usage import Usage


class _InputDetails(msgspec.Struct):
    cached_tokens: int | None = None
    cache_write_tokens: int | None = None


class _OutputDetails(msgspec.Struct):
    reasoning_tokens: int | None = None


class _WireUsage(msgspec.Struct):
    input_tokens: int | None = None
    output_tokens: int | None = None
    input_tokens_details: _InputDetails | None = None
    output_tokens_details: _OutputDetails | None = None


class _Answer(msgspec.Struct):
    usage: _WireUsage | None = None


_decode_answer = msgspec.json.Decoder(_Answer).decode
_decode_usage = msgspec.json.Decoder(_WireUsage).decode


def usage_of_answer(body: bytes) -> Usage | None:
    """Read the usage out of a whole response; None when it has none or is malformed."""
    try:
        wire = _decode_answer(body).usage
    except UNREADABLE:
        return None
    return None if wire is None else _neutral(wire)


def usage_of_json(raw: bytes | msgspec.Raw) -> Usage | None:
    """Read a usage object by itself; None when it is `null` or malformed."""
    try:
        return _neutral(_decode_usage(raw))
    except UNREADABLE:
        return None


def _neutral(wire: _WireUsage) -> Usage | None:
    if wire.input_tokens is None and wire.output_tokens is None:
        return None
    cached = written = reasoning = 0
    if wire.input_tokens_details is not None:
        cached = wire.input_tokens_details.cached_tokens or 0
        written = wire.input_tokens_details.cache_write_tokens or 0
    if wire.output_tokens_details is not None:
        reasoning = wire.output_tokens_details.reasoning_tokens or 0
    counts = (wire.input_tokens or 0, wire.output_tokens or 0, cached, written, reasoning)
    if min(counts) < 0 or max(counts) > MAX_TOKENS:
        return None
    return Usage(*counts)


def usage_object(usage: Usage) -> dict[str, Any]:
    """Write usage."""
    return {
        "input_tokens": usage.input_tokens,
        "input_tokens_details": {
            "cached_tokens": usage.cached_input_tokens,
            "cache_write_tokens": usage.cache_write_tokens,
        },
        "output_tokens": usage.output_tokens,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
        "total_tokens": usage.input_tokens + usage.output_tokens,
    }
