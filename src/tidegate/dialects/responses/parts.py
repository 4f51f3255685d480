"""Pieces that requests, answers and streams of the Responses API share.

Reasoning comes back to us in items whose `encrypted_content` no client looks into: what other
providers want to see again travels there, see `envelope`.
"""

from __future__ import annotations

from typing import Any

import msgspec

from tidegate.dialects import envelope
from tidegate.dialects.encode import encode_json
from tidegate.dialects.envelope import Envelope, envelope_of_thinking, seal
from tidegate.dialects.neutral import Citation, Thinking
from tidegate.dialects.unreadable import UNREADABLE

NAME = "responses"
#: Dialects whose file ids a Responses provider knows, and whose schemas are written for it.
KIN = ("openai", NAME)


def unseal(content: str) -> Envelope | None:
    """Read an envelope; None for a broken one, and for content that is a provider's own."""
    return envelope.unseal(content) if envelope.is_sealed(content) else None


def sealed_thinking(part: Thinking) -> str | None:
    """Return the `encrypted_content` of a thinking part; None where it has no proof."""
    if part.redacted is not None:
        if part.origin == NAME:
            return part.redacted
        return seal(envelope_of_thinking(part))
    return seal(envelope_of_thinking(part)) if part.signature else None


def reasoning_item(
    item_id: str, text: str, encrypted: str | None, status: str | None = None
) -> dict[str, Any]:
    """Write one reasoning item; *text* is its summary."""
    item: dict[str, Any] = {
        "id": item_id,
        "type": "reasoning",
        "summary": [{"type": "summary_text", "text": text}] if text else [],
    }
    if encrypted is not None:
        item["encrypted_content"] = encrypted
    if status is not None:
        item["status"] = status
    return item


class _Annotation(msgspec.Struct):
    type: str = ""
    url: str = ""
    title: str | None = None
    start_index: int | None = None
    end_index: int | None = None


_decode_annotation = msgspec.json.Decoder(_Annotation).decode


def citation_of_annotation(raw: bytes | msgspec.Raw) -> Citation:
    """Read one annotation; an unknown one keeps only its JSON."""
    citation = Citation(dialect=NAME, raw=bytes(raw))
    try:
        found = _decode_annotation(raw)
    except UNREADABLE:
        return citation
    if found.type == "url_citation":
        citation.url, citation.title = found.url, found.title or ""
        citation.start, citation.end = found.start_index, found.end_index
    return citation


def annotation_of_citation(citation: Citation, text_end: int) -> Any | None:
    """Write one annotation; None for a source without an address.

    A citation without a span is put behind the text that was written when it came, *text_end*.
    """
    if citation.dialect == NAME and citation.raw:
        return msgspec.Raw(citation.raw)
    if not citation.url:
        return None
    end = text_end if citation.end is None else citation.end
    return {
        "type": "url_citation",
        "url": citation.url,
        "title": citation.title,
        "start_index": end if citation.start is None else citation.start,
        "end_index": end,
    }


class _Logprobs(msgspec.Struct):
    content: list[msgspec.Raw] | None = None


_decode_logprobs = msgspec.json.Decoder(_Logprobs).decode


def logprob_items(raw: bytes | None) -> list[msgspec.Raw]:
    """Return the tokens of Chat's `logprobs` object, which are written alike here."""
    if raw is None:
        return []
    try:
        return _decode_logprobs(raw).content or []
    except UNREADABLE:
        return []


def logprobs_object(items: list[msgspec.Raw]) -> bytes | None:
    """Return tokens as Chat's `logprobs` object; None for none."""
    return encode_json({"content": items, "refusal": None}) if items else None
