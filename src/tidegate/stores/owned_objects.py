"""Which key made which object at which provider: two small files each, below the data directory.

    objects/3f9a…/77c0…      folder by a digest of the key's id, name by one of the object's
    objects/owners/77c0…     whose it is: a line for each key and provider, the newest last
    objects/in-use           one byte that all workers map: whether there is any object at all

The first tells a key its own objects, and nobody else's; the second tells whether an id that
somebody names is another's. Files are written so that another worker, or the next process after
a kill -9, sees all of it or nothing. They are synced before the maker is answered: a file at a
provider that nobody owns cannot be deleted. Each key has room for so many; the longest unchanged
go first, and are unknown from then on.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import mmap
import os
from collections.abc import Collection
from pathlib import Path
from typing import Literal

import msgspec

FOLDER = "objects"
#: Objects remembered for one key, about 80 MB of small files.
MAX_PER_KEY = 10_000

#: Whose an object is, as a key sees it: its own, another key's, or nobody's that is known.
Standing = Literal["own", "other", "unknown"]

_OWNERS = "owners"
_IN_USE = "in-use"
_UNFINISHED = ".part"
_CHECK_EVERY = 64
_GONE = "-"
_next_number = itertools.count(1).__next__


class OwnedObject(msgspec.Struct):
    """An object of one key.

    Attributes:
        id: As the provider gave it.
        kind: `file`, `batch`, or `other` for what came of a provider's own paths.
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
        self._flag: mmap.mmap | bytearray = bytearray(b"\1")
        with contextlib.suppress(OSError, ValueError):
            self._flag = self._map_flag()

    @property
    def in_use(self) -> bool:
        """Whether any key of the instance owns any object: 30 ns, true for all workers at once."""
        return self._flag[0] != 0

    def add(self, key_id: str, found: OwnedObject) -> None:
        """Remember an object, on disk when this returns. Raises `OSError`."""
        self._flag[0] = 1
        place = self._place(key_id, found.id)
        place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._note_owner(key_id, found.id, found.provider, "+")
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
            self._make_room(place.parent, key_id)

    def find(self, key_id: str, object_id: str) -> OwnedObject | None:
        """Return an object of this key; None for any other, known or not."""
        found = _read(self._place(key_id, object_id))
        return found if found is not None and found.id == object_id else None

    def standing(self, key_id: str, object_id: str, providers: Collection[str]) -> Standing:
        """Return whose an object is that a request to one of *providers* names.

        Ids are unique at one provider. Two providers may be one account under two names, so what
        another key owns elsewhere is another's, too, unless this key has one of the same id.
        """
        key = _digest(key_id)
        owners = self._owners(object_id)
        mine = {provider for owner, provider in owners if owner == key}
        others = {provider for owner, provider in owners if owner != key}
        if any(provider in others and provider not in mine for provider in providers):
            return "other"
        if mine:
            return "own"
        return "other" if others else "unknown"

    def drop(self, key_id: str, object_id: str) -> None:
        """Forget an object."""
        found = self.find(key_id, object_id)
        if found is not None:
            with contextlib.suppress(OSError):
                self._place(key_id, object_id).unlink()
            self._forget_owner(key_id, found)

    # --- owners ---------------------------------------------------------------------------------

    def _owners(self, object_id: str) -> set[tuple[str, str]]:
        """Return `(digest of the key, provider)` of all that own an object."""
        try:
            lines = (self._folder / _OWNERS / _digest(object_id)).read_text().splitlines()
        except (OSError, UnicodeDecodeError):
            return set()
        owners: set[tuple[str, str]] = set()
        for line in lines:
            sign, _, rest = line.partition(" ")
            key, _, provider = rest.partition(" ")
            if sign == _GONE:
                owners.discard((key, provider))
            else:
                owners.add((key, provider))
        return owners

    def _note_owner(self, key_id: str, object_id: str, provider: str, sign: str) -> None:
        """Add a line in one write, so that two workers at it lose none."""
        folder = self._folder / _OWNERS
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(
            folder / _digest(object_id),
            os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC,
            0o600,
        )
        try:
            os.write(descriptor, f"{sign} {_digest(key_id)} {provider}\n".encode())
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def _forget_owner(self, key_id: str, found: OwnedObject) -> None:
        with contextlib.suppress(OSError):
            if self._owners(found.id) - {(_digest(key_id), found.provider)}:
                self._note_owner(key_id, found.id, found.provider, _GONE)
            else:
                (self._folder / _OWNERS / _digest(found.id)).unlink()

    def _map_flag(self) -> mmap.mmap:
        """Map the byte that says whether there is anything to look for."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(self._folder / _IN_USE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            if os.fstat(descriptor).st_size < 1:
                os.ftruncate(descriptor, 1)
            flag = mmap.mmap(descriptor, 1)
        finally:
            os.close(descriptor)
        if (self._folder / _OWNERS).exists():
            flag[0] = 1  # the byte is not synced: a machine that lost power may have lost it
        return flag

    # --- places ---------------------------------------------------------------------------------

    def _place(self, key_id: str, object_id: str) -> Path:
        return self._folder / _digest(key_id) / _digest(object_id)

    def _make_room(self, folder: Path, key_id: str) -> None:
        """Delete the oldest of a key that has too many, and what a dead worker left unfinished."""
        aged = []
        for entry in os.scandir(folder):
            with contextlib.suppress(OSError):
                aged.append((entry.stat().st_mtime_ns, entry.path))
        excess = len(aged) - self._max_per_key
        if excess > 0:
            for _, path in sorted(aged)[:excess]:
                found = _read(Path(path))
                with contextlib.suppress(OSError):
                    os.unlink(path)
                if found is not None:
                    self._forget_owner(key_id, found)


def _read(place: Path) -> OwnedObject | None:
    try:
        return _decode(place.read_bytes())
    except (OSError, msgspec.DecodeError):
        return None


def _digest(text: str) -> str:
    data = text.encode("utf-8", "surrogatepass")
    return hashlib.blake2b(data, digest_size=16, person=b"tidegate-object").hexdigest()
