"""What an alert's condition reads: the few questions PromQL answers, asked of any store of samples.

The same declaration of an alert becomes PromQL for Prometheus and is evaluated in the control
process; this is the seam between the second of these and whatever keeps the samples there.

Vocabulary shared by all three questions:

`family`
    A family's name as on the metrics page. Of a histogram, its count (`…_count`), or one
    cumulative bucket (`…_bucket` with `match` `{"le": "1.0"}`; bounds are compared as numbers).
`match`
    Label name → the value it must have, or a frozen set of values of which it must have one.
`by`
    Names of the labels to keep; series that agree in these are summed. A key of the answer holds
    their values in this order; with `by=()` the only key is `()`.

An answer is empty when no such series has been sampled: "no data", which is not zero. A series
that was sampled and did not grow is `0.0`.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Protocol, TypeAlias

Match: TypeAlias = Mapping[str, str | frozenset[str]]
Values: TypeAlias = dict[tuple[str, ...], float]

ANY: Match = MappingProxyType({})


class Readings(Protocol):
    """Samples of this instance's metrics, up to `now_s` (Unix seconds)."""

    @property
    def now_s(self) -> float:
        """Unix time of the newest sample, seconds."""
        ...

    def increase(
        self, family: str, window_s: float, match: Match = ANY, by: tuple[str, ...] = ()
    ) -> Values:
        """How much a counter grew in the last `window_s` seconds, like `sum by (…)(increase(…))`.

        Not extrapolated. A window longer than the samples kept is clipped to them. A series that
        appeared inside the window grew from zero: an instance writes its counters itself.
        """
        ...

    def value(self, family: str, match: Match = ANY, by: tuple[str, ...] = ()) -> Values:
        """A gauge's latest value, summed over the labels not kept."""
        ...

    def maximum(
        self, family: str, window_s: float, match: Match = ANY, by: tuple[str, ...] = ()
    ) -> Values:
        """The largest value (of the sums) a gauge had in the last `window_s` seconds."""
        ...
