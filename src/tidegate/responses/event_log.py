"""The events of a response that is made in the background: a file that grows while it is made.

Whoever makes the response holds a lock on the file (`flock`), which the kernel takes away with
the process, however that ends: so any worker can tell whether a response is still being made.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from pathlib import Path

_EVENTS = ".events"
_CANCEL = ".cancel"
_READ_BYTES = 256 * 1024


class EventLog:
    """The writer's side; held for as long as the response is made."""

    def __init__(self, place: Path) -> None:
        """Make an empty log and lock it. Raises `OSError`."""
        self._place = place
        self._cancel = place.with_suffix(_CANCEL)
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
        self._file = os.open(place.with_suffix(_EVENTS), flags, 0o600)
        fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def append(self, data: bytes) -> None:
        """Add events. Raises `OSError`."""
        view = memoryview(data)
        while view:
            view = view[os.write(self._file, view) :]

    @property
    def is_cancelled(self) -> bool:
        """Whether somebody has asked to cancel the response (`ask_to_cancel`)."""
        return self._cancel.exists()

    def touch(self) -> None:
        """Keep the response from looking unused while it is made."""
        with contextlib.suppress(OSError):
            os.utime(self._file)
            os.utime(self._place)

    def close(self) -> None:
        """Let everybody know that nothing will follow."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1
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
