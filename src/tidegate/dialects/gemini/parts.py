"""Pieces that requests, answers and streams of the Gemini API share.

Objects are read key by key: Google's JSON takes `inlineData` and `inline_data` alike, and its
own documentation uses both. Only keys of the API are respelled, never those of a caller's schema.
"""

from __future__ import annotations

import re
from typing import Any

import msgspec

from tidegate.dialects.answer_reader import usage_reader
from tidegate.dialects.neutral import FinishReason
from tidegate.dialects.reading import note
from tidegate.dialects.unreadable import UNREADABLE
from tidegate.dialects.usage import Usage
from tidegate.errors import BadRequest

NAME = "gemini"

FINISH_READ: dict[str, FinishReason] = {
    "STOP": "stop",
    "MAX_TOKENS": "length",
    "SAFETY": "refusal",
    "RECITATION": "refusal",
    "BLOCKLIST": "refusal",
    "PROHIBITED_CONTENT": "refusal",
    "SPII": "refusal",
    "IMAGE_SAFETY": "refusal",
    "IMAGE_PROHIBITED_CONTENT": "refusal",
    "MODEL_ARMOR": "refusal",
}
FINISH_WRITE: dict[FinishReason, str] = {
    "stop": "STOP",
    "stop_sequence": "STOP",
    "length": "MAX_TOKENS",
    "tool_use": "STOP",
    "refusal": "SAFETY",
    "pause": "STOP",
    "context": "MAX_TOKENS",
    "other": "OTHER",
}
#: Reasons that the API cannot tell apart from another one.
FINISH_BENT = frozenset({"stop_sequence", "pause", "context"})

#: A larger count is nonsense, which is treated as none.
_MAX_TOKENS = 1 << 31

_decode_object = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_UNDERSCORE = re.compile(r"_([a-z0-9])")
_NULL = b"null"


def camel(name: str) -> str:
    """Return `inline_data` as `inlineData`."""
    return _UNDERSCORE.sub(lambda found: found[1].upper(), name) if "_" in name else name


def keyed(raw: bytes | msgspec.Raw, path: str) -> dict[str, msgspec.Raw]:
    """Split an object of the API into its fields, nulls left out; raises `BadRequest`."""
    try:
        fields = _decode_object(raw)
    except UNREADABLE:
        raise BadRequest(f"'{path}' must be an object.", param=path) from None
    return {camel(name): value for name, value in fields.items() if bytes(value) != _NULL}


def leave(fields: dict[str, msgspec.Raw], path: str, unread: list[str]) -> None:
    """Note what nobody has taken out of *fields*."""
    for name in fields:
        note(unread, f"{path}.{name}")


class WireUsage(msgspec.Struct, rename="camel"):
    """`usageMetadata`."""

    prompt_token_count: int | None = None
    candidates_token_count: int | None = None
    thoughts_token_count: int | None = None
    cached_content_token_count: int | None = None
    tool_use_prompt_token_count: int | None = None


def neutral_usage(wire: WireUsage) -> Usage | None:
    """Count thoughts into the output and tool prompts into the input; None for nonsense."""
    if wire.prompt_token_count is None and wire.candidates_token_count is None:
        return None
    thoughts = wire.thoughts_token_count or 0
    counts = (
        (wire.prompt_token_count or 0) + (wire.tool_use_prompt_token_count or 0),
        (wire.candidates_token_count or 0) + thoughts,
        wire.cached_content_token_count or 0,
        0,
        thoughts,
    )
    if min(counts) < 0 or max(counts) > _MAX_TOKENS:
        return None
    return Usage(*counts)


def usage_object(usage: Usage) -> dict[str, Any]:
    """Write `usageMetadata`."""
    body: dict[str, Any] = {
        "promptTokenCount": usage.input_tokens,
        "candidatesTokenCount": max(0, usage.output_tokens - usage.reasoning_tokens),
        "totalTokenCount": usage.input_tokens + usage.output_tokens,
    }
    if usage.reasoning_tokens:
        body["thoughtsTokenCount"] = usage.reasoning_tokens
    if usage.cached_input_tokens:
        body["cachedContentTokenCount"] = usage.cached_input_tokens
    return body


class _Answer(msgspec.Struct, rename="camel"):
    usage_metadata: msgspec.Raw = msgspec.Raw(b"null")


_decode_answer = msgspec.json.Decoder(_Answer).decode


read_usage = usage_reader(WireUsage, neutral_usage)


def usage_of_answer(body: bytes) -> Usage | None:
    """Read the usage out of a whole JSON answer; None when it has none or is malformed."""
    try:
        return read_usage(_decode_answer(body).usage_metadata)
    except UNREADABLE:
        return None
