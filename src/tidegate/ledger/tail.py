"""Follows the files of one writer. Knows by its lock whether a file can still grow."""

from __future__ import annotations

import fcntl
import os
import secrets
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

from tidegate.ledger.reading import Records
from tidegate.ledger.records import (
    FRAME_BYTES,
    HEADER_BYTES,
    MAX_RECORD_BYTES,
    FileHeader,
    cut,
    decode_header,
    parse_file_name,
)

_CHUNK_BYTES: Final = 256 * 1024
_LONGEST_TEAR_BYTES: Final = FRAME_BYTES + MAX_RECORD_BYTES


class JournalFile:
    """One file, read from a position on.

    Attributes:
        name: Of the file.
        number: Counts the writer's files.
        offset: Behind the last record that was returned.
        ended: Nothing more will come: its writer is done with it and all of it was returned.
    """

    __slots__ = ("_fd", "_path", "_synced", "ended", "name", "number", "offset")

    def __init__(self, path: Path, number: int) -> None:
        self._path = path
        self._fd = os.open(path, os.O_RDONLY)
        self._synced = 0
        self.name = path.name
        self.number = number
        self.offset = 0
        self.ended = False

    def seek(self, offset: int, *, ended: bool) -> None:
        """Go on reading at *offset*, or not at all."""
        self.offset = offset
        self.ended = ended

    def read(self, max_records: int, into: Records) -> int:
        """Put whole records that have not been read yet *into* what is collected.

        Return how many there were, at most *max_records*.
        """
        # Asked before reading: what an ended writer wrote is then all to be seen.
        alive = is_locked(self._fd)
        taken = 0
        if self.offset < HEADER_BYTES and not self._read_header(alive):
            return 0
        while taken < max_records:
            data = os.pread(self._fd, _CHUNK_BYTES, self.offset)
            payloads, offset, why = cut(data, 0, max_records - taken)
            taken += len(payloads)
            into.add(payloads)
            self.offset += offset
            if taken >= max_records:
                break
            if len(data) == _CHUNK_BYTES and why != "bad":
                continue  # the chunk ends inside a record, the file does not
            self.ended = not alive
            break
        return taken

    def _read_header(self, alive: bool) -> bool:
        if decode_header(os.pread(self._fd, HEADER_BYTES, 0)) is None:
            self.ended = not alive
            return False
        self.offset = HEADER_BYTES
        return True

    @property
    def damaged(self) -> bool:
        """Whether it ended in more than a torn record can leave, or has no header."""
        size = self.size
        if self.offset < HEADER_BYTES:
            return size > 0
        return size - self.offset > _LONGEST_TEAR_BYTES

    @property
    def size(self) -> int:
        """Bytes of the file now."""
        return os.fstat(self._fd).st_size

    def sync(self) -> None:
        """Make on the disk what the file holds, if it has grown since the last time."""
        size = self.size
        if size != self._synced:
            with suppress(OSError):  # a failing disk is told of by the writes themselves
                os.fdatasync(self._fd)
                self._synced = size

    def remove(self) -> None:
        """Delete the file, folded to its end; a damaged one is set aside for a person to see."""
        if self.damaged:
            self._path.rename(self._path.with_suffix(".damaged"))
        else:
            self._path.unlink(missing_ok=True)

    def close(self) -> None:
        """Give the descriptor back."""
        os.close(self._fd)


class WriterTail:
    """All files of one writer, in their order; the first that has not ended is read.

    Attributes:
        name: `slot.incarnation.token`.
        files: Those that have not been deleted.
    """

    __slots__ = ("files", "name")

    def __init__(self, name: str) -> None:
        self.name = name
        self.files: list[JournalFile] = []

    @property
    def ended(self) -> bool:
        """Whether every known file has ended; the writer is dead if there is no newer one."""
        return all(file.ended for file in self.files)

    def add(self, file: JournalFile) -> None:
        """Take one more file."""
        self.files.append(file)
        self.files.sort(key=lambda item: item.number)

    def read(self, max_records: int, into: Records) -> int:
        """Put new records in the order in which they were written; return how many."""
        taken = 0
        for file in self.files:
            if not file.ended:
                taken += file.read(max_records - taken, into)
            if not file.ended:
                break
        return taken

    def close(self) -> None:
        """Give all descriptors back."""
        for file in self.files:
            file.close()
        self.files.clear()


def journal_paths(directory: Path) -> Iterator[tuple[Path, FileHeader]]:
    """Give each journal of *directory* with what its name says; other files are passed over."""
    for name in os.listdir(directory):
        path = directory / name
        header = parse_file_name(path)
        if header is not None:
            yield path, header


def is_locked(descriptor: int) -> bool:
    """Whether another process holds the lock of this file."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    fcntl.flock(descriptor, fcntl.LOCK_UN)
    return False


def lock_for_folding(directory: Path) -> int:
    """Become the one process that folds the journals of *directory*, while the result is open.

    Raises:
        BlockingIOError: Another process is.
    """
    descriptor = os.open(directory / "fold.lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


def instance_of(directory: Path) -> str:
    """Return the random name of the gateway whose journals these are; made at the first call.

    Call it only under `lock_for_folding`.
    """
    path = directory / "instance"
    try:
        name = path.read_text().strip()
    except FileNotFoundError:
        name = ""
    if not name:
        name = secrets.token_hex(8)
        building = path.with_suffix(".new")
        building.write_text(name)
        building.rename(path)
    return name
