"""The events of a response that is made in the background: a file that grows while it is made.

Whoever makes the response holds a lock on the file (`flock`), which the kernel takes away with
the process, however that ends: so any worker can tell whether a response is still being made.
A log has a size that it cannot pass, and so have all that grow at the same time (`log_room`).
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Callable
from pathlib import Path

from tidegate.responses.log_room import LogRoom

_EVENTS = ".events"
_INPUT = ".input"
_UNFINISHED = ".events.part"
_CANCEL = ".cancel"
_READ_BYTES = 256 * 1024


class EventLog:
    """The writer's side; held for as long as the response is made.

    Args:
        place: The response's own, without an ending.
        room: What its bytes are taken from while it is made.
        grown: Told how many bytes were added.
    """

    def __init__(
        self, place: Path, room: LogRoom, grown: Callable[[int], None] = lambda _: None
    ) -> None:
        """Make an empty log and lock it. Raises `OSError`."""
        self._place = place
        self._room = room
        self._grown = grown
        self._cancel = place.with_suffix(_CANCEL)
        self._size_bytes = 0
        self._is_torn = False
        unfinished = place.with_suffix(_UNFINISHED)
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
        self._file = os.open(unfinished, flags, 0o600)
        try:
            # Nobody finds it before it is locked, and takes it for a dead one.
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.rename(unfinished, place.with_suffix(_EVENTS))
        except OSError:
            os.close(self._file)
            raise

    def append(self, data: bytes, *, is_end: bool = False) -> None:
        """Add events: all of *data*, or nothing where there is no room.

        Raises `LogFull`, though not for the end of a response, which has to be told, and `OSError`.
        """
        if not is_end:
            self._room.check(self._size_bytes + len(data))
            self._room.take(len(data))
            self._size_bytes += len(data)
        if self._is_torn:
            data = b"\n\n" + data  # what the disk had no room for stays an event that tells nothing
        self._is_torn = True
        view = memoryview(data)
        while view:
            view = view[os.write(self._file, view) :]
        self._is_torn = False
        self._grown(len(data))

    @property
    def is_cancelled(self) -> bool:
        """Whether somebody has asked to cancel the response (`ask_to_cancel`)."""
        return self._cancel.exists()

    def touch(self) -> None:
        """Keep the response from looking unused while it is made."""
        with contextlib.suppress(OSError):
            os.utime(self._file)
            os.utime(self._place)
            os.utime(self._place.with_suffix(_INPUT))

    def close(self) -> None:
        """Let everybody know that nothing will follow."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1
            self._room.give_back(self._size_bytes)
            with contextlib.suppress(OSError):
                self._cancel.unlink()


class EventReader:
    """A reader's side, in any worker; use as a context manager. Raises `OSError`."""

    def __init__(self, place: Path) -> None:
        self._file = os.open(place.with_suffix(_EVENTS), os.O_RDONLY | os.O_CLOEXEC)
        self._held = bytearray()

    def __enter__(self) -> EventReader:
        return self

    def __exit__(self, *caught: object) -> None:
        os.close(self._file)

    def read(self) -> list[bytes]:
        """Return whole events that came since the last call; none once all there is was read."""
        held = self._held
        while data := os.read(self._file, _READ_BYTES):
            before = max(len(held) - 1, 0)
            held += data
            cut = held.rfind(b"\n\n", before)
            if cut >= 0:
                whole = bytes(memoryview(held)[:cut])
                del held[: cut + 2]
                return [event + b"\n\n" for event in whole.split(b"\n\n")]
        return []

    @property
    def is_live(self) -> bool:
        """Whether somebody is still writing."""
        return _is_locked(self._file)


def is_live(place: Path) -> bool:
    """Whether a response is still being made by any process of this host."""
    try:
        with EventReader(place) as reader:
            return reader.is_live
    except OSError:
        return False


def ask_to_cancel(place: Path) -> None:
    """Ask whoever makes a response to stop. Raises `OSError`."""
    os.close(os.open(place.with_suffix(_CANCEL), os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600))


def remove_events(place: Path) -> None:
    """Delete a response's events."""
    for suffix in (_EVENTS, _CANCEL):
        with contextlib.suppress(FileNotFoundError):
            place.with_suffix(suffix).unlink()


def _is_locked(file: int) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    fcntl.flock(file, fcntl.LOCK_UN)
    return False
