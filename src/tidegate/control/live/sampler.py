"""Reads every series of the instance once a second into the columns of the ring.

The cells of all slots are summed in blocks; a block whose raw bytes are those of the last
reading keeps its sums, so idle series cost next to nothing (2,000 series of which a tenth
moved: 0.4 ms). What no process writes (memory, CPU, workers' states) comes from
`metrics.runtime`, what only the ledger knows (usage by key) from a `KeyTally`.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Mapping
from itertools import islice
from operator import add
from typing import Final

from tidegate.control.live.key_tally import KEY_FAMILIES, KeyTally
from tidegate.control.live.ring import Kind, Ring, RingSeries
from tidegate.memory import InstanceWord, SlotWord
from tidegate.metrics.families.event_loop import EVENT_LOOP_LAG
from tidegate.metrics.family import OTHER, Family
from tidegate.metrics.registry import Registry
from tidegate.metrics.runtime import RuntimeFigures, Samples

LOOP_LAG: Final = "live_loop_lag_seconds"
"""Mean lateness of a worker's timers since the last reading, by `worker` (its slot)."""
_LOOP_LAG_LABELS: Final = ("worker",)

SKIPPED: Final = frozenset(
    {
        "process_start_time_seconds",
        "python_gc_collections_total",
        "python_gc_objects_collected_total",
        "python_gc_objects_uncollectable_total",
        "python_info",
        "tidegate_build_info",
        "tidegate_inter_token_seconds",
        "tidegate_ledger_write_seconds",
        "tidegate_metrics_series",
        "tidegate_output_tokens_per_second",
    }
)
"""Families that no page and no alert looks at; the metrics page has them."""

_BLOCK_CELLS: Final = 512


class Sampler:
    """Fills frames for the ring.

    Args:
        registry: Control's.
        ring: Gives series their columns.
        keys: Usage by key so far.

    Attributes:
        dropped: Series whose cells went into `other`, as there was no column for them.
    """

    def __init__(self, registry: Registry, ring: Ring, keys: KeyTally) -> None:
        self._registry = registry
        self._segment = registry.segment
        self._ring = ring
        self._keys = keys
        self._figures = RuntimeFigures(registry)
        self._totals = _CellTotals(registry)
        self._sums: list[tuple[int, int]] = []
        self._highest: list[tuple[int, int]] = []
        self._seen: dict[str, int] = {}
        self._named: dict[tuple[str, tuple[str, ...]], RingSeries | None] = {}
        self._lag_before: dict[int, tuple[float, float]] = {}
        self.dropped = 0

    @property
    def boot(self) -> int:
        """The life of the instance that is being read: its start in Unix ns."""
        return self._segment.words[InstanceWord.STARTED_AT_NS]

    async def read(self) -> array[float]:
        """Return a number for each column as of now."""
        computed = await self._figures.read()
        registry = self._registry
        registry.catch_up()
        self._place_new()
        totals = self._totals.read()
        # After all columns of this reading were placed.
        named = self._named_values(computed)
        cells = array("d", bytes(8 * self._ring.columns))
        for column, cell in self._sums:
            cells[column] += totals[cell]
        views = [self._segment.cells(slot) for slot in range(self._segment.slots)]
        for column, cell in self._highest:
            cells[column] = max(cells[column], *[view[cell] for view in views])
        for column, value in named:
            cells[column] += value
        return cells

    # ------------------------------------------------------------------ series of the cells

    def _place_new(self) -> None:
        """Give series that appeared since the last reading their columns."""
        for name, family in self._registry.families.items():
            if family.computed or name in SKIPPED:
                continue
            places = self._registry.places_of(family)
            seen = self._seen.get(name, 0)
            if len(places) == seen:
                continue
            for labels, first in islice(places.items(), seen, None):
                self._place(family, labels, first)
            self._seen[name] = len(places)

    def _place(self, family: Family, labels: tuple[str, ...], first: int) -> None:
        series = self._column_of(family.name, family.kind, family.labels, labels, family.buckets)
        if series is None:
            return
        if family.kind == "gauge" and family.merge == "max":
            self._highest.append((series.first, first))
            return
        for offset in range(series.columns):
            self._sums.append((series.first + offset, first + offset))

    def _column_of(
        self,
        family: str,
        kind: Kind,
        names: tuple[str, ...],
        values: tuple[str, ...],
        bounds: tuple[float, ...] = (),
    ) -> RingSeries | None:
        """Return the series' columns, those of `other` when there are no more, or None."""
        series = self._ring.place(family, kind, names, values, bounds)
        if series is None:
            self.dropped += 1
            others = (OTHER,) * len(names)
            series = self._ring.place(family, kind, names, others, bounds, reserved=True)
        return series

    # ------------------------------------------------------------------ other numbers

    def _named_values(self, computed: Mapping[str, Samples]) -> list[tuple[int, float]]:
        found: list[tuple[int, float]] = []
        families = self._registry.families
        for name, samples in computed.items():
            if name not in SKIPPED:
                family = families[name]
                for labels, value in samples:
                    self._add(found, name, family.kind, family.labels, labels, value)
        for slot, lag_s in self._loop_lags():
            self._add(found, LOOP_LAG, "gauge", _LOOP_LAG_LABELS, (str(slot),), lag_s)
        for key_id, usage in self._keys.read():
            for family_name, amount in zip(KEY_FAMILIES, usage, strict=True):
                self._add(found, family_name, "counter", ("key",), (key_id,), amount)
        return found

    def _add(
        self,
        found: list[tuple[int, float]],
        family: str,
        kind: Kind,
        names: tuple[str, ...],
        values: tuple[str, ...],
        value: float,
    ) -> None:
        identity = (family, values)
        if identity in self._named:
            series = self._named[identity]
        else:
            series = self._named[identity] = self._column_of(family, kind, names, values)
        if series is not None:
            found.append((series.first, value))

    def _loop_lags(self) -> Iterable[tuple[int, float]]:
        """Return of each live worker by how much its timers were late since the last reading."""
        first = self._registry.places_of(EVENT_LOOP_LAG).get(())
        if first is None:
            return
        buckets = len(EVENT_LOOP_LAG.buckets) + 1
        for slot in self._segment.worker_slots:
            if not self._segment.get(slot, SlotWord.PID):
                self._lag_before.pop(slot, None)
                continue
            view = self._segment.cells(slot)
            count, total_s = sum(view[first : first + buckets]), view[first + buckets]
            count_before, total_before_s = self._lag_before.get(slot, (count, total_s))
            self._lag_before[slot] = (count, total_s)
            beats = count - count_before
            yield slot, (total_s - total_before_s) / beats if beats > 0 else 0.0


class _CellTotals:
    """The sums of all slots' cells, brought up to date block by block."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._segment = registry.segment
        self._views = [self._segment.cells(slot) for slot in range(self._segment.slots)]
        self._totals = array("d")
        self._raw: list[list[bytes]] = []

    def read(self) -> array[float]:
        """Return the sum of each cell that a series has."""
        records = self._registry.index.records
        used = records[-1].first + records[-1].cells if records else 0
        blocks = -(-used // _BLOCK_CELLS)
        while len(self._raw) < blocks:
            self._raw.append([])
            self._totals.extend([0.0] * _BLOCK_CELLS)
        zeros = bytes(8 * _BLOCK_CELLS)
        for block in range(blocks):
            start = block * _BLOCK_CELLS
            end = start + _BLOCK_CELLS
            raw = [data for view in self._views if (data := view[start:end].tobytes()) != zeros]
            if raw != self._raw[block]:
                self._raw[block] = raw
                self._totals[start:end] = _sum(raw)
        return self._totals


def _sum(raw: list[bytes]) -> array[float]:
    total = array("d", bytes(8 * _BLOCK_CELLS))
    for data in raw:
        total = array("d", map(add, total, memoryview(data).cast("d")))
    return total
