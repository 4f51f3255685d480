"""PromQL over declared families: a name, label or label value that does not exist is an error."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from tidegate.metrics.family import Family

RATE = "$__rate_interval"
RANGE = "$__range"
NO_TRAFFIC = "none"
"""Label value of the line at zero that stands for series nobody has made yet."""

#: Grafana's unit for a family's own.
_UNITS = {
    "seconds": "s",
    "seconds since 1970": "dateTimeAsIso",
    "bytes": "bytes",
    "US dollars": "currencyUSD",
    "0 to 1": "percentunit",
    "tokens": "short",
    "tokens per second": "suffix: tokens/s",
    "count": "short",
    "1": "short",
}
#: Grafana's unit for what a family's own becomes each second.
_UNITS_PER_SECOND = {
    "seconds": "suffix: cores",
    "bytes": "Bps",
    "US dollars": "currencyUSD",
    "tokens": "suffix: tokens/s",
    "count": "suffix:/s",
}
_MATCHER = re.compile(r'(=~|!~|!=|=)"([^"\\]*)"')


@dataclass(frozen=True, slots=True)
class Expression:
    """A PromQL expression and what it is made of.

    Attributes:
        text: The expression; Grafana's variables are still in it.
        families: What it reads.
        unit: Grafana's unit of its values.
        by: Labels of its series.
        always_there: Whether it has a value before anything has happened.
    """

    text: str
    families: tuple[Family, ...]
    unit: str
    by: tuple[str, ...] = ()
    always_there: bool = False

    def or_zero(self) -> Expression:
        """Return the same, or 0 where no series exists yet. For what an idle gateway has 0 of."""
        if self.always_there:
            return self
        zero = "vector(0)"
        if self.by:
            zero = f'label_replace(vector(0), "{self.by[0]}", "{NO_TRAFFIC}", "", "")'
        return replace(self, text=f"{self.text} or on () {zero}", always_there=True)

    def times(self, factor: int, unit: str | None = None) -> Expression:
        """Return it multiplied, such as from a second to an hour."""
        return replace(self, text=f"{self.text} * {factor}", unit=unit or self.unit)

    def plus(self, other: Expression) -> Expression:
        """Return the sum of both."""
        return replace(
            self,
            text=f"({self.text} + {other.text})",
            families=_union(self, other),
            always_there=self.always_there and other.always_there,
        )

    def top(self, count: int) -> Expression:
        """Return the largest series alone."""
        return replace(self, text=f"topk({count}, {self.text})")


@dataclass(frozen=True, slots=True)
class Scope:
    """What a dashboard looks at.

    Attributes:
        filters: Labels that the dashboard's reader chooses values of, beside job and instance.
    """

    filters: tuple[str, ...] = ()

    def selector(
        self, family: Family, where: Mapping[str, str] | None = None, suffix: str = ""
    ) -> str:
        """Return a vector selector.

        Args:
            family: What to select.
            where: Matchers by label, such as `{"outcome": '!="ok"'}`.
            suffix: `_bucket`, `_count` or `_sum` of a histogram.

        Raises:
            ValueError: The family has no such label, or the label never has such a value.
        """
        if bool(suffix) != (family.kind == "histogram"):
            raise ValueError(f"{family.name}: {family.kind} with suffix {suffix!r}")
        matchers = ['job=~"$job"', 'instance=~"$instance"']
        matchers += [f'{label}=~"${label}"' for label in self.filters if label in family.labels]
        for label, matcher in (where or {}).items():
            _check_matcher(family, label, matcher)
            matchers.append(label + matcher)
        return f"{family.name}{suffix}{{{', '.join(matchers)}}}"

    def rate(
        self,
        family: Family,
        by: Sequence[str] = (),
        where: Mapping[str, str] | None = None,
        suffix: Literal["", "_count", "_sum"] = "",
    ) -> Expression:
        """Return how much a counter rises a second."""
        _check(family, by, "counter", "histogram")
        inner = f"rate({self.selector(family, where, suffix)}[{RATE}])"
        unit = _UNITS_PER_SECOND["count" if suffix == "_count" else family.unit]
        return _over(family, _aggregated("sum", by, inner), unit, by)

    def increase(
        self, family: Family, by: Sequence[str] = (), where: Mapping[str, str] | None = None
    ) -> Expression:
        """Return how much a counter has risen in the time that the dashboard shows."""
        _check(family, by, "counter")
        inner = f"increase({self.selector(family, where)}[{RANGE}])"
        return _over(family, _aggregated("sum", by, inner), _UNITS[family.unit], by)

    def value(
        self,
        family: Family,
        by: Sequence[str] = (),
        where: Mapping[str, str] | None = None,
        how: Literal["sum", "max", "min", "count"] = "sum",
    ) -> Expression:
        """Return a gauge's values, over all instances or by labels."""
        _check(family, by, "gauge")
        text = _aggregated(how, by, self.selector(family, where))
        return _over(family, text, _UNITS[family.unit], by)

    def quantile(
        self,
        share: float,
        family: Family,
        by: Sequence[str] = (),
        where: Mapping[str, str] | None = None,
    ) -> Expression:
        """Return a histogram's quantile; no series while nothing is observed (NaN is dropped)."""
        _check(family, by, "histogram")
        inner = f"rate({self.selector(family, where, '_bucket')}[{RATE}])"
        buckets = _aggregated("sum", ("le", *by), inner)
        text = f"histogram_quantile({share}, {buckets}) >= 0"
        return Expression(text, (family,), _UNITS[family.unit], tuple(by))


def share(part: Expression, whole: Expression) -> Expression:
    """Return a ratio, 0 to 1; no series where the whole is 0, so that it is never NaN."""
    text = f"{part.text} / ({whole.text} > 0)"
    return Expression(text, _union(part, whole), "percentunit", part.by)


def complement(ratio: Expression) -> Expression:
    """Return 1 minus a ratio; 1 where it has no value: nothing asked, nothing failed."""
    return replace(ratio, text=f"1 - ({ratio.text} or on () vector(0))", always_there=True)


def _over(family: Family, text: str, unit: str, by: Sequence[str]) -> Expression:
    return Expression(text, (family,), unit, tuple(by), always_there=bool(family.initial))


def _union(left: Expression, right: Expression) -> tuple[Family, ...]:
    return tuple(dict.fromkeys((*left.families, *right.families)))


def _aggregated(how: str, by: Sequence[str], inner: str) -> str:
    return f"{how} by ({', '.join(by)}) ({inner})" if by else f"{how}({inner})"


def _check(family: Family, by: Sequence[str], *kinds: str) -> None:
    if family.kind not in kinds:
        raise ValueError(f"{family.name} is a {family.kind}, not a {' or '.join(kinds)}")
    unknown = set(by) - {*family.labels, "job", "instance"}
    if unknown:
        raise ValueError(f"{family.name} has no label {', '.join(sorted(unknown))}")


def _check_matcher(family: Family, label: str, matcher: str) -> None:
    parts = _MATCHER.fullmatch(matcher)
    if parts is None or label not in family.labels:
        raise ValueError(f"{family.name}: {label}{matcher} matches nothing")
    closed = family.values.get(label)
    if closed is None:
        return
    names = parts[2].split("|") if parts[1] in ("=~", "!~") else [parts[2]]
    for name in names:
        if not any(re.fullmatch(name, value) for value in closed):
            raise ValueError(f"{family.name}: {label} is never {name}")
