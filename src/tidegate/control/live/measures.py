"""What the live view shows, as figures of two readings that follow each other.

One declaration a line on a chart: its name and unit in the API, the metric family it is
worked out from, and how. The same declarations serve the newest second, the history that is
worked out anew after a restart, and both resolutions.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from operator import sub
from typing import Final, Literal, NamedTuple, get_args

from tidegate.control.live.key_tally import KEY_FAMILIES
from tidegate.control.live.ring import Frame, RingSeries
from tidegate.control.live.sampler import LOOP_LAG
from tidegate.metrics.family import OTHER

By = Literal["total", "provider", "model", "key", "limit", "worker"]
GROUPINGS: Final[tuple[By, ...]] = get_args(By)

Accepts = Callable[[str], bool]


class Place(NamedTuple):
    """One family's series that a measure takes: those whose `label`, if any, `accepts`."""

    family: str
    label: str = ""
    accepts: Accepts | None = None


@dataclass(frozen=True)
class Measure:
    """One line of a chart for each label value of its grouping.

    Attributes:
        name: Its name in the API.
        unit: `per_s`, `ratio`, `s`, `bytes`, `count`, `cores` or `usd_per_h`.
        how: `rate` of a counter; `gauge` sums and `highest` compares gauges; `quantile` of a
            histogram's observations between the readings; `share` of the first place's growth
            that was not the second's.
        places: Where the numbers are.
        factor: What a rate is multiplied by; the quantile.
    """

    name: str
    unit: str
    how: Literal["rate", "gauge", "highest", "quantile", "share"]
    places: tuple[Place, ...]
    factor: float = 1.0


def _is(*values: str) -> Accepts:
    wanted = frozenset(values)
    return lambda value: value in wanted


def _is_server_error(status: str) -> bool:
    return status[:1] == "5"


def _is_failed_attempt(outcome: str) -> bool:
    return outcome not in ("ok", "cancelled")


def _rate(name: str, *places: Place, unit: str = "per_s", factor: float = 1.0) -> Measure:
    return Measure(name, unit, "rate", places, factor)


def _quantile(name: str, family: str, share: float) -> Measure:
    return Measure(name, "s", "quantile", (Place(family),), share)


_REQUESTS: Final = Place("tidegate_requests_total")
_ERRORS: Final = Place("tidegate_requests_total", "status", _is_server_error)
_ATTEMPTS: Final = Place("tidegate_upstream_requests_total")
_FAILED_ATTEMPTS: Final = Place("tidegate_upstream_requests_total", "outcome", _is_failed_attempt)
_INPUT: Final = Place("tidegate_tokens_total", "type", _is("input"))
_OUTPUT: Final = Place("tidegate_tokens_total", "type", _is("output"))
_COST: Final = _rate("cost_usd", Place("tidegate_cost_usd_total"), unit="usd_per_h", factor=3600.0)
_UPSTREAM: Final = (
    _rate("requests", _ATTEMPTS),
    _rate("errors", _FAILED_ATTEMPTS),
    _quantile("latency_p50_s", "tidegate_upstream_duration_seconds", 0.5),
    _quantile("latency_p95_s", "tidegate_upstream_duration_seconds", 0.95),
    _quantile("ttft_p95_s", "tidegate_time_to_first_token_seconds", 0.95),
    _rate("tokens_output", _OUTPUT),
    _COST,
)


def _decision(name: str) -> Measure:
    return _rate(name, Place("tidegate_rate_limit_decisions_total", "decision", _is(name)))


def _gauge(name: str, unit: str, family: str) -> Measure:
    return Measure(name, unit, "gauge", (Place(family),))


MEASURES: Final[dict[By, tuple[Measure, ...]]] = {
    "total": (
        _rate("requests", _REQUESTS),
        _rate("allowed", Place("rate_limit_allowed_total")),
        _rate("blocked", Place("rate_limit_blocked_total")),
        _rate("errors", _ERRORS),
        Measure("success_ratio", "ratio", "share", (_REQUESTS, _ERRORS)),
        _gauge("in_flight", "count", "tidegate_requests_in_flight"),
        _quantile("latency_p50_s", "tidegate_request_duration_seconds", 0.5),
        _quantile("latency_p95_s", "tidegate_request_duration_seconds", 0.95),
        _quantile("ttft_p50_s", "tidegate_time_to_first_token_seconds", 0.5),
        _quantile("ttft_p95_s", "tidegate_time_to_first_token_seconds", 0.95),
        _quantile("overhead_p50_s", "tidegate_overhead_seconds", 0.5),
        _quantile("overhead_p95_s", "tidegate_overhead_seconds", 0.95),
        _rate("tokens_input", _INPUT),
        _rate("tokens_output", _OUTPUT),
        _COST,
        _rate("upstream_errors", _FAILED_ATTEMPTS),
        _rate("retries", Place("tidegate_upstream_retries_total")),
        _rate("fallbacks", Place("tidegate_fallbacks_total")),
        _rate("disconnects", Place("tidegate_client_disconnects_total")),
        _rate("auth_failures", Place("tidegate_auth_failures_total")),
        _rate("cpu_cores", Place("process_cpu_seconds_total"), unit="cores"),
        _gauge("memory_bytes", "bytes", "process_resident_memory_bytes"),
        _gauge("open_fds", "count", "process_open_fds"),
        _gauge("threads", "count", "python_threads"),
        Measure("loop_lag_s", "s", "highest", (Place(LOOP_LAG),)),
        Measure("ledger_lag_s", "s", "highest", (Place("tidegate_ledger_fold_lag_seconds"),)),
        _gauge("upstream_connections", "count", "tidegate_upstream_connections"),
    ),
    "provider": _UPSTREAM,
    "model": _UPSTREAM,
    "key": (
        _rate("requests", Place(KEY_FAMILIES[0])),
        _rate("tokens_input", Place(KEY_FAMILIES[1])),
        _rate("tokens_output", Place(KEY_FAMILIES[2])),
        _rate("cost_usd", Place(KEY_FAMILIES[3]), unit="usd_per_h", factor=3600.0),
    ),
    "limit": tuple(_decision(name) for name in ("allowed", "blocked", "near", "shadow")),
    "worker": (
        _rate("cpu_ratio", Place("tidegate_worker_cpu_seconds_total"), unit="ratio"),
        _gauge("memory_bytes", "bytes", "tidegate_worker_resident_memory_bytes"),
        _gauge("loop_lag_s", "s", LOOP_LAG),
        _gauge("connections", "count", "tidegate_worker_connections"),
    ),
}
UNITS: Final = {(by, m.name): m.unit for by, all_of in MEASURES.items() for m in all_of}

BUSY_BY: Final[dict[By, str]] = {
    "provider": "tidegate_upstream_requests_total",
    "model": "tidegate_upstream_requests_total",
    "key": KEY_FAMILIES[0],
    "limit": "tidegate_rate_limit_decisions_total",
}
"""Grouping → the counter by which its busiest label values are found."""


class LineKey(NamedTuple):
    """Which line: its grouping, its measure's name, its label value (empty for the total)."""

    by: By
    name: str
    label: str


class _Line:
    """A measure for one label value, with the columns that it adds up."""

    __slots__ = ("columns", "key", "measure")

    def __init__(self, key: LineKey, measure: Measure) -> None:
        self.key = key
        self.measure = measure
        self.columns: tuple[list[RingSeries], ...] = tuple([] for _ in measure.places)


class Layout:
    """Which columns make which line. Made anew when series appear.

    Args:
        series: All that have columns.
        kept: Grouping → label values with lines of their own; the others make one, `other`.
            A grouping that is not in it keeps all.
    """

    def __init__(self, series: Iterable[RingSeries], kept: dict[By, frozenset[str]]) -> None:
        by_family: dict[str, list[RingSeries]] = {}
        for one in series:
            by_family.setdefault(one.family, []).append(one)
        lines: dict[LineKey, _Line] = {}
        for by, measures in MEASURES.items():
            for measure in measures:
                if by == "total":
                    key = LineKey(by, measure.name, "")
                    lines[key] = _Line(key, measure)
                for position, place in enumerate(measure.places):
                    for one in by_family.get(place.family, ()):
                        if not _takes(place, one):
                            continue
                        label = _label(by, one, kept)
                        if label is not None:
                            key = LineKey(by, measure.name, label)
                            line = lines.get(key)
                            if line is None:
                                line = lines[key] = _Line(key, measure)
                            line.columns[position].append(one)
        self._lines = list(lines.values())

    def figures(self, before: Frame | None, now: Frame, step_s: float) -> dict[LineKey, float]:
        """Return the figure of each line that has one.

        Args:
            before: The reading before; None when there is none to compare with.
            now: The reading.
            step_s: Seconds between the two.
        """
        cells = now.cells
        grown: Sequence[float] | None = None
        if before is not None:
            grown = cells
            if before.boot == now.boot:
                older = before.cells
                if len(older) < len(cells):  # series that appeared since grew from nothing
                    older = older + array("d", bytes(8 * (len(cells) - len(older))))
                grown = array("d", map(sub, cells, older))
        found: dict[LineKey, float] = {}
        for line in self._lines:
            how = line.measure.how
            value = None
            if how in ("gauge", "highest"):
                present = [cells[s.first] for s in line.columns[0] if s.first < len(cells)]
                if present:
                    value = sum(present) if how == "gauge" else max(present)
            elif grown is not None:
                value = _of_growth(line, grown, step_s)
            if value is not None:
                found[line.key] = value
        return found


def _of_growth(line: _Line, grown: Sequence[float], step_s: float) -> float | None:
    measure = line.measure
    if measure.how == "quantile":
        return _quantile_of(line.columns[0], grown, measure.factor)
    sums = [
        sum([grown[one.first] for one in part if one.first < len(grown)]) for part in line.columns
    ]
    if measure.how == "share":
        return (sums[0] - sums[1]) / sums[0] if sums[0] > 0.0 else None
    return max(0.0, sum(sums)) * measure.factor / step_s


def _quantile_of(
    series: Sequence[RingSeries], grown: Sequence[float], share: float
) -> float | None:
    """Interpolate inside the bucket, as PromQL's `histogram_quantile` does."""
    counts: list[float] = []
    for one in series:
        end = one.first + len(one.bounds) + 1
        if end > len(grown):
            continue
        part = grown[one.first : end]
        counts = list(part) if not counts else [a + b for a, b in zip(counts, part, strict=True)]
    total = sum(counts)
    if total <= 0.0:
        return None
    bounds = series[0].bounds
    rank, below, lower = share * total, 0.0, 0.0
    for bound, count in zip(bounds, counts, strict=False):
        if below + count >= rank and count > 0.0:
            return lower + (bound - lower) * (rank - below) / count
        below += count
        lower = bound
    return bounds[-1]  # above the last bound nothing more is known


def _takes(place: Place, one: RingSeries) -> bool:
    if place.accepts is None:
        return True
    return place.label in one.names and place.accepts(one.values[one.names.index(place.label)])


def _label(by: By, one: RingSeries, kept: dict[By, frozenset[str]]) -> str | None:
    """Return the label value under which *one* counts; None for not at all."""
    if by == "total":
        return ""
    if by not in one.names:
        return None
    value = one.values[one.names.index(by)]
    return value if by not in kept or value in kept[by] else OTHER
