"""The readings of the last day in one file of fixed size, mapped into memory.

Two rings of frames: one frame a second for 15 minutes, one a minute for 24 hours. A frame
holds the raw cells (counters as they stand, gauges, histogram buckets) of every series that
has a column, so that rates, quantiles and alert rules can be worked out later, and says which
life of the instance (`boot`) it was read in: counters begin anew with each.

    header    one page: magic, version, columns, bytes of names, checksum; committed length of names
    names     append-only records: length, crc32, MessagePack of a `RingSeries`
    fine      900 frames
    coarse    1,440 frames

A frame's place follows from its time, so no position is stored that could be wrong. Each has a
checksum over its time and cells: one that a kill left half written counts as not there, and
a file that is damaged, of another version or of another size is begun anew. All room is
allocated when the file is made, so that a full disk cannot end in SIGBUS; without room, or
without a place to write, the rings live in memory alone.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import struct
import zlib
from array import array
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final, Literal, NamedTuple

import msgspec

RING_FILE: Final = "live.ring"
MAX_COLUMNS: Final = 4_096
"""Columns for series by themselves. A file has 5 MB at first and 87 MB at the most."""
RESERVED_COLUMNS: Final = 512
"""Beyond `MAX_COLUMNS`, for the series that take what has no column of its own."""
FIRST_COLUMNS: Final = 256

_MAGIC: Final = b"tdglive\0"
_VERSION: Final = 1
_PAGE: Final = 4096
_HEADER: Final = struct.Struct("=8sIII")
_CRC: Final = struct.Struct("=I")
_COMMITTED_AT: Final = 64
_COMMITTED: Final = struct.Struct("=q")
_NAME_HEAD: Final = struct.Struct("=II")
_NAME_BYTES_A_COLUMN: Final = 128
_FRAME_HEAD: Final = struct.Struct("=qqII")
_FRAME_HEAD_BYTES: Final = 32

Kind = Literal["counter", "gauge", "histogram"]


class Tier(NamedTuple):
    """One ring: a frame for each `step_s` seconds, `frames` of them."""

    name: str
    step_s: int
    frames: int


FINE: Final = Tier("15m", 1, 900)
COARSE: Final = Tier("24h", 60, 1_440)
TIERS: Final = (FINE, COARSE)


class RingSeries(msgspec.Struct, frozen=True, array_like=True):
    """A series and its columns.

    Attributes:
        family: Name of its metric family.
        kind: What the numbers are.
        names: Label names.
        values: Label values, in the same order.
        bounds: Upper bounds of a histogram's buckets, without +Inf.
        first: Its first column; a histogram has its buckets, +Inf's and the sum from there.
    """

    family: str
    kind: Kind
    names: tuple[str, ...]
    values: tuple[str, ...]
    bounds: tuple[float, ...]
    first: int

    @property
    def columns(self) -> int:
        """How many columns it has."""
        return len(self.bounds) + 2 if self.kind == "histogram" else 1

    @property
    def identity(self) -> tuple[object, ...]:
        """What makes it another series than others."""
        return (self.family, self.kind, self.names, self.values, self.bounds)


class Frame(NamedTuple):
    """One reading.

    Attributes:
        time_s: Unix time, a multiple of its tier's step.
        boot: Which life of the instance it was read in (its start in Unix ns).
        cells: A number for each column that there was at that time.
    """

    time_s: int
    boot: int
    cells: array[float]


class Ring:
    """Both rings. For one thread of one process.

    Attributes:
        series: Everything that has columns.
        is_kept: Whether the readings outlive this process.
    """

    def __init__(
        self, memory: mmap.mmap, columns: int, path: Path | None, lock_fd: int = -1
    ) -> None:
        """Take a map whose header is good, and the descriptor that holds the file's lock.

        Use `open_ring`.
        """
        self._map = memory
        self._lock_fd = lock_fd
        self._columns = columns
        self._path = path
        self.is_kept = path is not None
        self.series: list[RingSeries] = []
        self._known: dict[tuple[object, ...], RingSeries] = {}
        self._used = 0
        self._plan = _Offsets(columns)
        self._marks: dict[str, list[tuple[int, int]]] = {}
        self._read_names()
        self._read_marks()

    @property
    def columns(self) -> int:
        """Columns that are taken."""
        return self._used

    @property
    def size_bytes(self) -> int:
        """Bytes of the file."""
        return self._plan.size

    def place(
        self,
        family: str,
        kind: Kind,
        names: tuple[str, ...] = (),
        values: tuple[str, ...] = (),
        bounds: tuple[float, ...] = (),
        *,
        reserved: bool = False,
    ) -> RingSeries | None:
        """Return the series with these names, with new columns if it has none.

        None when there are no more; *reserved* ones may then still be had.
        """
        wanted = RingSeries(family, kind, names, values, bounds, self._used)
        found = self._known.get(wanted.identity)
        if found is not None:
            return found
        needed = self._used + wanted.columns
        if needed > MAX_COLUMNS + (RESERVED_COLUMNS if reserved else 0):
            return None
        body = msgspec.msgpack.encode(wanted)
        while needed > self._columns or not self._has_room_for_name(body):
            if self._columns >= MAX_COLUMNS + RESERVED_COLUMNS:
                return None
            self._grow()
        self._append_name(body)
        self._note(wanted)
        return wanted

    def write(self, tier: Tier, time_s: int, boot: int, cells: array[float]) -> None:
        """Store a frame over the one that is a whole ring older.

        *time_s* is a multiple of the tier's step. *cells* has a number for each taken column.
        """
        data = cells.tobytes()
        check = _frame_check(time_s, boot, len(cells), data)
        place = time_s // tier.step_s % tier.frames
        start = self._plan.frame(tier, place)
        head = _FRAME_HEAD.pack(time_s, boot, len(cells), check)
        # The checksum covers head and cells, so any mixture of old and new is no frame.
        self._map[start : start + len(head)] = head
        start += _FRAME_HEAD_BYTES
        self._map[start : start + len(data)] = data
        self._marks[tier.name][place] = (time_s, boot)

    def frame(self, tier: Tier, time_s: int) -> Frame | None:
        """Return the frame of *time_s*, None when nothing was read then."""
        place = time_s // tier.step_s % tier.frames
        if self._marks[tier.name][place][0] != time_s:
            return None
        # Verified when the file was opened, or written by ourselves since.
        return self._read_frame(tier, place, is_verified=True)

    def times(self, tier: Tier, since_s: float = 0.0) -> list[tuple[int, int]]:
        """Return time and boot of each frame from *since_s* on, oldest first."""
        return sorted(mark for mark in self._marks[tier.name] if mark[0] and mark[0] >= since_s)

    def forget_idle(self) -> None:
        """Give the columns of series back that were zero in all frames, names long gone.

        Every frame is read for it (0.5 s for a full file): for a start, and a crowded ring.
        """
        frames = list(self._frames())
        kept = [one for one in self.series if any(_shows(frame, one) for _, frame in frames)]
        if len(kept) < len(self.series):
            self._rewrite(self._columns, kept, frames)

    def close(self) -> None:
        """Give the memory back; what was written stays in the file."""
        self._map.close()
        if self._lock_fd >= 0:
            os.close(self._lock_fd)

    # ------------------------------------------------------------------ names

    def _note(self, series: RingSeries) -> None:
        self.series.append(series)
        self._known[series.identity] = series
        self._used = series.first + series.columns

    def _read_names(self) -> None:
        (committed,) = _COMMITTED.unpack_from(self._map, _COMMITTED_AT)
        start, end = self._plan.names, self._plan.names + committed
        if not self._plan.names <= end <= self._plan.fine:
            raise ValueError("names beyond their room")
        while start < end:
            length, check = _NAME_HEAD.unpack_from(self._map, start)
            body = self._map[start + _NAME_HEAD.size : start + _NAME_HEAD.size + length]
            if len(body) != length or zlib.crc32(body) != check:
                raise ValueError("a name is damaged")
            series = msgspec.msgpack.decode(body, type=RingSeries)
            if series.first != self._used or series.first + series.columns > self._columns:
                raise ValueError("a name has columns of another")
            self._note(series)
            start += _padded(_NAME_HEAD.size + length)

    def _has_room_for_name(self, body: bytes) -> bool:
        (committed,) = _COMMITTED.unpack_from(self._map, _COMMITTED_AT)
        room = self._plan.fine - self._plan.names - committed
        return bool(_padded(_NAME_HEAD.size + len(body)) <= room)

    def _append_name(self, body: bytes) -> None:
        (committed,) = _COMMITTED.unpack_from(self._map, _COMMITTED_AT)
        start = self._plan.names + committed
        record = _NAME_HEAD.pack(len(body), zlib.crc32(body)) + body
        self._map[start : start + len(record)] = record
        # Last, and one aligned word: a kill before it leaves bytes that count for nothing.
        _COMMITTED.pack_into(self._map, _COMMITTED_AT, committed + _padded(len(record)))

    # ------------------------------------------------------------------ frames

    def _read_frame(self, tier: Tier, place: int, *, is_verified: bool = False) -> Frame | None:
        start = self._plan.frame(tier, place)
        time_s, boot, count, check = _FRAME_HEAD.unpack_from(self._map, start)
        if not time_s or count > self._columns or time_s % tier.step_s:
            return None
        if time_s // tier.step_s % tier.frames != place:
            return None
        start += _FRAME_HEAD_BYTES
        data = self._map[start : start + count * 8]
        if not is_verified and _frame_check(time_s, boot, count, data) != check:
            return None
        cells = array("d")
        cells.frombytes(data)
        return Frame(time_s, boot, cells)

    def _read_marks(self) -> None:
        for tier in TIERS:
            marks = self._marks[tier.name] = [(0, 0)] * tier.frames
            for place in range(tier.frames):
                frame = self._read_frame(tier, place)
                if frame is not None:
                    marks[place] = (frame.time_s, frame.boot)

    def _frames(self) -> Iterator[tuple[Tier, Frame]]:
        for tier in TIERS:
            for place in range(tier.frames):
                frame = self._read_frame(tier, place)
                if frame is not None:
                    yield tier, frame

    def _grow(self) -> None:
        """Go on in a file with twice the columns; the old one stays until that is whole."""
        columns = min(self._columns * 2, MAX_COLUMNS + RESERVED_COLUMNS)
        self._rewrite(columns, self.series, list(self._frames()))

    def _rewrite(
        self, columns: int, kept: list[RingSeries], frames: list[tuple[Tier, Frame]]
    ) -> None:
        other = _make(self._path, columns)
        for one in kept:
            other.place(one.family, one.kind, one.names, one.values, one.bounds, reserved=True)
        for tier, frame in frames:
            cells = array("d")
            for one in kept:
                cells += frame.cells[one.first : one.first + one.columns]
            other.write(tier, frame.time_s, frame.boot, cells)
        _put_in_place(other)
        self.close()
        self.__dict__.update(other.__dict__)


def _shows(frame: Frame, one: RingSeries) -> bool:
    return any(frame.cells[one.first : one.first + one.columns])


def open_ring(path: Path | None) -> Ring:
    """Open the rings in *path*, made anew when there is no good file; None keeps no file.

    Raises:
        BlockingIOError: Another process has them open: one that we replace, for a moment.
    """
    if path is not None:
        try:
            return _load(path)
        except BlockingIOError:
            raise
        except (OSError, ValueError, msgspec.MsgspecError):
            pass  # there is none, or none that is good
    ring = _make(path, FIRST_COLUMNS)
    _put_in_place(ring)
    return ring


def _load(path: Path) -> Ring:
    descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        # Held as long as the descriptor is open, and freed by the kernel with a dead process.
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.fstat(descriptor).st_ino != path.stat().st_ino:
            raise BlockingIOError("the file has just been replaced")
        head = os.pread(descriptor, _HEADER.size + _CRC.size, 0)
        if len(head) < _HEADER.size + _CRC.size:
            raise ValueError("too short")
        magic, version, columns, _ = _HEADER.unpack_from(head)
        (check,) = _CRC.unpack_from(head, _HEADER.size)
        if magic != _MAGIC or version != _VERSION or zlib.crc32(head[: _HEADER.size]) != check:
            raise ValueError("not a ring of this version")
        if not FIRST_COLUMNS <= columns <= MAX_COLUMNS + RESERVED_COLUMNS:
            raise ValueError("an odd number of columns")
        # A map longer than its file ends in SIGBUS at the first touch of the missing part.
        size = _Offsets(columns).size
        if os.fstat(descriptor).st_size != size:
            raise ValueError("not as long as its header says")
        os.fchmod(descriptor, 0o600)
        memory = mmap.mmap(descriptor, size)
        try:
            return Ring(memory, columns, path, descriptor)
        except BaseException:
            memory.close()
            raise
    except BaseException:
        os.close(descriptor)
        raise


def _make(path: Path | None, columns: int) -> Ring:
    """Return empty rings in a draft beside *path*, or in memory alone when that cannot be."""
    size = _Offsets(columns).size
    memory, lock_fd = None, -1
    if path is not None:
        with suppress(OSError):
            memory, lock_fd = _make_draft(_draft(path), size)
    if memory is None:
        path, memory = None, mmap.mmap(-1, size)
    head = _HEADER.pack(_MAGIC, _VERSION, columns, 0)
    memory[: _HEADER.size + _CRC.size] = head + _CRC.pack(zlib.crc32(head))
    return Ring(memory, columns, path, lock_fd)


def _make_draft(draft: Path, size: int) -> tuple[mmap.mmap, int]:
    # Never one that is there already: to shorten a file that somebody maps would kill him.
    draft.unlink(missing_ok=True)
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    descriptor = os.open(draft, flags, 0o600)
    try:
        os.fchmod(descriptor, 0o600)
        _allocate(descriptor, size)
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return mmap.mmap(descriptor, size), descriptor
    except OSError:
        draft.unlink(missing_ok=True)
        os.close(descriptor)
        raise


def _allocate(descriptor: int, size: int) -> None:
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(descriptor, 0, size)
        return
    zeros = bytes(1 << 20)
    for offset in range(0, size, len(zeros)):
        os.pwrite(descriptor, zeros[: size - offset], offset)


def _put_in_place(ring: Ring) -> None:
    if ring._path is None:
        return
    try:
        _draft(ring._path).replace(ring._path)
    except OSError:
        ring._path, ring.is_kept = None, False


def _draft(path: Path) -> Path:
    return path.with_name(path.name + ".new")


class _Offsets:
    """Byte offsets of the parts for a number of columns."""

    __slots__ = ("coarse", "fine", "names", "size", "stride")

    def __init__(self, columns: int) -> None:
        self.stride = _FRAME_HEAD_BYTES + columns * 8
        self.names = _PAGE
        self.fine = self.names + columns * _NAME_BYTES_A_COLUMN
        self.coarse = self.fine + FINE.frames * self.stride
        self.size = self.coarse + COARSE.frames * self.stride

    def frame(self, tier: Tier, place: int) -> int:
        return (self.fine if tier is FINE else self.coarse) + place * self.stride


def _frame_check(time_s: int, boot: int, count: int, data: bytes) -> int:
    return zlib.crc32(data, zlib.crc32(_FRAME_HEAD.pack(time_s, boot, count, 0)))


def _padded(size: int) -> int:
    return (size + 7) & ~7
