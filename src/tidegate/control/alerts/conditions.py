"""When an alert is on: comparisons of expressions, and both or either of two."""

from __future__ import annotations

import operator
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from typing_extensions import override

from tidegate.control.alerts.expressions import Expression, Recorded, Scope, indented, number
from tidegate.control.alerts.readings import Readings, Values

Comparison = Literal[">", "<", "=="]

_COMPARE: Mapping[Comparison, Callable[[float, float], bool]] = {
    ">": operator.gt,
    "<": operator.lt,
    "==": operator.eq,
}


class Condition(ABC):
    """Holds for some sets of label values, each with the number that the alert tells."""

    @property
    @abstractmethod
    def by(self) -> tuple[str, ...]:
        """Labels of what it holds for, beside the scope's."""

    @property
    @abstractmethod
    def scope(self) -> Scope:
        """Whose numbers are added up."""

    @abstractmethod
    def promql(self) -> str:
        """Return it for Prometheus."""

    @abstractmethod
    def holding(self, readings: Readings) -> Values:
        """Return what it holds for, with the numbers that make it hold."""

    @abstractmethod
    def expressions(self) -> Iterator[Expression]:
        """Yield what is compared, without comparison."""

    def recorded(self) -> Iterator[Recorded]:
        """Yield the recording rules that it needs."""
        for expression in self.expressions():
            if isinstance(expression, Recorded):
                yield expression


@dataclass(frozen=True)
class Compare(Condition):
    """An expression over, under or at a threshold."""

    expression: Expression
    comparison: Comparison
    threshold: float

    @property
    @override
    def by(self) -> tuple[str, ...]:
        """Labels of the expression."""
        return self.expression.by

    @property
    @override
    def scope(self) -> Scope:
        """Scope of the expression."""
        return self.expression.scope

    @override
    def promql(self) -> str:
        left = self.expression.promql()
        space = "\n" if "\n" in left else " "
        return f"{left}{space}{self.comparison} {number(self.threshold)}"

    @override
    def holding(self, readings: Readings) -> Values:
        holds = _COMPARE[self.comparison]
        return {
            key: value
            for key, value in self.expression.read(readings).items()
            if holds(value, self.threshold)
        }

    @override
    def expressions(self) -> Iterator[Expression]:
        yield self.expression


@dataclass(frozen=True)
class _Pair(Condition):
    left: Condition
    right: Condition

    def __post_init__(self) -> None:
        if (self.left.by, self.left.scope) != (self.right.by, self.right.scope):
            raise ValueError("two conditions of one alert have the same labels")

    @property
    @override
    def by(self) -> tuple[str, ...]:
        """Labels of both."""
        return self.left.by

    @property
    @override
    def scope(self) -> Scope:
        """Scope of both."""
        return self.left.scope

    @override
    def expressions(self) -> Iterator[Expression]:
        yield from self.left.expressions()
        yield from self.right.expressions()

    def _joined(self, word: str) -> str:
        return "\n".join(
            ("(", indented(self.left.promql()), f") {word} (", indented(self.right.promql()), ")")
        )


@dataclass(frozen=True)
class Both(_Pair):
    """Both hold; the number is the left one's."""

    @override
    def promql(self) -> str:
        return self._joined("and")

    @override
    def holding(self, readings: Readings) -> Values:
        left, right = self.left.holding(readings), self.right.holding(readings)
        return {key: value for key, value in left.items() if key in right}


@dataclass(frozen=True)
class Either(_Pair):
    """One holds; the number is the left one's if that does."""

    @override
    def promql(self) -> str:
        return self._joined("or")

    @override
    def holding(self, readings: Readings) -> Values:
        return self.right.holding(readings) | self.left.holding(readings)


@dataclass(frozen=True)
class OnlyPrometheus(Condition):
    """What only somebody outside can see, such as that the instance does not answer."""

    expression: str
    by: tuple[str, ...] = ()
    scope: Scope = "instance"

    @override
    def promql(self) -> str:
        return self.expression

    @override
    def holding(self, readings: Readings) -> Values:
        return {}

    @override
    def expressions(self) -> Iterator[Expression]:
        yield from ()
