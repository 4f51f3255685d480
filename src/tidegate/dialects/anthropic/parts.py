"""Pieces that requests, answers and streams share: citations and what a stop reason means."""

from __future__ import annotations

from typing import Any

import msgspec

from tidegate.dialects.neutral import Citation, FinishReason
from tidegate.dialects.unreadable import UNREADABLE

NAME = "anthropic"
#: Dialects whose providers sign alike: what one of them signed, the others take.
KIN = frozenset({NAME, "bedrock"})

FINISH_READ: dict[str, FinishReason] = {
    "end_turn": "stop",
    "stop_sequence": "stop_sequence",
    "max_tokens": "length",
    "tool_use": "tool_use",
    "refusal": "refusal",
    "pause_turn": "pause",
    "model_context_window_exceeded": "context",
}
FINISH_WRITE: dict[FinishReason, str] = {
    "stop": "end_turn",
    "stop_sequence": "stop_sequence",
    "length": "max_tokens",
    "tool_use": "tool_use",
    "refusal": "refusal",
    "pause": "pause_turn",
    "context": "model_context_window_exceeded",
    "other": "end_turn",
}


class _Citation(msgspec.Struct):
    cited_text: str | None = None
    url: str | None = None
    source: str | None = None
    title: str | None = None
    document_title: str | None = None


_decode_citation = msgspec.json.Decoder(_Citation).decode


def read_citation(raw: bytes | msgspec.Raw) -> Citation:
    """Read a citation; one that is not understood keeps only its JSON."""
    citation = Citation(dialect=NAME, raw=bytes(raw))
    try:
        wire = _decode_citation(raw)
    except UNREADABLE:
        return citation
    citation.cited_text = wire.cited_text or ""
    citation.url = wire.url or ""
    if not citation.url and (wire.source or "").startswith(("https://", "http://")):
        citation.url = wire.source or ""
    citation.title = wire.title or wire.document_title or ""
    return citation


def write_citation(citation: Citation) -> Any | None:
    """Write a citation; None for a source without an address.

    Another dialect's has no encrypted index, which only the provider's own search gives out.
    """
    if citation.dialect == NAME:
        return msgspec.Raw(citation.raw)
    if not citation.url:
        return None
    return {
        "type": "web_search_result_location",
        "cited_text": citation.cited_text,
        "encrypted_index": "",
        "title": citation.title,
        "url": citation.url,
    }
