"""Takes other providers' reasoning out of a request that passes through to this API.

A conversation may have been answered by another provider before, whose state its caller keeps in
an envelope (see `dialects.envelope`). This API would refuse it, as it does reasoning that it has
never seen. All other items keep their bytes.
"""

from __future__ import annotations

import msgspec

from tidegate.dialects.encode import encode_json
from tidegate.dialects.envelope import is_sealed
from tidegate.dialects.fidelity import Loss
from tidegate.dialects.unreadable import UNREADABLE


class _Item(msgspec.Struct):
    type: str | None = None
    encrypted_content: str | None = None


_decode_fields = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_decode_items = msgspec.json.Decoder(list[msgspec.Raw]).decode
_decode_item = msgspec.json.Decoder(_Item).decode


def without_foreign(body: bytes, model: str) -> tuple[bytes, list[Loss]] | None:
    """Return *body* without the reasoning of others, and what it lost; None where none is in it.

    What cannot be read is left to the API to refuse.
    """
    try:
        fields = _decode_fields(body)
        items = _decode_items(fields["input"])
    except (KeyError, *UNREADABLE):
        return None
    own = [item for item in items if not _is_foreign(item)]
    if len(own) == len(items):
        return None
    return encode_json({**fields, "input": own}), [Loss("thinking", "dropped")]


def _is_foreign(raw: msgspec.Raw) -> bool:
    try:
        item = _decode_item(raw)
    except UNREADABLE:
        return False
    content = item.encrypted_content
    return item.type == "reasoning" and (not content or is_sealed(content))
