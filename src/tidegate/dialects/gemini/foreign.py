"""Takes other providers' signatures out of a request that passes through to this API.

A conversation may have been answered by another provider before, whose state its caller keeps in
an envelope (see `dialects.envelope`). This API would refuse it. All other bytes of the turns stay
as they were.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from tidegate.dialects.encode import encode_json
from tidegate.dialects.envelope import BASE64_SIGN, is_sealed_base64
from tidegate.dialects.fidelity import Loss
from tidegate.dialects.gemini.prompt_write import FOREIGN_CALL, wants_signed_calls
from tidegate.dialects.unreadable import UNREADABLE

_decode_fields = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_decode_items = msgspec.json.Decoder(list[msgspec.Raw]).decode
_decode_text = msgspec.json.Decoder(str).decode
_CALLS = ("functionCall", "function_call")
_NAMES = ("thoughtSignature", "thought_signature")


def without_foreign(body: bytes, model: str) -> tuple[bytes, list[Loss]] | None:
    """Return *body* without the thinking of others, and what it lost; None where none is in it.

    A thought goes with its signature, any other part stays without; a turn of nothing else goes.
    Where *model* wants calls signed, those of the turns at hand are marked as another model's.
    What cannot be read is left to the API to refuse.
    """
    try:
        fields = _decode_fields(body)
        marks = wants_signed_calls(model)
        kept = [_content(raw, marks=marks) for raw in _decode_items(fields["contents"])]
    except (KeyError, *UNREADABLE):
        return None
    if all(after is before for after, before in kept):
        return None
    contents = [after for after, _ in kept if after is not None]
    return encode_json({**fields, "contents": contents}), [Loss("thinking", "dropped")]


def _content(raw: msgspec.Raw, *, marks: bool) -> tuple[msgspec.Raw | None, msgspec.Raw]:
    if BASE64_SIGN not in bytes(raw):
        return raw, raw
    fields = _decode_fields(raw)
    parts = _decode_items(fields.get("parts", msgspec.Raw(b"[]")))
    own = [kept for part in parts if (kept := _part(part)) is not None]
    if len(own) == len(parts) and all(kept is part for kept, part in zip(own, parts, strict=True)):
        return raw, raw
    if marks:
        _mark_call(own)
    return (msgspec.Raw(encode_json({**fields, "parts": own})) if own else None), raw


def _mark_call(parts: list[msgspec.Raw]) -> None:
    """Mark the first call of a turn, unless it is signed."""
    for place, raw in enumerate(parts):
        fields = _decode_fields(raw)
        if any(name in fields for name in _CALLS):
            if not any(name in fields for name in _NAMES):
                mark = msgspec.Raw(encode_json(FOREIGN_CALL))
                parts[place] = msgspec.Raw(encode_json({**fields, "thoughtSignature": mark}))
            return


def _part(raw: msgspec.Raw) -> msgspec.Raw | None:
    fields = _decode_fields(raw)
    if not any(_is_foreign(fields, name) for name in _NAMES):
        return raw
    if bytes(fields.get("thought", b"")) == b"true":
        return None
    own = {name: value for name, value in fields.items() if name not in _NAMES}
    return msgspec.Raw(encode_json(own))


def _is_foreign(fields: Mapping[str, msgspec.Raw], name: str) -> bool:
    raw = bytes(fields.get(name, b""))
    return raw.startswith(b'"') and is_sealed_base64(_decode_text(raw))
