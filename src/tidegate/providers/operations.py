"""Where each kind of request goes below a provider's base URL, by the dialects that it speaks.

An operation is one kind of request in one wire format. Those that are a whole conversation have
the name of their wire (`dialects.wires`); any of them can stand in for another by translation.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Final

Paths = tuple[str, str]
"""Path of a whole answer and of a stream; `{model}` is replaced by the target's model name."""


def _same(path: str) -> Paths:
    return (path, path)


_GEMINI: Final = "/models/{model}"

OPERATIONS: Final[Mapping[str, Mapping[str, Paths]]] = MappingProxyType(
    {
        "openai": {
            "openai": _same("/chat/completions"),
            "completions": _same("/completions"),
            "embeddings": _same("/embeddings"),
            "moderations": _same("/moderations"),
            "images_generations": _same("/images/generations"),
            "images_edits": _same("/images/edits"),
            "images_variations": _same("/images/variations"),
            "audio_speech": _same("/audio/speech"),
            "audio_transcriptions": _same("/audio/transcriptions"),
            "audio_translations": _same("/audio/translations"),
            "files": _same("/files"),
            "batches": _same("/batches"),
        },
        "responses": {
            "responses": _same("/responses"),
            "responses_input_tokens": _same("/responses/input_tokens"),
            "responses_compact": _same("/responses/compact"),
        },
        "anthropic": {
            "anthropic": _same("/v1/messages"),
            "anthropic_count_tokens": _same("/v1/messages/count_tokens"),
        },
        "gemini": {
            "gemini": (f"{_GEMINI}:generateContent", f"{_GEMINI}:streamGenerateContent?alt=sse"),
            "gemini_count_tokens": _same(f"{_GEMINI}:countTokens"),
            "gemini_embed": _same(f"{_GEMINI}:embedContent"),
            "gemini_batch_embed": _same(f"{_GEMINI}:batchEmbedContents"),
        },
        "bedrock": {
            "bedrock": ("/model/{model}/converse", "/model/{model}/converse-stream"),
        },
        "cohere": {"cohere": _same("/v2/chat"), "cohere_embed": _same("/v2/embed")},
    }
)
"""Dialect → operation → paths. Sources: each provider's API reference."""


def operations_of(
    dialects: Iterable[str], prefixes: Mapping[str, str] | None = None
) -> dict[str, Paths]:
    """Return the operations of a provider that speaks *dialects*, the preferred one first.

    Args:
        dialects: Keys of `OPERATIONS`.
        prefixes: Dialect → what stands between the base URL and the dialect's paths.
    """
    found: dict[str, Paths] = {}
    for dialect in dialects:
        prefix = "" if prefixes is None else prefixes.get(dialect, "")
        for name, (whole, stream) in OPERATIONS[dialect].items():
            found[name] = (prefix + whole, prefix + stream)
    return found
