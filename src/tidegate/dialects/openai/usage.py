"""Usage as OpenAI-compatible answers report it.

    "usage": {"prompt_tokens": 9, "completion_tokens": 12, "total_tokens": 21,
              "prompt_tokens_details": {"cached_tokens": 0},
              "completion_tokens_details": {"reasoning_tokens": 0}}

Source: types `CompletionUsage` and `CreateEmbeddingResponse` of the openai package, 3.x.
"""

from __future__ import annotations

import msgspec

from tidegate.dialects.unreadable import UNREADABLE
from tidegate.dialects.usage import Usage


class _PromptDetails(msgspec.Struct):
    cached_tokens: int | None = None
    cache_write_tokens: int | None = None


class _CompletionDetails(msgspec.Struct):
    reasoning_tokens: int | None = None


class _WireUsage(msgspec.Struct):
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    prompt_tokens_details: _PromptDetails | None = None
    completion_tokens_details: _CompletionDetails | None = None


class _Answer(msgspec.Struct):
    usage: _WireUsage | None = None


_decode_answer = msgspec.json.Decoder(_Answer).decode
_decode_usage = msgspec.json.Decoder(_WireUsage).decode


def usage_of_answer(body: bytes) -> Usage | None:
    """Read the usage out of a whole JSON answer; None when it has none or is malformed."""
    try:
        wire = _decode_answer(body).usage
    except UNREADABLE:
        return None
    return None if wire is None else _neutral(wire)


def usage_of_json(raw: bytes) -> Usage | None:
    """Read a usage object by itself; None when it is `null` or malformed."""
    try:
        return _neutral(_decode_usage(raw))
    except UNREADABLE:
        return None


def _neutral(wire: _WireUsage) -> Usage | None:
    if wire.prompt_tokens is None and wire.completion_tokens is None:
        return None
    prompt = wire.prompt_tokens_details
    completion = wire.completion_tokens_details
    return Usage(
        input_tokens=max(0, wire.prompt_tokens or 0),
        output_tokens=max(0, wire.completion_tokens or 0),
        cached_input_tokens=max(0, (prompt.cached_tokens or 0) if prompt else 0),
        cache_write_tokens=max(0, (prompt.cache_write_tokens or 0) if prompt else 0),
        reasoning_tokens=max(0, (completion.reasoning_tokens or 0) if completion else 0),
    )
