"""How a response that was begun in the background ends when nobody else can say so."""

from __future__ import annotations

from typing import Any

import msgspec

from tidegate.dialects.encode import encode_json
from tidegate.dialects.unreadable import UNREADABLE
from tidegate.responses.record import Record
from tidegate.responses.store import ResponseStore

_decode_response = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_LOST = {
    "code": "server_error",
    "message": "The process that made the response has ended before it was whole.",
}


async def ended(store: ResponseStore, key_id: str, response_id: str) -> Record:
    """Return a response; one whose maker was killed is marked as failed first.

    Raises `Missing` where there is none.
    """
    return await store.end_lost(key_id, response_id, _failed)


def _failed(response: bytes) -> bytes:
    try:
        fields: dict[str, Any] = {**_decode_response(response)}
    except UNREADABLE:
        fields = {"object": "response", "output": []}
    return encode_json({**fields, "status": "failed", "error": _LOST})
