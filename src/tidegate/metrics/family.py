"""What a metric family is: a frozen declaration, checked when it is made."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal

OTHER = "other"
"""Label value that stands for everything outside a closed set or beyond a cap."""

DURATION_BUCKETS = (
    *(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0),
    *(10.0, 30.0, 60.0, 120.0, 300.0, 600.0),
)
"""Seconds of a request or an attempt: from a cache's answer to the SDKs' default timeout."""

_UNITS = {
    "_tokens_per_second": "tokens per second",
    "_timestamp_seconds": "seconds since 1970",
    "_time_seconds": "seconds since 1970",
    "_seconds": "seconds",
    "_bytes": "bytes",
    "_usd": "US dollars",
    "_ratio": "0 to 1",
    "_tokens": "tokens",
}
_NAME = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")
_INITIAL_AT_MOST = 32


@dataclass(frozen=True, slots=True)
class Family:
    """One metric family.

    Attributes:
        name: Whole name; a counter's ends in `_total`.
        kind: What the numbers are.
        help: One line for the page and the reference.
        labels: Label names, in the order in which values are given.
        buckets: Upper bounds of a histogram, ascending, without +Inf.
        values: Closed sets by label name. A label without one takes names from the
            configuration or the code; never text that a client chose.
        moves: When it changes, for the reference page.
        merge: How the slots of a gauge become one number; `latest` takes the one stored last,
            and only while it is recent (see `series.LatestSeries`).
        max_series: Cap of this family; None takes the registry's.
        computed: The page works it out at each render. A counter's cells hold the part that
            is over: what dead processes had used.
        former_name: Its name in the last minor version. The page shows it under both names
            until the next one, so that no dashboard goes blank in between.
    """

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    help: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()
    values: Mapping[str, frozenset[str]] = field(
        default_factory=lambda: MappingProxyType({}), hash=False
    )
    moves: str = ""
    merge: Literal["sum", "max", "latest"] = "sum"
    max_series: int | None = None
    computed: bool = False
    former_name: str | None = None

    def __post_init__(self) -> None:
        names = (self.name,) if self.former_name is None else (self.name, self.former_name)
        for name in (*names, *self.labels):
            if not _NAME.fullmatch(name):
                raise ValueError(f"{name!r} is not a name in snake case")
        for name in names:
            if (self.kind == "counter") != name.endswith("_total"):
                raise ValueError(f"{name}: counters, and only they, end in _total")
        if len(set(names)) != len(names):
            raise ValueError(f"{self.name}: its former name is another one")
        if self.merge == "latest" and (self.kind != "gauge" or not self.computed):
            raise ValueError(f"{self.name}: only computed gauges show the latest value")
        if not self.help or any(mark in self.help for mark in '\n\\"'):
            raise ValueError(f"{self.name}: help is one line without backslash or quote")
        if len(set(self.labels)) != len(self.labels) or "le" in self.labels:
            raise ValueError(f"{self.name}: label names are unique, and `le` is a bucket's")
        if not set(self.values) <= set(self.labels):
            raise ValueError(f"{self.name}: values of a label that is not there")
        if (self.kind == "histogram") != bool(self.buckets):
            raise ValueError(f"{self.name}: histograms, and only they, have buckets")
        if any(not math.isfinite(bound) for bound in self.buckets):
            raise ValueError(f"{self.name}: bucket bounds are finite; +Inf is implied")
        if list(self.buckets) != sorted(set(self.buckets)):
            raise ValueError(f"{self.name}: bucket bounds ascend")

    @property
    def cells(self) -> int:
        """Cells of one series.

        A value; for `latest`, a value and its time; for a histogram its buckets, the +Inf
        bucket and the sum.
        """
        if self.kind == "histogram":
            return len(self.buckets) + 2
        return 2 if self.merge == "latest" else 1

    @property
    def unit(self) -> str:
        """What one is, by the name: `seconds`, `tokens`; the last word of a plain count."""
        stem = self.name.removesuffix("_total")
        for ending, unit in _UNITS.items():
            if stem.endswith(ending):
                return unit
        return "1" if self.kind == "gauge" else "count"

    @property
    def closed(self) -> bool:
        """Whether every label has a closed set, so that the family cannot grow."""
        return all(label in self.values for label in self.labels)

    @property
    def initial(self) -> list[tuple[str, ...]]:
        """Label values of the series that are there, at zero, before anything has happened.

        A ratio over a series that does not exist yet has no value, so all of a small closed
        family are; a histogram's seventeen lines for each would be too many.
        """
        if not self.closed or (self.labels and self.kind == "histogram"):
            return []
        sets = [sorted(self.values[label]) for label in self.labels]
        if math.prod(map(len, sets)) > _INITIAL_AT_MOST:
            return []
        return list(itertools.product(*sets))

    @property
    def overflow(self) -> tuple[str, ...]:
        """Label values of the series that takes what does not fit."""
        return (OTHER,) * len(self.labels)
