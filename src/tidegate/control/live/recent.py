"""Recent requests: kept by the control process, told by the workers while somebody looks.

Somebody looks for a minute after each question. That is said by one word of the shared
memory, which workers read once a second: nobody has to be told, and a control process that
dies is forgotten within the minute.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from typing import Final

import msgspec

from tidegate.control.live.answers import RequestRow
from tidegate.memory import InstanceWord, Segment

KEPT_ROWS: Final = 500
LOOK_S: Final = 60.0

_decoder = msgspec.msgpack.Decoder(list[RequestRow])


class RecentRequests:
    """The last requests of all workers. For control's loop.

    Args:
        segment: Takes the word that tells workers to collect.
    """

    def __init__(
        self, segment: Segment, *, clock_ns: Callable[[], int] = time.monotonic_ns
    ) -> None:
        self._segment = segment
        self._clock_ns = clock_ns
        self._rows: deque[tuple[int, RequestRow]] = deque(maxlen=KEPT_ROWS)
        self._taken = 0

    @property
    def taken(self) -> int:
        """How many rows have come so far; a mark for `since`."""
        return self._taken

    def look(self) -> None:
        """Let workers collect for the next minute."""
        until_ns = self._clock_ns() + int(LOOK_S * 1e9)
        self._segment.words[InstanceWord.WATCHED_UNTIL_NS] = until_ns

    def take(self, packed: bytes) -> None:
        """Keep the rows that a worker sent; what is no list of rows is left out."""
        try:
            rows = _decoder.decode(packed)
        except msgspec.MsgspecError:
            return
        for row in rows:
            self._taken += 1
            self._rows.append((self._taken, row))

    def newest(self, most: int) -> list[RequestRow]:
        """Return up to *most* rows, newest first."""
        rows = sorted((row for _, row in self._rows), key=lambda row: -row.time_ms)
        return rows[:most]

    def since(self, mark: int, most: int) -> list[RequestRow]:
        """Return up to *most* rows that came after *mark*, newest first."""
        rows = [row for number, row in self._rows if number > mark]
        return sorted(rows, key=lambda row: -row.time_ms)[:most]
