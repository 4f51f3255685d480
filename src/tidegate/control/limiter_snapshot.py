"""Limits that outlive a restart: the limiter's table on disk, once a second.

Without it a restart would fill every bucket again, which matters for windows of minutes
and hours. What is stored per subject is how far its bucket is ahead of the clock: the
table's own times are of a clock that begins at each boot. A wall clock that was set back
in between lengthens no wait beyond what it was at the save.

The file is replaced as a whole and checksummed; one that is missing, torn or of another
version means empty limits, never a start that fails.
"""

from __future__ import annotations

import os
import time
import zlib
from array import array
from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec

from tidegate.limits.limiter import boottime_ns
from tidegate.limits.table import LimitTable
from tidegate.memory import LIMITER_ENTRIES, LIMITER_LOCK, Segment

SNAPSHOT_FILE: Final = "limits.snapshot"
SAVE_EVERY_S: Final = 1.0
_VERSION: Final = 1
_CHUNK_WORDS: Final = 8192
"""2^12 entries under one hold of the lock (about 0.1 ms); 64 KiB."""
_LOCK_WAIT_S: Final = 0.0005


class _Saved(msgspec.Struct, frozen=True):
    """`digests` and `ahead_ns` are arrays of int64 of the same length."""

    version: int
    saved_at_ns: int
    digests: bytes
    ahead_ns: bytes


class LimiterSnapshot:
    """Saves and restores the table of one instance.

    Use it on one thread; that thread may not hold the limiter's lock for anything else.

    Attributes:
        used_ratio: Share of the table that was in use at the last save.
    """

    def __init__(
        self,
        segment: Segment,
        data_dir: Path,
        *,
        clock_ns: Callable[[], int] = boottime_ns,
        wall_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self._segment = segment
        self._path = data_dir / SNAPSHOT_FILE
        self._clock_ns = clock_ns
        self._wall_ns = wall_ns
        self._was_empty = False
        self.used_ratio = 0.0
        self._zeros = bytes(_CHUNK_WORDS * 8)

    def save(self) -> None:
        """Write the table down, unless it was empty the last time and still is."""
        digests, aheads = self._read()
        self.used_ratio = len(digests) / LIMITER_ENTRIES
        if not digests and self._was_empty:
            return
        self._was_empty = not digests
        saved = _Saved(_VERSION, self._wall_ns(), digests.tobytes(), aheads.tobytes())
        data = msgspec.msgpack.encode(saved)
        draft = self._path.with_suffix(".new")
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with open(descriptor, "wb") as file:
            file.write(zlib.crc32(data).to_bytes(4, "big") + data)
        draft.replace(self._path)

    def restore(self) -> int:
        """Fill an instance's fresh table from the file; return how many subjects came back."""
        saved = self._load()
        if saved is None:
            return 0
        digests, aheads = array("q"), array("q")
        digests.frombytes(saved.digests)
        aheads.frombytes(saved.ahead_ns)
        passed_ns = max(0, self._wall_ns() - saved.saved_at_ns)
        now_ns = self._clock_ns()
        table = LimitTable(self._segment.limiter)
        restored = 0
        self._lock()
        try:
            for digest, ahead_ns in zip(digests, aheads, strict=True):
                if ahead_ns > passed_ns:
                    table.add(digest, now_ns + ahead_ns - passed_ns, now_ns)
                    restored += 1
        finally:
            self._segment.unlock(LIMITER_LOCK)
        return restored

    def _read(self) -> tuple[array[int], array[int]]:
        """Return digests, and ns ahead of now, of all subjects whose bucket is not full."""
        words = self._segment.limiter
        digests, aheads = array("q"), array("q")
        for start in range(0, len(words), _CHUNK_WORDS):
            part = words[start : start + _CHUNK_WORDS]
            if part.tobytes() == self._zeros:  # views are compared one by one: 87 µs
                continue  # never used: 2 µs
            self._lock()
            try:
                flat = part.tolist()
            finally:
                self._segment.unlock(LIMITER_LOCK)
            now_ns = self._clock_ns()
            for digest, tat_ns in zip(flat[::2], flat[1::2], strict=True):
                if tat_ns > now_ns and digest:
                    digests.append(digest)
                    aheads.append(tat_ns - now_ns)
        return digests, aheads

    def _load(self) -> _Saved | None:
        try:
            data = self._path.read_bytes()
            if zlib.crc32(data[4:]).to_bytes(4, "big") != data[:4]:
                return None
            saved = msgspec.msgpack.decode(data[4:], type=_Saved)
        except (OSError, msgspec.DecodeError):
            return None
        lengths = (len(saved.digests), len(saved.ahead_ns))
        if saved.version != _VERSION or lengths[0] != lengths[1] or lengths[0] % 8:
            return None
        return saved

    def _lock(self) -> None:
        while not self._segment.try_lock(LIMITER_LOCK):
            time.sleep(_LOCK_WAIT_S)
