"""The instance's append-only list of series: which cell number means what, in every slot.

A record is `length, crc32, first cell, number of cells` (four uint32) and a MessagePack array
`[family, label value, …]`, padded to eight bytes. It is appended under `INDEX_LOCK`, and the
committed length, one aligned int64, is stored last: a process that dies halfway leaves bytes
that the next one writes over. Readers take only what lies below the committed length, and
verify the checksum, because some processors show another core's stores out of order.
"""

from __future__ import annotations

import os
import struct
import zlib
from typing import NamedTuple

import msgspec

from tidegate.memory import CELLS_PER_SLOT, INDEX_LOCK, InstanceWord, Segment

_HEAD = struct.Struct("=IIII")
_PLACE = struct.Struct("=II")

_SPINS = 20
_TRIES = 200
_RESERVED_BYTES = 64 * 1024
_RESERVED_CELLS = 4096


class SeriesRecord(NamedTuple):
    """One series: its family's name, its label values, and where its cells are."""

    family: str
    labels: tuple[str, ...]
    first: int
    cells: int


class SeriesIndex:
    """One process's reading of the list, and its way to append to it.

    Attributes:
        records: Every series read so far, in the order of creation, the same everywhere.
    """

    __slots__ = ("_free_cell", "_seen", "_segment", "records")

    def __init__(self, segment: Segment) -> None:
        self.records: list[SeriesRecord] = []
        self._segment = segment
        self._seen = 0
        self._free_cell = 0

    def catch_up(self) -> None:
        """Read what was appended since the last call (0.1 µs when nothing was)."""
        committed = self._segment.words[InstanceWord.INDEX_LENGTH]
        while self._seen < committed:
            record, end = self._read(self._seen)
            if record is None:
                return  # not visible here yet: the next call finds it
            self.records.append(record)
            self._free_cell = record.first + record.cells
            self._seen = end

    def lock(self) -> bool:
        """Take the index for an append; gives up after about half a millisecond.

        It is held for a few microseconds, unless its holder has been put off its processor.
        """
        for attempt in range(_TRIES):
            if self._segment.try_lock(INDEX_LOCK):
                return True
            if attempt >= _SPINS:
                os.sched_yield()
        return False

    def unlock(self) -> None:
        """Give the index back."""
        self._segment.unlock(INDEX_LOCK)

    def append(
        self, family: str, labels: tuple[str, ...], cells: int, *, last_resort: bool
    ) -> SeriesRecord | None:
        """Append a series and return it, or None when there is no room.

        The index must be locked and caught up. The last 64 KiB and 4,096 cells are kept for
        the overflow series (*last_resort*).
        """
        body = msgspec.msgpack.encode((family, *labels))
        first, start = self._free_cell, self._seen
        end = start + _padded(_HEAD.size + len(body))
        spare_bytes, spare_cells = (0, 0) if last_resort else (_RESERVED_BYTES, _RESERVED_CELLS)
        index = self._segment.index
        behind = start < self._segment.words[InstanceWord.INDEX_LENGTH]
        if behind or end > len(index) - spare_bytes:
            return None
        if first + cells > CELLS_PER_SLOT - spare_cells:
            return None
        check = zlib.crc32(body, zlib.crc32(_PLACE.pack(first, cells)))
        head = _HEAD.pack(len(body), check, first, cells)
        index[start : start + len(head) + len(body)] = head + body
        self._segment.words[InstanceWord.INDEX_LENGTH] = end
        record = SeriesRecord(family, labels, first, cells)
        self.records.append(record)
        self._seen = end
        self._free_cell = first + cells
        return record

    def _read(self, start: int) -> tuple[SeriesRecord | None, int]:
        index = self._segment.index
        length, check, first, cells = _HEAD.unpack(index[start : start + _HEAD.size])
        end = start + _padded(_HEAD.size + length)
        if end > len(index) or first + cells > CELLS_PER_SLOT:
            return None, start
        body = bytes(index[start + _HEAD.size : start + _HEAD.size + length])
        if zlib.crc32(body, zlib.crc32(_PLACE.pack(first, cells))) != check:
            return None, start
        family, *labels = msgspec.msgpack.decode(body, type=tuple[str, ...])
        return SeriesRecord(family, tuple(labels), first, cells), end


def _padded(size: int) -> int:
    return (size + 7) & ~7
