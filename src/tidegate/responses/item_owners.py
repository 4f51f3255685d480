"""Which key was given which item of a response that a provider keeps: one small file each.

    responses/3f/3f9a….item    named by a digest of the item's id; the key's digest stands in it

Whoever was given an item first owns it: a provider may list under an answer what the caller sent
with an id of its own choosing. Files go by age and for room as responses do; an item whose file
is gone is nobody's.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Iterable
from pathlib import Path

from tidegate.stores.owned_objects import Standing

#: Most items of one answer that are remembered.
MAX_ITEMS = 1_000
_ITEM = ".item"


class ItemOwners:
    """Remembers items for all workers of an instance. Its methods block for a short time."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def note(self, key_id: str, item_ids: Iterable[str]) -> int:
        """Remember whose items are, where nobody has them: 30 µs each; return how many were new.

        Raises `OSError`.
        """
        count = 0
        owner = _digest("key", key_id).encode()
        for _, item_id in zip(range(MAX_ITEMS), item_ids, strict=False):
            place = self._place(item_id)
            try:
                count += _write_new(place, owner)
            except FileNotFoundError:
                place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                count += _write_new(place, owner)
        return count

    def standing(self, key_id: str, item_id: str) -> Standing:
        """Return whose an item is, as a key sees it; its own is used by this."""
        place = self._place(item_id)
        try:
            owner = place.read_bytes()
        except OSError:
            return "unknown"
        if owner != _digest("key", key_id).encode():
            return "other" if owner else "unknown"  # its writer was killed before it wrote
        with contextlib.suppress(OSError):
            os.utime(place)
        return "own"

    def _place(self, item_id: str) -> Path:
        digest = _digest("item", item_id)
        return self._folder / digest[:2] / f"{digest}{_ITEM}"


def _write_new(place: Path, data: bytes) -> int:
    try:
        handle = os.open(place, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except FileExistsError:
        return 0
    try:
        os.write(handle, data)
    finally:
        os.close(handle)
    return 1


def _digest(kind: str, text: str) -> str:
    data = f"{kind}:{text}".encode("utf-8", "surrogatepass")
    return hashlib.blake2b(data, digest_size=20, person=b"tg-items").hexdigest()
