"""The figures of the last 15 minutes and 24 hours, ready to be shown.

They are worked out once, at each reading; after a restart of the control process from the
ring's frames, some at a time. Of a grouping with more than fifty label values the busiest
fifty have lines of their own, the others make one line, `other`.
"""

from __future__ import annotations

import asyncio
import math
import time
from array import array
from collections.abc import Iterator
from typing import Final

from tidegate.control.live.measures import (
    BUSY_BY,
    UNITS,
    By,
    Layout,
    LineKey,
)
from tidegate.control.live.ring import FINE, TIERS, Frame, Ring, RingSeries, Tier
from tidegate.metrics.family import OTHER

MOST_LABELS: Final = 50
_STEP_S: Final = 0.005
"""How long working out old figures may hold up the loop at a time."""
_GAP_STEPS: Final = 3
"""A reading that comes this many steps late still tells what happened in between."""
_NAN: Final = math.nan


class History:
    """Figures by line and time.

    Attributes:
        latest: Figures of the newest reading.
        latest_s: Its Unix time; 0 before the first.
    """

    def __init__(self, ring: Ring) -> None:
        self._ring = ring
        self._lines: dict[LineKey, dict[str, array[float]]] = {}
        self._active_s: dict[LineKey, int] = {}
        self._newest: dict[str, Frame | None] = {tier.name: None for tier in TIERS}
        self._placed = 0
        self._kept: dict[By, frozenset[str]] = {}
        self._layout = Layout((), {})
        self.latest: dict[LineKey, float] = {}
        self.latest_s = 0

    async def load(self) -> None:
        """Work out the figures of everything that the ring holds."""
        self._choose_labels()
        until = time.perf_counter() + _STEP_S
        for tier in TIERS:
            for time_s, _ in self._ring.times(tier):
                frame = self._ring.frame(tier, time_s)
                if frame is not None:
                    self._enter(tier, frame)
                if time.perf_counter() >= until:
                    await asyncio.sleep(0)
                    until = time.perf_counter() + _STEP_S

    def enter(self, tier: Tier, frame: Frame) -> None:
        """Take a new reading."""
        if len(self._ring.series) != self._placed:
            self._choose_labels()
        figures = self._enter(tier, frame)
        if tier is FINE:
            self.latest, self.latest_s = figures, frame.time_s

    def values(self, tier: Tier, by: By) -> Iterator[tuple[LineKey, str, list[float | None]]]:
        """Return of each line its unit and `tier.frames` values, oldest first.

        The newest value is that of the tier's newest reading. A line other than those of the
        total and of the workers is left out while all it has is zero.
        """
        newest = self._newest[tier.name]
        if newest is None:
            return
        place = newest.time_s // tier.step_s % tier.frames
        for key, tiers in self._lines.items():
            if key.by != by:
                continue
            values = tiers[tier.name]
            if by not in ("total", "worker") and not any(map(_is_something, values)):
                continue
            ordered = values[place + 1 :] + values[: place + 1]
            shown = [None if value != value else value for value in ordered]
            yield key, UNITS[by, key.name], shown

    def newest_s(self, tier: Tier) -> int:
        """Return the time of the tier's newest reading; 0 without one."""
        newest = self._newest[tier.name]
        return 0 if newest is None else newest.time_s

    def active(self) -> Iterator[tuple[LineKey, float | None]]:
        """Return the newest figure of each line that a chart of 15 minutes has."""
        since_s = self.latest_s - FINE.frames
        for key in self._lines:
            if key.by in ("total", "worker") or self._active_s.get(key, 0) > since_s:
                yield key, self.latest.get(key)

    # ------------------------------------------------------------------

    def _enter(self, tier: Tier, frame: Frame) -> dict[LineKey, float]:
        before = self._newest[tier.name]
        if before is not None and frame.time_s <= before.time_s:
            return {}
        steps = 0 if before is None else (frame.time_s - before.time_s) // tier.step_s
        comparable = before if 0 < steps <= _GAP_STEPS else _born(frame, tier)
        span_s = float(max(steps, 1) * tier.step_s) if comparable is before else tier.step_s
        figures = {
            key: float(f"{value:.6g}")
            for key, value in self._layout.figures(comparable, frame, span_s).items()
        }
        self._clear(tier, steps)
        place = frame.time_s // tier.step_s
        places = range(place - steps + 1, place + 1) if 1 < steps <= _GAP_STEPS else (place,)
        for key, value in figures.items():
            line = self._lines.get(key)
            if line is None:
                line = self._lines[key] = {
                    one.name: array("d", [_NAN]) * one.frames for one in TIERS
                }
            values = line[tier.name]
            for position in places:
                values[position % tier.frames] = value
            if value:
                self._active_s[key] = frame.time_s
        self._newest[tier.name] = frame
        return figures

    def _clear(self, tier: Tier, steps: int) -> None:
        """Forget what stood where the next reading, and what was missed before it, goes."""
        newest = self._newest[tier.name]
        if newest is None:
            return
        first = newest.time_s // tier.step_s + 1
        for position in range(first, first + min(steps, tier.frames)):
            for line in self._lines.values():
                line[tier.name][position % tier.frames] = _NAN

    def _choose_labels(self) -> None:
        """Decide which label values have lines of their own, and lay the lines out anew."""
        self._placed = len(self._ring.series)
        kept = {by: self._busiest(by, family) for by, family in BUSY_BY.items()}
        crowded = {by: labels for by, labels in kept.items() if labels is not None}
        self._layout = Layout(self._ring.series, crowded)
        self._kept = crowded

    def choose_again(self) -> bool:
        """Return whether other label values are the busiest now; `load` anew then."""
        before = self._kept
        self._choose_labels()
        return self._kept != before

    def _busiest(self, by: By, family: str) -> frozenset[str] | None:
        """Return the label values to keep; None when there are few enough to keep all."""
        series = [one for one in self._ring.series if one.family == family and by in one.names]
        labels = {one.values[one.names.index(by)] for one in series}
        if len(labels) <= MOST_LABELS:
            return None
        grown = self._growth(series)
        totals = dict.fromkeys(sorted(labels), 0.0)
        for one in series:
            totals[one.values[one.names.index(by)]] += grown(one)
        totals.pop(OTHER, None)
        ranked = sorted(totals, key=lambda label: -totals[label])
        # Whoever has a line keeps it while about as busy, so that lines do not come and go.
        had = self._kept.get(by, frozenset())
        steady = [label for label in ranked[: MOST_LABELS + 10] if label in had]
        rest = [label for label in ranked if label not in steady]
        return frozenset((steady + rest)[: MOST_LABELS - 1])

    def _growth(self, series: list[RingSeries]) -> _Growth:
        times = self._ring.times(FINE)
        ends = (
            (self._ring.frame(FINE, times[0][0]), self._ring.frame(FINE, times[-1][0]))
            if (times)
            else (None, None)
        )
        return _Growth(*ends)

    def forget(self) -> None:
        """Drop all lines; before a `load` with other label values."""
        self._lines.clear()
        self._active_s.clear()
        self._newest = {tier.name: None for tier in TIERS}


class _Growth:
    """By how much a series grew between two frames."""

    def __init__(self, first: Frame | None, last: Frame | None) -> None:
        self._first = first
        self._last = last

    def __call__(self, one: RingSeries) -> float:
        if self._last is None or one.first >= len(self._last.cells):
            return 0.0
        value = self._last.cells[one.first]
        first = self._first
        if first is not None and first.boot == self._last.boot and one.first < len(first.cells):
            return value - first.cells[one.first]
        return value


def _born(frame: Frame, tier: Tier) -> Frame | None:
    """Return an empty reading to compare with when the instance has just begun."""
    age_s = frame.time_s - frame.boot / 1e9
    if age_s > _GAP_STEPS * tier.step_s:
        return None
    return Frame(frame.time_s - tier.step_s, frame.boot, array("d"))


def _is_something(value: float) -> bool:
    return value == value and value != 0.0
