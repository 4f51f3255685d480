"""Takes other providers' thinking out of a request that passes through to this API.

A conversation may have been answered by another provider before, whose state its caller keeps in
an envelope (see `dialects.envelope`). This API would refuse it. All other bytes of the turns stay
as they were. Where that leaves the model amid a round of calls without what led to them, it does
not think in this turn: with a budget, the API refuses to.
"""

from __future__ import annotations

from typing import Any

import msgspec

from tidegate.dialects.anthropic.request_write import continues_unsigned
from tidegate.dialects.encode import encode_json
from tidegate.dialects.envelope import TEXT_SIGN, is_sealed
from tidegate.dialects.fidelity import Loss, Losses
from tidegate.dialects.unreadable import UNREADABLE


class _Block(msgspec.Struct):
    type: str = ""
    signature: str | None = None
    data: str = ""


_decode_fields = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_decode_items = msgspec.json.Decoder(list[msgspec.Raw]).decode
_decode_block = msgspec.json.Decoder(_Block).decode


class _Thinking(msgspec.Struct):
    type: str = ""


_decode_thinking = msgspec.json.Decoder(_Thinking).decode
_decode_turns = msgspec.json.Decoder(list[dict[str, Any]]).decode


def without_foreign(body: bytes, model: str) -> tuple[bytes, list[Loss]] | None:
    """Return *body* without the thinking of others, and what it lost; None where none is in it.

    A turn of nothing else goes with it. What cannot be read is left to the API to refuse.
    """
    try:
        fields = _decode_fields(body)
        kept = [_message(raw) for raw in _decode_items(fields["messages"])]
    except (KeyError, *UNREADABLE):
        return None
    if all(after is before for after, before in kept):
        return None
    losses = Losses()
    losses.drop("thinking")
    fields["messages"] = msgspec.Raw(encode_json([raw for raw, _ in kept if raw is not None]))
    if _may_not_think(fields):
        del fields["thinking"]
        losses.drop("reasoning")
    return encode_json(fields), losses.listed()


def _may_not_think(fields: dict[str, msgspec.Raw]) -> bool:
    try:
        thinking = _decode_thinking(fields["thinking"])
        return thinking.type == "enabled" and continues_unsigned(_decode_turns(fields["messages"]))
    except (KeyError, IndexError, TypeError, *UNREADABLE):
        return False


def _message(raw: msgspec.Raw) -> tuple[msgspec.Raw | None, msgspec.Raw]:
    if TEXT_SIGN not in bytes(raw):
        return raw, raw
    fields = _decode_fields(raw)
    if bytes(fields.get("content", b""))[:1] != b"[":
        return raw, raw
    blocks = _decode_items(fields["content"])
    own = [block for block in blocks if not _is_foreign(block)]
    if len(own) == len(blocks):
        return raw, raw
    return (msgspec.Raw(encode_json({**fields, "content": own})) if own else None), raw


def _is_foreign(raw: msgspec.Raw) -> bool:
    block = _decode_block(raw)
    if block.type == "thinking":
        return is_sealed(block.signature or "")
    return block.type == "redacted_thinking" and is_sealed(block.data)
