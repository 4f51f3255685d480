"""Items of responses: which one another refers to, and whose those of a provider are."""

from __future__ import annotations

from typing import Any

import msgspec

from tidegate.dialects.unreadable import UNREADABLE
from tidegate.endpoints.object_ids import may_refer
from tidegate.endpoints.ownership import check_items, references_in
from tidegate.keys.principal import Principal
from tidegate.pipeline.call import Call
from tidegate.responses.store import ResponseStore


class _Item(msgspec.Struct):
    type: str | None = None
    role: str | None = None
    id: str | None = None
    encrypted_content: str | None = None


class _WithId(msgspec.Struct):
    id: str | None = None


class _Answer(msgspec.Struct):
    output: list[_WithId] = []
    data: list[_WithId] = []


_decode_item = msgspec.json.Decoder(_Item).decode
_decode_items = msgspec.json.Decoder(list[msgspec.Raw]).decode
_decode_answer = msgspec.json.Decoder(_Answer).decode


def note_items(store: ResponseStore, key_id: str, answer: bytes) -> None:
    """Remember whose the items of a provider's answer are: a response, or a list of its input."""
    try:
        items = _decode_answer(answer)
    except UNREADABLE:
        return
    store.note_items(key_id, [one.id for one in (*items.output, *items.data) if one.id])


async def check_references(
    store: ResponseStore, call: Call, principal: Principal, items: bytes
) -> None:
    """Raise `NotFound` where a list of items refers to one that is kept for another key."""
    found = await references_in(items) if may_refer(items) else set()
    if b'"id"' in items or b"\\u00" in items:
        # A type may be left out, and then nothing but what is missing tells a reference.
        found.update(reference_of(item) for item in _decode_items(items))
    found.discard("")
    if found:
        await check_items(store, call, principal, found)


def reference_of(item: msgspec.Raw) -> str:
    """Return the id that an item refers to; empty for an item that is one."""
    try:
        found = _decode_item(item)
    except UNREADABLE:
        return ""
    if found.type == "item_reference" or (found.type is None and found.role is None):
        return found.id or ""
    return ""


def id_of(item: msgspec.Raw) -> str:
    """Return an item's id; empty where it has none."""
    try:
        return _decode_item(item).id or ""
    except UNREADABLE:
        return ""


def is_unproven(item: msgspec.Raw) -> bool:
    """Whether an item is reasoning that a Responses provider has never seen.

    What holds another provider's state is taken out, and named, where the request leaves.
    """
    try:
        found = _decode_item(item)
    except UNREADABLE:
        return False
    return found.type == "reasoning" and not found.encrypted_content


def without_id(item: msgspec.Raw) -> Any:
    """Return an item without its id, which its provider does not know."""
    fields = msgspec.json.decode(item, type=dict[str, msgspec.Raw])
    fields.pop("id", None)
    return fields
