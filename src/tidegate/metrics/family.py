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
        merge: How the slots of a gauge become one number.
        max_series: Cap of this family; None takes the registry's.
        computed: The page works it out at each render. A counter's cells hold the part that
            is over: what dead processes had used.
    """

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    help: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()
    values: Mapping[str, frozenset[str]] = field(
        default_factory=lambda: MappingProxyType({}), hash=False
    )
    merge: Literal["sum", "max"] = "sum"
    max_series: int | None = None
    computed: bool = False

    def __post_init__(self) -> None:
        for name in (self.name, *self.labels):
            if not _NAME.fullmatch(name):
                raise ValueError(f"{name!r} is not a name in snake case")
        if (self.kind == "counter") != self.name.endswith("_total"):
            raise ValueError(f"{self.name}: counters, and only they, end in _total")
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
        """Cells of one series: a value, or a histogram's buckets, its +Inf bucket and its sum."""
        return len(self.buckets) + 2 if self.kind == "histogram" else 1

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
