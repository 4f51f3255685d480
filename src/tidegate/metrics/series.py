"""Series to write to: views of a few cells of this process's slot.

`Registry` hands them out. Only the thread that runs the loop writes one, unless the series is
another thread's alone.
"""

from __future__ import annotations

import re
import time
from bisect import bisect_left
from collections.abc import Callable, Sequence
from itertools import repeat
from typing import NamedTuple

EXEMPLAR_EVERY_S = 1.0
"""Least time between two exemplars of a series."""

_LARGEST = 1e18  # beyond any count, size or time we could mean; keeps inf out


_EXEMPLAR_ID = re.compile(r"[A-Za-z0-9_-]{1,100}")


class Exemplar(NamedTuple):
    """One observation by which a bucket can be looked into.

    Attributes:
        label: `trace_id` or `request_id`.
        text: The id.
        value: The observation, in the family's unit.
        at_s: Unix time in seconds.
        kept_s: `time.monotonic` of the same moment.
    """

    label: str
    text: str
    value: float
    at_s: float
    kept_s: float


class CounterSeries:
    """A number that only rises."""

    __slots__ = ("_cells", "_first")

    def __init__(self, cells: memoryview[float], first: int) -> None:
        self._cells = cells
        self._first = first

    def inc(self, amount: float = 1.0) -> None:
        """Add *amount*. What is not a positive finite number is not added: counters never fall."""
        if 0.0 < amount < _LARGEST:
            self._cells[self._first] += amount

    @property
    def value(self) -> float:
        """What this slot has counted, its earlier owners included."""
        return self._cells[self._first]


class GaugeSeries:
    """A number that goes up and down; zero again when its process is gone."""

    __slots__ = ("_cells", "_first")

    def __init__(self, cells: memoryview[float], first: int) -> None:
        self._cells = cells
        self._first = first

    def inc(self, amount: float = 1.0) -> None:
        """Add *amount*."""
        self._cells[self._first] += amount

    def dec(self, amount: float = 1.0) -> None:
        """Take *amount* away."""
        self._cells[self._first] -= amount

    def set(self, value: float) -> None:
        """Store *value*."""
        self._cells[self._first] = value

    @property
    def value(self) -> float:
        """This slot's number."""
        return self._cells[self._first]


class LatestSeries:
    """A number somebody told us: the page shows the one stored last by any process.

    Its second cell is the time of it on the clock that all processes of a host share.
    """

    __slots__ = ("_cells", "_first")

    def __init__(self, cells: memoryview[float], first: int) -> None:
        self._cells = cells
        self._first = first

    def set(self, value: float, now_s: float) -> None:
        """Store *value* as of *now_s* (`time.monotonic`); ends and NaN are left out."""
        if -_LARGEST < value < _LARGEST:
            # The value first: a reader in between takes it for the older one, never the reverse.
            self._cells[self._first] = value
            self._cells[self._first + 1] = now_s

    @property
    def value(self) -> float:
        """This slot's number."""
        return self._cells[self._first]


class HistogramSeries:
    """Observations sorted into buckets.

    One bucket and the sum are stored; counts and cumulative buckets are made by the page.

    Attributes:
        exemplar_due_s: `time.monotonic` from which another exemplar is welcome. Compare it
            first: `if now_s >= series.exemplar_due_s: series.exemplify(…)` costs 0.03 µs.
        exemplars: Newest one of each bucket, in this process's memory alone.
    """

    __slots__ = ("_bounds", "_cells", "_first", "_note", "_sum", "exemplar_due_s", "exemplars")

    def __init__(
        self,
        cells: memoryview[float],
        first: int,
        bounds: tuple[float, ...],
        note: Callable[[HistogramSeries], None] | None = None,
    ) -> None:
        self._cells = cells
        self._first = first
        self._sum = first + len(bounds) + 1
        self._bounds = bounds
        self._note = note
        self.exemplar_due_s = 0.0
        self.exemplars: dict[int, Exemplar] = {}

    def observe(self, value: float) -> None:
        """Count *value* (seconds, tokens, …). Negative and not finite ones are left out."""
        if 0.0 <= value < _LARGEST:
            cells = self._cells
            cells[self._first + bisect_left(self._bounds, value)] += 1.0
            cells[self._sum] += value

    def observe_all(self, values: Sequence[float]) -> None:
        """Count all *values*: 0.07 µs each of a dozen, where `observe` takes 0.2."""
        if not values:
            return
        total = sum(values)  # not a number if one of them is none
        if min(values) >= 0.0 and total < _LARGEST:
            cells, first = self._cells, self._first
            places = list(map(bisect_left, repeat(self._bounds), values))
            for place in set(places):
                cells[first + place] += places.count(place)
            cells[self._sum] += total
        else:
            for value in values:
                self.observe(value)

    def exemplify(self, value: float, now_s: float, label: str, text: str) -> None:
        """Keep *value*, just observed, as its bucket's example: at most one a second.

        Args:
            value: As observed.
            now_s: `time.monotonic`.
            label: `trace_id` or `request_id`.
            text: The id: letters, digits, `_` and `-`; with the label at most 128 characters.
        """
        if not (0.0 <= value < _LARGEST) or not _EXEMPLAR_ID.fullmatch(text):
            return
        self.exemplar_due_s = now_s + EXEMPLAR_EVERY_S
        if not self.exemplars and self._note is not None:
            self._note(self)
        bucket = bisect_left(self._bounds, value)
        self.exemplars[bucket] = Exemplar(label, text, value, time.time(), now_s)

    @property
    def first(self) -> int:
        """Its first cell; what a page knows it by."""
        return self._first
