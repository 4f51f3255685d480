"""The format of a tool that takes free text, as Chat writes it and as all else here does.

    Chat          {"type": "grammar", "grammar": {"syntax": "lark", "definition": "…"}}
    elsewhere     {"type": "grammar", "syntax": "lark", "definition": "…"}

Source: `ChatCompletionCustomToolParam` and `CustomToolInputFormat` of the openai package, 3.x.
"""

from __future__ import annotations

import msgspec

from tidegate.dialects.encode import encode_json
from tidegate.dialects.unreadable import UNREADABLE


class _Format(msgspec.Struct):
    type: str = ""
    grammar: dict[str, msgspec.Raw] | None = None
    syntax: msgspec.Raw = msgspec.Raw()
    definition: msgspec.Raw = msgspec.Raw()


_decode = msgspec.json.Decoder(_Format).decode


def from_chat(raw: bytes) -> bytes:
    """Return Chat's format as it is written elsewhere; what is no grammar stays as it is."""
    try:
        found = _decode(raw)
    except UNREADABLE:
        return raw
    if found.type != "grammar" or found.grammar is None:
        return raw
    return encode_json({"type": "grammar", **found.grammar})


def to_chat(raw: bytes) -> bytes:
    """Return a format as Chat writes it; what is no grammar stays as it is."""
    try:
        found = _decode(raw)
    except UNREADABLE:
        return raw
    if found.type != "grammar" or found.grammar is not None:
        return raw
    given = {"syntax": found.syntax, "definition": found.definition}
    grammar = {name: value for name, value in given.items() if bytes(value)}
    return encode_json({"type": "grammar", "grammar": grammar})
