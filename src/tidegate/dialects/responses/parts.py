"""Pieces that requests, answers and streams of the Responses API share.

Reasoning comes back to us in items whose `encrypted_content` no client looks into. What other
providers want to see again (Anthropic's signatures and redacted thinking, the state that
Gemini hangs on a call) travels there in an envelope of our own:

    tg1.<base64 of {"kind": "signature", "origin": "anthropic", "value": "…"}>
"""

from __future__ import annotations

import base64
import binascii
from typing import Any, Literal

import msgspec

from tidegate.dialects.encode import encode_json
from tidegate.dialects.neutral import Citation, Thinking
from tidegate.dialects.unreadable import UNREADABLE

NAME = "responses"
#: Dialects whose file ids a Responses provider knows, and whose schemas are written for it.
KIN = ("openai", NAME)

_ENVELOPE = "tg1."


class Envelope(msgspec.Struct, frozen=True, omit_defaults=True):
    """State of another provider, on its way through a client.

    Attributes:
        kind: `signature` of readable thinking, `redacted` thinking, or the state of a `call`.
        value: The state, as the provider gave it.
        origin: Dialect of the provider.
        call_id: The call that the state belongs to.
    """

    kind: Literal["signature", "redacted", "call"]
    value: str
    origin: str = ""
    call_id: str = ""


_decode_envelope = msgspec.json.Decoder(Envelope).decode


def seal(envelope: Envelope) -> str:
    """Write an envelope as `encrypted_content`."""
    return _ENVELOPE + base64.urlsafe_b64encode(encode_json(envelope)).decode("ascii")


def unseal(content: str) -> Envelope | None:
    """Read an envelope; None for content that is a Responses provider's own."""
    if not content.startswith(_ENVELOPE):
        return None
    try:
        return _decode_envelope(base64.urlsafe_b64decode(content[len(_ENVELOPE) :]))
    except (binascii.Error, ValueError, *UNREADABLE):
        return None


def is_sealed(content: str) -> bool:
    """Whether `encrypted_content` is an envelope of ours."""
    return content.startswith(_ENVELOPE)


def sealed_thinking(part: Thinking) -> str | None:
    """Return the `encrypted_content` of a thinking part; None where it has no proof."""
    if part.redacted is not None:
        if part.origin == NAME:
            return part.redacted
        return seal(Envelope("redacted", part.redacted, part.origin))
    if part.signature:
        return seal(Envelope("signature", part.signature, part.origin))
    return None


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
