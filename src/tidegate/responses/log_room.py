"""Room for the events of responses in the making, shared by all workers of an instance.

    responses/room.lock    a byte for each share of the room, locked by the worker that uses it

The kernel lets go of a worker's locks however that ends, so nothing has to be given back by hand
after a kill -9. Locks are of the process: one `LogRoom` a process and folder.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from pathlib import Path

ROOM_FILE = "room.lock"
#: Parts that the room is lent in; each worker has at most one that is not full.
SHARES = 256
#: What one log and all of them together may take of the room for responses.
ONE_PART = 8
ALL_PART = 2


class LogFull(Exception):
    """The events of a response have no room; the message says by which cap, for its caller."""


class LogRoom:
    """One worker's view of the room.

    Args:
        folder: Where responses are kept.
        max_bytes: `responses.max_bytes`.
    """

    def __init__(self, folder: Path, max_bytes: int) -> None:
        self._place = folder / ROOM_FILE
        self._max_bytes = max_bytes
        self._file = -1
        self._held: list[int] = []
        self._used_bytes = 0

    @property
    def max_log_bytes(self) -> int:
        """Most bytes of one log."""
        return self._max_bytes // ONE_PART

    def use(self, max_bytes: int) -> None:
        """Take another size; shares that are held stay held, whatever they measured before."""
        self._max_bytes = max_bytes

    def close(self) -> None:
        """Give everything back."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1
        self._held.clear()

    def check(self, size_bytes: int) -> None:
        """Raise `LogFull` where a log, or a response, of that size is too large."""
        if size_bytes > self.max_log_bytes:
            raise LogFull(
                f"The response and its events are larger than {self.max_log_bytes} bytes, "
                "an eighth of 'responses.max_bytes'."
            )

    def take(self, size_bytes: int) -> None:
        """Take some of the room. Raises `LogFull` where all workers together use all of it.

        Raises `OSError` where that cannot be told.
        """
        needed = self._shares(self._used_bytes + size_bytes)
        while len(self._held) < needed:
            if not self._lock_one():
                raise LogFull(
                    "The responses that are being made have more events than "
                    f"{self._max_bytes // ALL_PART} bytes, half of 'responses.max_bytes'."
                )
        self._used_bytes += size_bytes

    def give_back(self, size_bytes: int) -> None:
        """Let others have what was taken."""
        self._used_bytes -= size_bytes
        needed = self._shares(self._used_bytes)
        while len(self._held) > needed:
            with contextlib.suppress(OSError):
                fcntl.lockf(self._file, fcntl.LOCK_UN, 1, self._held.pop())

    def _shares(self, size_bytes: int) -> int:
        return -(-size_bytes // max(self._max_bytes // ALL_PART // SHARES, 1))

    def _lock_one(self) -> bool:
        """Lock a share that nobody has: some microseconds, and 0.2 ms where there is none."""
        if self._file < 0:
            self._place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._file = os.open(self._place, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        first = self._held[-1] + 1 if self._held else os.getpid()
        for number in range(first, first + SHARES):
            share = number % SHARES
            if share in self._held:
                continue  # a process may lock what it has locked
            try:
                fcntl.lockf(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, share)
            except (BlockingIOError, PermissionError):
                continue
            self._held.append(share)
            return True
        return False
