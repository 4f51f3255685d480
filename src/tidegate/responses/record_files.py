"""Files of one response, written whole and changed by one process at a time."""

from __future__ import annotations

import contextlib
import fcntl
import itertools
import os
from collections.abc import Iterator
from pathlib import Path

from tidegate.responses.event_log import remove_events

#: The input of a response, where that is large.
BESIDE = ".input"
UNFINISHED = ".part"
_next_number = itertools.count().__next__


class Missing(Exception):
    """No such response of this key, or one that it goes on from is gone."""


def name_unfinished(beginning: str) -> str:
    """Return a name that no other process and thread uses."""
    return f"{beginning}{os.getpid()}-{_next_number()}{UNFINISHED}"


def write_whole(place: Path, data: bytes, staged: Path | None = None) -> None:
    """Write a file as a whole, or not at all; move *staged* beside it first. Raises `OSError`."""
    beside = name_unfinished(f"{place}.")
    handle = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        view = memoryview(data)
        while view:
            view = view[os.write(handle, view) :]
    except OSError:
        os.unlink(beside)
        raise
    finally:
        os.close(handle)
    if staged is not None:
        os.replace(staged, place.with_suffix(BESIDE))
    os.replace(beside, place)


@contextlib.contextmanager
def held(place: Path) -> Iterator[None]:
    """Hold a response that is there: nobody else who holds it changes or deletes it meanwhile.

    Blocks for as long as another holds it, some microseconds. Raises `Missing`.
    """
    while True:
        try:
            handle = os.open(place, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            raise Missing from None
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            if _is_at(place, handle):
                yield
                return
            # While we waited it was replaced, or deleted: look again.
        finally:
            os.close(handle)


def remove(place: Path) -> None:
    """Delete all of a response, or what a killed process left of it. Raises `OSError`."""
    with contextlib.suppress(Missing), held(place):
        unlink(place)
    remove_events(place)
    unlink(place.with_suffix(BESIDE))


def unlink(path: str | Path) -> None:
    """Delete a file that another worker may have deleted. Raises `OSError`."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)


def _is_at(place: Path, handle: int) -> bool:
    try:
        found = os.stat(place)
    except FileNotFoundError:
        return False
    return os.path.samestat(found, os.fstat(handle))
