"""The stored keys as they were known last, on disk, for a start while the server is away.

Only digests: without the pepper they cannot even be tested. The file is bound to the
pepper and to the database's address, is replaced as a whole, and is checksummed; one that
is missing, torn, of another database or too old counts as none.
"""

from __future__ import annotations

import os
import time
import zlib
from _blake2 import blake2b
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

import msgspec

from tidegate.config.snapshot import KeySnapshot

CACHE_FILE: Final = "keys.cache"
MAX_AGE_S: Final = 86_400.0
"""Since the database last confirmed it: for so long may a key that another host has revoked go
on here, through any number of restarts, while the database is away."""
_CONFIRM_EVERY_S: Final = 60.0
_VERSION: Final = 1


class _Saved(msgspec.Struct, frozen=True):
    version: int
    binding: bytes
    keys: tuple[KeySnapshot, ...]


class KeyCache:
    """The file of one data directory. For one thread.

    Args:
        data_dir: The data directory.
        pepper: What the digests were made with.
        address: Of the database, without its password.
        wall_s: Unix time.
    """

    def __init__(
        self,
        data_dir: Path,
        pepper: bytes,
        address: str,
        *,
        wall_s: Callable[[], float] = time.time,
    ) -> None:
        self._path = data_dir / CACHE_FILE
        self._binding = blake2b(
            address.encode(), key=pepper, digest_size=16, person=b"tidegate-kcache"
        ).digest()
        self._wall_s = wall_s
        self._confirmed_s = 0.0

    def save(self, keys: tuple[KeySnapshot, ...]) -> None:
        """Keep *keys*, which the database has just given.

        Raises:
            OSError: The disk does not take it; the file is as before.
        """
        data = msgspec.msgpack.encode(_Saved(_VERSION, self._binding, keys))
        draft = self._path.with_suffix(".new")
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with open(descriptor, "wb") as file:
            file.write(zlib.crc32(data).to_bytes(4, "big") + data)
            file.flush()
            os.fsync(descriptor)
        draft.replace(self._path)
        self._confirmed_s = 0.0
        self.confirm()

    def confirm(self) -> None:
        """Note that the database still says the same (once a minute, by the file's time)."""
        now_s = self._wall_s()
        if abs(now_s - self._confirmed_s) >= _CONFIRM_EVERY_S:
            with suppress(FileNotFoundError):
                os.utime(self._path, (now_s, now_s))
            self._confirmed_s = now_s

    def load(self) -> tuple[KeySnapshot, ...] | None:
        """Return the keys of the last `save`, or None when there are none to be trusted."""
        try:
            data = self._path.read_bytes()
            age_s = self._wall_s() - self._path.stat().st_mtime
            if zlib.crc32(data[4:]).to_bytes(4, "big") != data[:4] or age_s > MAX_AGE_S:
                return None
            saved = msgspec.msgpack.decode(data[4:], type=_Saved)
        except (OSError, msgspec.DecodeError):
            return None
        if saved.version != _VERSION or saved.binding != self._binding:
            return None
        return saved.keys
