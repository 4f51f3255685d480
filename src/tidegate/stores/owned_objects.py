"""Which key made which object at which provider: one small file each, below the data directory.

    objects/3f9a…/77c0…   folder by a digest of the key's id, name by one of the object's

Nobody finds an object without the key that made it. A file is written beside its place and moved
there, so that another worker, or the next process after a kill -9, sees all of it or nothing. It
is synced before its maker is answered: a file at a provider that nobody owns cannot be deleted.
Each key has room for so many; the longest unchanged go first.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import os
from pathlib import Path

import msgspec

FOLDER = "objects"
#: Objects remembered for one key, about 40 MB of small files.
MAX_PER_KEY = 10_000
_UNFINISHED = ".part"
_CHECK_EVERY = 64
_next_number = itertools.count(1).__next__


class OwnedObject(msgspec.Struct):
    """An object of one key.

    Attributes:
        id: As the provider gave it.
        kind: `file` or `batch`.
        provider: Configured name of the provider that holds it.
    """

    id: str
    kind: str
    provider: str


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(OwnedObject).decode


class OwnedObjects:
    """Remembers objects for all workers of an instance. Its methods block for a short time."""

    def __init__(self, data_dir: Path, *, max_per_key: int = MAX_PER_KEY) -> None:
        self._folder = data_dir / FOLDER
        self._max_per_key = max_per_key

    def add(self, key_id: str, found: OwnedObject) -> None:
        """Remember an object, on disk when this returns. Raises `OSError`."""
        place = self._place(key_id, found.id)
        place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        number = _next_number()
        building = place.parent / f"{os.getpid()}-{number}{_UNFINISHED}"
        descriptor = os.open(building, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            os.write(descriptor, _encode(found))
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        os.replace(building, place)
        if number % _CHECK_EVERY == 0 or self._max_per_key < _CHECK_EVERY:
            self._make_room(place.parent)

    def find(self, key_id: str, object_id: str) -> OwnedObject | None:
        """Return an object of this key; None for any other, known or not."""
        try:
            found = _decode(self._place(key_id, object_id).read_bytes())
        except (OSError, msgspec.DecodeError):
            return None
        return found if found.id == object_id else None

    def drop(self, key_id: str, object_id: str) -> None:
        """Forget an object."""
        with contextlib.suppress(OSError):
            self._place(key_id, object_id).unlink()

    def _place(self, key_id: str, object_id: str) -> Path:
        return self._folder / _digest(key_id) / _digest(object_id)

    def _make_room(self, folder: Path) -> None:
        """Delete the oldest of a key that has too many, and what a dead worker left unfinished."""
        aged = []
        for entry in os.scandir(folder):
            with contextlib.suppress(OSError):
                aged.append((entry.stat().st_mtime_ns, entry.path))
        excess = len(aged) - self._max_per_key
        if excess > 0:
            for _, path in sorted(aged)[:excess]:
                with contextlib.suppress(OSError):
                    os.unlink(path)


def _digest(text: str) -> str:
    return hashlib.blake2b(text.encode(), digest_size=16, person=b"tidegate-object").hexdigest()
