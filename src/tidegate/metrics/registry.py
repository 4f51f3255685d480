"""Series to write to: a counter, gauge or histogram of this process, in its slot's cells.

A process makes one `Registry` and keeps the series it needs; an update is then a store into
shared memory (0.05 to 0.15 µs), which outlives any death of the process. Only the thread that
runs the loop may write.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Generic, TypeVar

from tidegate.memory import Segment
from tidegate.metrics.families import declared
from tidegate.metrics.families.series import SERIES_DROPPED
from tidegate.metrics.family import OTHER, Family
from tidegate.metrics.index import SeriesIndex, SeriesRecord
from tidegate.metrics.series import CounterSeries, GaugeSeries, HistogramSeries, LatestSeries

_MAX_VALUE_LENGTH = 200

_S = TypeVar("_S", CounterSeries, GaugeSeries, LatestSeries, HistogramSeries)
_AnySeries = CounterSeries | GaugeSeries | LatestSeries | HistogramSeries


class Handle(Generic[_S]):
    """The series of one family in this process.

    Attributes:
        family: Its declaration.
    """

    __slots__ = ("_find", "_known", "family")

    def __init__(self, family: Family, find: Callable[[Handle[_S], tuple[str, ...]], _S]) -> None:
        self.family = family
        self._known: dict[tuple[str, ...], _S] = {}
        self._find: Callable[[Handle[_S], tuple[str, ...]], _S] = find

    def labels(self, *values: str) -> _S:
        """Return the series with these label values, in the order of `family.labels`.

        A value outside its closed set, over 200 characters or not UTF-8 becomes `other`. Beyond
        the caps the series is the one whose values are all `other`. Keep the result where you can.

        Raises:
            ValueError: Not as many values as labels.
        """
        series = self._known.get(values)
        return series if series is not None else self._find(self, values)

    @property
    def series(self) -> _S:
        """The one series of a family without labels."""
        return self.labels()


_AnyHandle = (
    Handle[CounterSeries] | Handle[GaugeSeries] | Handle[LatestSeries] | Handle[HistogramSeries]
)


class _Waiting:
    """A series whose creation found the index taken: it counts in memory of its own until then."""

    __slots__ = ("cells", "handle", "series", "values")

    def __init__(
        self,
        handle: _AnyHandle,
        values: tuple[str, ...],
        series: _AnySeries,
        cells: memoryview[float],
    ) -> None:
        self.handle = handle
        self.values = values
        self.series = series
        self.cells = cells


class Registry:
    """One process's way to its slot's series.

    Attributes:
        segment: The shared memory.
        slot: The slot whose cells this process writes.
        families: What is declared, by name.
        index: The instance's list of series.
        exemplified: Histogram series of this process with exemplars, by their first cell.
    """

    def __init__(
        self,
        segment: Segment,
        slot: int,
        *,
        max_series_per_family: int = 2_000,
        max_total: int = 8_000,
        families: Iterable[Family] | None = None,
    ) -> None:
        """Make every unlabelled series, and those of small closed families, at once.

        Args:
            segment: The shared memory of the instance.
            slot: This process's slot.
            max_series_per_family: Cap for families that do not set their own.
            max_total: Cap over all families; closed families do not count against it.
            families: Declarations; by default those of the package `families`.
        """
        self.segment = segment
        self.slot = slot
        self.families = {f.name: f for f in (declared() if families is None else families)}
        self.families.setdefault(SERIES_DROPPED.name, SERIES_DROPPED)
        self.index = SeriesIndex(segment)
        self._max_series = max_series_per_family
        self._max_total = max_total
        self._cells = segment.cells(slot)
        self._read = 0
        self._places: dict[str, dict[tuple[str, ...], int]] = {name: {} for name in self.families}
        self._open_total = 0
        self.exemplified: dict[int, HistogramSeries] = {}
        self._waiting: list[_Waiting] = []
        self._counters: dict[str, Handle[CounterSeries]] = {}
        self._gauges: dict[str, Handle[GaugeSeries]] = {}
        self._latest: dict[str, Handle[LatestSeries]] = {}
        self._histograms: dict[str, Handle[HistogramSeries]] = {}
        self._dropped = self.counter(SERIES_DROPPED)
        for family in self.families.values():
            self._prepare(family)

    def counter(self, family: Family) -> Handle[CounterSeries]:
        """Return the handle of a counter family; the same one at each call."""
        self._check(family, "counter")
        return self._counters.setdefault(family.name, Handle(family, self._find_counter))

    def gauge(self, family: Family) -> Handle[GaugeSeries]:
        """Return the handle of a gauge family; the same one at each call."""
        self._check(family, "gauge")
        return self._gauges.setdefault(family.name, Handle(family, self._find_gauge))

    def latest(self, family: Family) -> Handle[LatestSeries]:
        """Return the handle of a gauge family that shows the latest value."""
        self._check(family, "gauge")
        if family.merge != "latest":
            raise ValueError(f"{family.name} does not show the latest value")
        return self._latest.setdefault(family.name, Handle(family, self._find_latest))

    def histogram(self, family: Family) -> Handle[HistogramSeries]:
        """Return the handle of a histogram family; the same one at each call."""
        self._check(family, "histogram")
        return self._histograms.setdefault(family.name, Handle(family, self._find_histogram))

    def set_max_series_per_family(self, most: int) -> None:
        """Change the cap of families that do not set their own; series that exist stay."""
        self._max_series = most

    def catch_up(self) -> None:
        """Read series that other processes made, and place those of ours that are waiting.

        The page calls it; a process that renders none calls it about once a second.
        """
        self._note_new()
        if self._waiting:
            self._place_waiting()

    def places_of(self, family: Family) -> Mapping[tuple[str, ...], int]:
        """Return the first cell of each series of *family* by its label values."""
        return self._places[family.name]

    def release_gauges(self, slot: int) -> None:
        """Set the gauges of a dead process to zero; before its slot has a new owner."""
        self._note_new()
        cells = self.segment.cells(slot)
        for name, places in self._places.items():
            family = self.families[name]
            if family.kind == "gauge":
                for first in places.values():
                    for offset in range(family.cells):
                        cells[first + offset] = 0.0

    def _check(self, family: Family, kind: str) -> None:
        if family.kind != kind:
            raise ValueError(f"{family.name} is a {family.kind}, not a {kind}")
        if self.families.get(family.name) != family:
            raise ValueError(f"{family.name} is not declared in metrics.families")

    def _prepare(self, family: Family) -> None:
        if family.computed and family.kind != "counter":
            return
        for values in family.initial:
            match family.kind:
                case "counter":
                    self.counter(family).labels(*values)
                case "gauge":
                    self.gauge(family).labels(*values)
                case "histogram":
                    self.histogram(family).labels(*values)

    def _find_counter(
        self, handle: Handle[CounterSeries], values: tuple[str, ...]
    ) -> CounterSeries:
        return self._find(handle, values, CounterSeries)

    def _find_gauge(self, handle: Handle[GaugeSeries], values: tuple[str, ...]) -> GaugeSeries:
        return self._find(handle, values, GaugeSeries)

    def _find_latest(self, handle: Handle[LatestSeries], values: tuple[str, ...]) -> LatestSeries:
        return self._find(handle, values, LatestSeries)

    def _find_histogram(
        self, handle: Handle[HistogramSeries], values: tuple[str, ...]
    ) -> HistogramSeries:
        bounds = handle.family.buckets
        return self._find(
            handle,
            values,
            lambda cells, first: HistogramSeries(cells, first, bounds, self._note_exemplars),
        )

    def _note_exemplars(self, series: HistogramSeries) -> None:
        if series._cells is self._cells:  # one that waits for its place has none to show
            self.exemplified[series.first] = series

    def _find(
        self,
        handle: Handle[_S],
        values: tuple[str, ...],
        make: Callable[[memoryview[float], int], _S],
    ) -> _S:
        """Return a series that the handle does not know yet: found, made, waiting, or `other`."""
        family = handle.family
        if len(values) != len(family.labels):
            raise ValueError(f"{family.name} has labels {family.labels}, got {values!r}")
        allowed = tuple(map(self._allowed, family.labels, values, [family] * len(values)))
        if allowed != values:
            # Not remembered under the refused values: there could be any number of them.
            return handle.labels(*allowed)
        self._note_new()
        first = self._places[family.name].get(values)
        if first is None:
            if self._is_full(family, values):
                return self._overflow(handle, values, make)
            if not self.index.lock():
                return self._wait(handle, values, make)
            try:
                first = self._append(family, values)
            finally:
                self.index.unlock()
            if first is None:
                return self._overflow(handle, values, make)
        series = handle._known[values] = make(self._cells, first)
        return series

    def _allowed(self, label: str, value: str, family: Family) -> str:
        closed = family.values.get(label)
        if closed is not None:
            return value if value in closed else OTHER
        if len(value) > _MAX_VALUE_LENGTH or (not value.isascii() and not _is_utf8(value)):
            return OTHER
        return value

    def _is_full(self, family: Family, values: tuple[str, ...]) -> bool:
        if _is_bounded(family, values):
            return False
        cap = self._max_series if family.max_series is None else family.max_series
        return len(self._places[family.name]) >= cap or self._open_total >= self._max_total

    def _append(self, family: Family, values: tuple[str, ...]) -> int | None:
        """Find or append under the lock; None when over a cap or out of room."""
        self._note_new()
        first = self._places[family.name].get(values)
        if first is None and not self._is_full(family, values):
            last_resort = _is_bounded(family, values)
            self.index.append(family.name, values, family.cells, last_resort=last_resort)
            self._note_new()
            first = self._places[family.name].get(values)
        return first

    def _append_or_overflow(self, family: Family, values: tuple[str, ...]) -> int | None:
        first = self._append(family, values)
        return self._append(family, family.overflow) if first is None else first

    def _overflow(
        self,
        handle: Handle[_S],
        values: tuple[str, ...],
        make: Callable[[memoryview[float], int], _S],
    ) -> _S:
        family = handle.family
        if _is_bounded(family, values):
            # The list itself is full. Nothing may fail for that: count where nobody looks.
            series = handle._known[values] = make(_private_cells(family.cells), 0)
            return series
        self._dropped.labels(family.name).inc()
        return handle.labels(*family.overflow)

    def _wait(
        self,
        handle: Handle[_S],
        values: tuple[str, ...],
        make: Callable[[memoryview[float], int], _S],
    ) -> _S:
        cells = _private_cells(handle.family.cells)
        series = handle._known[values] = make(cells, 0)
        self._waiting.append(_Waiting(handle, values, series, cells))
        return series

    def _place_waiting(self) -> None:
        if not self.index.lock():
            return
        waiting, self._waiting = self._waiting, []
        try:
            places = [self._append_or_overflow(one.handle.family, one.values) for one in waiting]
        finally:
            self.index.unlock()
        for one, first in zip(waiting, places, strict=True):
            if first is None:
                continue  # the list is full: it goes on counting where nobody looks
            family = one.handle.family
            series = one.series
            for offset in range(family.cells):
                self._cells[first + offset] += one.cells[offset]
            series._cells = self._cells
            series._first = first
            if isinstance(series, HistogramSeries):
                series._sum = first + family.cells - 1
                if series.exemplars:
                    self.exemplified[first] = series

    def _note_new(self) -> None:
        self.index.catch_up()
        records = self.index.records
        while self._read < len(records):
            record = records[self._read]
            self._read += 1
            if self.describes(record):
                self._places[record.family][record.labels] = record.first
                self._open_total += not _is_bounded(self.families[record.family], record.labels)

    def describes(self, record: SeriesRecord) -> bool:
        """Whether *record* is a series of a family as it is declared here.

        Another version of the program, before or after an upgrade, may declare others, or the
        same with other buckets; both then write side by side, each to its own.
        """
        family = self.families.get(record.family)
        return (
            family is not None
            and record.cells == family.cells
            and len(record.labels) == len(family.labels)
        )


def _is_bounded(family: Family, values: tuple[str, ...]) -> bool:
    """Whether a series is one of a number that the declarations bound, and needs no cap."""
    return family.closed or values == family.overflow or family.name == SERIES_DROPPED.name


def _private_cells(count: int) -> memoryview[float]:
    return memoryview(bytearray(8 * count)).cast("d")


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
