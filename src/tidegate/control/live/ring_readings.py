"""The questions of alert rules, answered from the ring's frames."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

from tidegate.control.live.ring import COARSE, FINE, Frame, Ring, RingSeries, Tier

Match = Mapping[str, str | frozenset[str]]
Values = dict[tuple[str, ...], float]
#: A number of a frame's cells.
Read = Callable[[Frame, RingSeries], float]

_ANY: Final[Match] = MappingProxyType({})
_KEPT_FRAMES: Final = 64


class RingReadings:
    """One evaluation's view of the ring (`control.alerts.readings.Readings`).

    Windows of up to 15 minutes are read from the ring of seconds, longer ones from that of
    minutes. A window longer than what was read is clipped to it. Make one for each evaluation.

    Args:
        ring: The readings.
        now_s: Unix time of the newest one.
    """

    def __init__(self, ring: Ring, now_s: float) -> None:
        self.now_s = now_s
        self._ring = ring
        self._by_family: dict[str, list[RingSeries]] = {}
        for one in ring.series:
            self._by_family.setdefault(one.family, []).append(one)
        self._frames: dict[tuple[str, int], Frame | None] = {}
        self._windows: dict[float, list[tuple[Frame | None, Frame]]] = {}
        times = ring.times(FINE, now_s - 5.0)
        self._latest = self._frame(FINE, times[-1][0]) if times else None

    def increase(
        self, family: str, window_s: float, match: Match = _ANY, by: tuple[str, ...] = ()
    ) -> Values:
        """See `Readings.increase`."""
        series, read = self._counted(family, match)
        lives = self._lives(window_s)
        found: Values = {}
        if not lives:
            return found
        for one in series:
            group = _group(one, by)
            if group is None:
                continue
            grown = 0.0
            for first, last in lives:
                grown += max(0.0, read(last, one) - (0.0 if first is None else read(first, one)))
            found[group] = found.get(group, 0.0) + grown
        return found

    def value(self, family: str, match: Match = _ANY, by: tuple[str, ...] = ()) -> Values:
        """See `Readings.value`."""
        return {} if self._latest is None else self._sums(self._latest, family, match, by)

    def maximum(
        self, family: str, window_s: float, match: Match = _ANY, by: tuple[str, ...] = ()
    ) -> Values:
        """See `Readings.maximum`."""
        tier = _tier(window_s)
        found: Values = {}
        since_s = self.now_s - window_s
        times = [time_s for time_s, _ in self._ring.times(tier, since_s)]
        frames = [self._ring.frame(tier, time_s) for time_s in times]
        for frame in (*frames, self._latest):
            if frame is not None:
                for group, value in self._sums(frame, family, match, by).items():
                    found[group] = max(found.get(group, value), value)
        return found

    # ------------------------------------------------------------------

    def _sums(self, frame: Frame, family: str, match: Match, by: tuple[str, ...]) -> Values:
        found: Values = {}
        for one in self._by_family.get(family, ()):
            group = _group(one, by)
            if group is None or one.first >= len(frame.cells) or not _matches(one, match):
                continue
            found[group] = found.get(group, 0.0) + frame.cells[one.first]
        return found

    def _counted(self, family: str, match: Match) -> tuple[list[RingSeries], Read]:
        """Return the series that *family* names, and what of them is counted."""
        known = self._by_family.get(family)
        if known is not None:
            return [one for one in known if _matches(one, match)], _first_cell
        base, _, suffix = family.rpartition("_")
        histograms = self._by_family.get(base, ())
        rest = {name: wanted for name, wanted in match.items() if name != "le"}
        chosen = [one for one in histograms if one.bounds and _matches(one, rest)]
        if suffix == "count":
            return chosen, _count
        if suffix == "sum":
            return chosen, _sum
        if suffix == "bucket" and isinstance(match.get("le"), str):
            bound = float(str(match["le"]).replace("+Inf", "inf"))
            return chosen, lambda frame, one: _cumulative(frame, one, bound)
        return [], _first_cell

    def _lives(self, window_s: float) -> list[tuple[Frame | None, Frame]]:
        """Return for each life of the instance in the window its first and last reading.

        The first is None for a life that began inside it: its counters began at zero.
        """
        lives = self._windows.get(window_s)
        if lives is None:
            lives = self._windows[window_s] = self._find_lives(window_s)
        return lives

    def _find_lives(self, window_s: float) -> list[tuple[Frame | None, Frame]]:
        tier = _tier(window_s)
        since_s = self.now_s - window_s
        marks = self._ring.times(tier)
        # The last reading at or before the window's start is what its growth is measured from.
        older = [mark for mark in marks if mark[0] <= since_s]
        marks = older[-1:] + [mark for mark in marks if mark[0] > since_s]
        if self._latest is not None and (not marks or marks[-1][0] < self._latest.time_s):
            ends: list[tuple[Tier, int, int]] = [(tier, *mark) for mark in marks]
            ends.append((FINE, self._latest.time_s, self._latest.boot))
        else:
            ends = [(tier, *mark) for mark in marks]
        found: list[tuple[Frame | None, Frame]] = []
        position = 0
        while position < len(ends):
            boot = ends[position][2]
            end = position
            while end + 1 < len(ends) and ends[end + 1][2] == boot:
                end += 1
            first, last = self._frame(*ends[position][:2]), self._frame(*ends[end][:2])
            if first is not None and last is not None:
                begun_inside = boot / 1e9 > since_s
                found.append((None if begun_inside else first, last))
            position = end + 1
        return found

    def _frame(self, tier: Tier, time_s: int) -> Frame | None:
        key = (tier.name, time_s)
        if key not in self._frames:
            if len(self._frames) >= _KEPT_FRAMES:
                self._frames.clear()
            self._frames[key] = self._ring.frame(tier, time_s)
        return self._frames[key]


def _tier(window_s: float) -> Tier:
    return FINE if window_s <= FINE.frames * FINE.step_s else COARSE


def _matches(one: RingSeries, match: Match) -> bool:
    for name, wanted in match.items():
        value = one.values[one.names.index(name)] if name in one.names else ""
        if value != wanted and (isinstance(wanted, str) or value not in wanted):
            return False
    return True


def _group(one: RingSeries, by: tuple[str, ...]) -> tuple[str, ...] | None:
    names = one.names
    return tuple(one.values[names.index(name)] if name in names else "" for name in by)


def _first_cell(frame: Frame, one: RingSeries) -> float:
    return frame.cells[one.first] if one.first < len(frame.cells) else 0.0


def _count(frame: Frame, one: RingSeries) -> float:
    return sum(frame.cells[one.first : one.first + len(one.bounds) + 1])


def _sum(frame: Frame, one: RingSeries) -> float:
    place = one.first + len(one.bounds) + 1
    return frame.cells[place] if place < len(frame.cells) else 0.0


def _cumulative(frame: Frame, one: RingSeries, bound: float) -> float:
    buckets = sum(1 for upper in one.bounds if upper <= bound * (1 + 1e-9))
    if bound == float("inf"):
        buckets += 1
    return sum(frame.cells[one.first : one.first + buckets])
