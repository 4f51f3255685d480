"""Pieces that chat requests, answers and streams share: reasoning and citations.

The Chat API has no field for reasoning that can be given back. Two conventions are widely
read and written: `reasoning_content` (text alone) and `reasoning_details`, a list that also
carries signatures and encrypted reasoning:

    {"type": "reasoning.text", "text": "…", "signature": "…", "format": "anthropic-claude-v1",
     "index": 0}
    {"type": "reasoning.encrypted", "data": "…", "format": "openai-responses-v1", "index": 1}

`format` says whose state it is, so it needs no envelope here, and `index` is what SDKs join the
pieces of a stream by. The state that Gemini hangs on a call stands in the call's
`extra_content.google.thought_signature`, as at Google's own compatible endpoint.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from tidegate.dialects.neutral import Citation, Thinking
from tidegate.dialects.unreadable import UNREADABLE

NAME = "openai"

_encode = msgspec.json.Encoder().encode


class Detail(msgspec.Struct):
    """An item of `reasoning_details`, or of `thinking_blocks` as some clients write them."""

    type: str = ""
    text: str | None = None
    thinking: str | None = None
    summary: str | None = None
    signature: str | None = None
    data: str | None = None
    format: str | None = None


class UrlCitation(msgspec.Struct):
    """Where a span of the text comes from; indexes are characters."""

    url: str = ""
    title: str = ""
    start_index: int | None = None
    end_index: int | None = None


class _Annotation(msgspec.Struct):
    type: str = ""
    url_citation: UrlCitation | None = None


_decode_annotation = msgspec.json.Decoder(_Annotation).decode
#: As OpenRouter names them, whose clients know no others.
_ORIGINS = {
    "anthropic-claude-v1": "anthropic",
    "google-gemini-v1": "gemini",
    "openai-responses-v1": "responses",
    "unknown": "",
}
_FORMATS = {origin: name for name, origin in _ORIGINS.items()}


def thinking_of_details(details: Iterable[Detail]) -> list[Thinking]:
    """Read reasoning items; signatures and encrypted data stay as they are."""
    found = []
    for item in details:
        origin = _ORIGINS.get(item.format or "", item.format or "")
        if item.data is not None:
            found.append(Thinking(redacted=item.data, origin=origin))
        else:
            text = item.text or item.thinking or item.summary or ""
            found.append(Thinking(text, item.signature or None, origin=origin))
    return found


def details_of_thinking(parts: Iterable[Thinking], first_index: int = 0) -> list[dict[str, Any]]:
    """Write reasoning items, numbered from *first_index*."""
    details: list[dict[str, Any]] = []
    for index, part in enumerate(parts, first_index):
        if part.redacted is not None:
            detail: dict[str, Any] = {"type": "reasoning.encrypted", "data": part.redacted}
        else:
            detail = {"type": "reasoning.text", "text": part.text, "signature": part.signature}
        details.append({**detail, "format": _FORMATS.get(part.origin, part.origin), "index": index})
    return details


def citation_of_annotation(raw: bytes | msgspec.Raw) -> Citation:
    """Read one item of `annotations`; an unknown one keeps only its JSON."""
    citation = Citation(dialect=NAME, raw=bytes(raw))
    try:
        found = _decode_annotation(raw).url_citation
    except UNREADABLE:
        return citation
    if found is not None:
        citation.url, citation.title = found.url, found.title
        citation.start, citation.end = found.start_index, found.end_index
    return citation


def annotation_of_citation(citation: Citation, text_end: int) -> Any | None:
    """Write one item of `annotations`; None for a source without an address.

    A citation without a span is put behind the text that was written when it came, *text_end*.
    """
    if citation.dialect == NAME:
        return msgspec.Raw(citation.raw)
    if not citation.url:
        return None
    end = text_end if citation.end is None else citation.end
    return {
        "type": "url_citation",
        "url_citation": {
            "url": citation.url,
            "title": citation.title,
            "start_index": end if citation.start is None else citation.start,
            "end_index": end,
        },
    }
