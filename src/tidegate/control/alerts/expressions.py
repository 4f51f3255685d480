"""What an alert looks at: a number for each set of labels, written once and read two ways.

`promql()` is the expression for Prometheus, `read()` the same of `Readings`. Every expression
keeps the labels in `by`, and in Prometheus those of its scope before them: alerts about causes
look at each instance, objectives at all instances of a job together.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Literal

from typing_extensions import override

from tidegate.control.alerts.readings import ANY, Match, Readings, Values
from tidegate.metrics.family import Family

Scope = Literal["instance", "job", "series"]
"""Whose numbers are added up: an instance's, a job's, or no one's (`series` as they are)."""

_KEPT: Mapping[Scope, tuple[str, ...]] = {"instance": ("job", "instance"), "job": ("job",)}
_LONG = 60


def number(value: float) -> str:
    """Return *value* as PromQL and people read it: `0.072`, `50`, `1000000`."""
    return f"{value:.0f}" if value == int(value) else f"{value:g}"


def duration(seconds: float) -> str:
    """Return *seconds* as PromQL writes them: `5m`, `1h`, `3d`."""
    for unit, length in (("d", 86_400), ("h", 3_600), ("m", 60)):
        if seconds >= length and seconds % length == 0:
            return f"{seconds // length:.0f}{unit}"
    return f"{seconds:.0f}s"


def indented(text: str) -> str:
    """Return *text* two columns to the right, as the inside of brackets."""
    return "\n".join("  " + line for line in text.split("\n"))


class Expression(ABC):
    """A number for each set of label values.

    Attributes:
        none_is_zero: Whether no series at all means that nothing has happened.
    """

    none_is_zero: ClassVar[bool] = False

    @property
    @abstractmethod
    def by(self) -> tuple[str, ...]:
        """Labels that are kept, beside the scope's."""

    @property
    @abstractmethod
    def scope(self) -> Scope:
        """Whose numbers are added up."""

    @abstractmethod
    def promql(self) -> str:
        """Return it for Prometheus; an operator in it stands at the beginning of a line."""

    @abstractmethod
    def read(self, readings: Readings) -> Values:
        """Return its numbers by the values of `by`; empty without data."""


@dataclass(frozen=True)
class _Selection(Expression):
    """Some series of a family.

    Attributes:
        family: Which.
        match: Values that labels must have; a histogram's bucket by `le`.
        part: Of a histogram, what is looked at.
    """

    family: Family
    match: Match = field(default_factory=lambda: ANY, hash=False, kw_only=True)
    by: tuple[str, ...] = field(default=(), kw_only=True)
    scope: Scope = field(default="instance", kw_only=True)
    part: Literal["", "_count", "_bucket"] = field(default="", kw_only=True)

    kind: ClassVar[str]

    def __post_init__(self) -> None:
        name = self.family.name
        if self.family.kind != ("histogram" if self.part else self.kind):
            raise ValueError(f"{name} is a {self.family.kind}")
        if unknown := {*self.match, *self.by} - {*self.family.labels, "le"}:
            raise ValueError(f"{name} has no label {sorted(unknown)}")
        for label, wanted in self.match.items():
            allowed = self.family.values.get(label)
            asked = {wanted} if isinstance(wanted, str) else set(wanted)
            if label == "le":
                allowed = frozenset(repr(float(bound)) for bound in self.family.buckets)
            if allowed is not None and not asked <= allowed:
                raise ValueError(f"{name}: {label} is never {sorted(asked - allowed)}")

    @property
    def name(self) -> str:
        """Name of the samples."""
        return self.family.name + self.part

    @property
    def selector(self) -> str:
        """The series, in PromQL."""
        pairs = [
            f'{label}="{wanted}"'
            if isinstance(wanted, str)
            else f'{label}=~"{"|".join(sorted(wanted))}"'
            for label, wanted in self.match.items()
        ]
        return self.name + ("{" + ", ".join(pairs) + "}" if pairs else "")

    def _gathered(self, inner: str, how: str = "sum") -> str:
        if self.scope == "series":
            return inner
        labels = ", ".join((*_KEPT[self.scope], *self.by))
        if "\n" in inner or len(inner) > _LONG:
            return f"{how} by ({labels}) (\n{indented(inner)}\n)"
        return f"{how} by ({labels}) ({inner})"


@dataclass(frozen=True)
class Increase(_Selection):
    """How much a counter grew in the last `window_s` seconds."""

    kind = "counter"
    window_s: float = field(kw_only=True)

    @override
    def promql(self) -> str:
        return self._gathered(f"increase({self.selector}[{duration(self.window_s)}])")

    @override
    def read(self, readings: Readings) -> Values:
        return readings.increase(self.name, self.window_s, self.match, self.by)


@dataclass(frozen=True)
class Events(Increase):
    """The same where one is enough to tell of and a series begins with its first event.

    Prometheus' `increase` never sees a series jump from not being there to 1. So a series that
    was not there at the window's start counts whole, if its instance was watched by then, or
    has begun since.
    """

    none_is_zero = True

    @override
    def promql(self) -> str:
        if self.family.initial:
            return super().promql()
        window = duration(self.window_s)
        return self._gathered(
            f"(\n"
            f"  ({self.selector} unless {self.selector} offset {window})\n"
            f"  and on (job, instance) (\n"
            f"    up offset {window} == 1 or time() - process_start_time_seconds"
            f" < {self.window_s:.0f}\n"
            f"  )\n"
            f")\n"
            f"or increase({self.selector}[{window}])"
        )


@dataclass(frozen=True)
class Rate(_Selection):
    """How fast a counter grew in the last `window_s` seconds, per second."""

    kind = "counter"
    window_s: float = field(kw_only=True)

    @override
    def promql(self) -> str:
        return self._gathered(f"rate({self.selector}[{duration(self.window_s)}])")

    @override
    def read(self, readings: Readings) -> Values:
        grown = readings.increase(self.name, self.window_s, self.match, self.by)
        return {key: value / self.window_s for key, value in grown.items()}


@dataclass(frozen=True)
class Latest(_Selection):
    """A gauge as it is now."""

    kind = "gauge"

    @override
    def promql(self) -> str:
        return self._gathered(self.selector)

    @override
    def read(self, readings: Readings) -> Values:
        return readings.value(self.name, self.match, self.by)


@dataclass(frozen=True)
class Highest(_Selection):
    """The highest that a gauge was in the last `window_s` seconds.

    It keeps every label: the highest sum and the sum of the highest are not the same.
    """

    kind = "gauge"
    window_s: float = field(kw_only=True)

    @override
    def __post_init__(self) -> None:
        super().__post_init__()
        if set(self.by) != set(self.family.labels):
            raise ValueError(f"{self.family.name}: the highest of a sum")

    @override
    def promql(self) -> str:
        inner = f"max_over_time({self.selector}[{duration(self.window_s)}])"
        return self._gathered(inner, "max")

    @override
    def read(self, readings: Readings) -> Values:
        return readings.maximum(self.name, self.window_s, self.match, self.by)


@dataclass(frozen=True)
class Ratio(Expression):
    """A part of a whole, where the whole is over `floor`: a ratio of nothing is no number.

    A part without any series has no ratio: nothing of that kind has happened yet.
    """

    part: Expression
    whole: Expression
    floor: float = 0.0

    def __post_init__(self) -> None:
        if (self.part.by, self.part.scope) != (self.whole.by, self.whole.scope):
            raise ValueError("a part and its whole have the same labels")

    @property
    @override
    def by(self) -> tuple[str, ...]:
        """Labels of both."""
        return self.part.by

    @property
    @override
    def scope(self) -> Scope:
        """Scope of both."""
        return self.part.scope

    @override
    def promql(self) -> str:
        return f"{self.part.promql()}\n/ ({self.whole.promql()} > {number(self.floor)})"

    @override
    def read(self, readings: Readings) -> Values:
        part, whole = self.part.read(readings), self.whole.read(readings)
        return {
            key: part[key] / value
            for key, value in whole.items()
            if value > self.floor and key in part
        }


@dataclass(frozen=True)
class ShareAbove(Expression):
    """Share of a histogram's observations in `window_s` that were above one of its bounds."""

    family: Family
    bound: float
    window_s: float
    floor: float = 0.0
    by: tuple[str, ...] = ()
    scope: Scope = "instance"

    @property
    def within(self) -> Increase:
        """Observations up to the bound."""
        return Increase(
            self.family,
            window_s=self.window_s,
            match={"le": repr(float(self.bound))},
            by=self.by,
            scope=self.scope,
            part="_bucket",
        )

    @property
    def everything(self) -> Increase:
        """All observations."""
        return Increase(
            self.family, window_s=self.window_s, by=self.by, scope=self.scope, part="_count"
        )

    @override
    def promql(self) -> str:
        return f"1 - {Ratio(self.within, self.everything, self.floor).promql()}"

    @override
    def read(self, readings: Readings) -> Values:
        within = Ratio(self.within, self.everything, self.floor).read(readings)
        return {key: 1.0 - value for key, value in within.items()}


@dataclass(frozen=True)
class Recorded(Expression):
    """An expression that Prometheus has worked out before, under a name of its own.

    Attributes:
        record: Its name there.
        definition: What is stored under that name, in PromQL.
        meaning: The same, for `Readings`.
    """

    record: str
    definition: str
    meaning: Expression

    @property
    @override
    def by(self) -> tuple[str, ...]:
        """Labels of its meaning."""
        return self.meaning.by

    @property
    @override
    def scope(self) -> Scope:
        """Scope of its meaning."""
        return self.meaning.scope

    @override
    def promql(self) -> str:
        return self.record

    @override
    def read(self, readings: Readings) -> Values:
        return self.meaning.read(readings)
