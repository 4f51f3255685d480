"""The alerts as the control process sees them: which hold, since when, and which fire."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from tidegate.control.alerts.catalogue import ALERTS
from tidegate.control.alerts.readings import ANY, Match, Readings, Values
from tidegate.control.alerts.rule import AlertRule, Severity
from tidegate.control.alerts.templates import filled
from tidegate.metrics.families.rate_limits import ALLOWED

AlertState = Literal["firing", "pending"]
RuleState = Literal["firing", "pending", "ok", "no_data"]

_INSTANCE = "this instance"
_WATCHED_S = 300.0
_SEVERITIES: tuple[Severity, ...] = ("critical", "warning", "info")


@dataclass(frozen=True)
class Alert:
    """An alert that fires, or will if its condition goes on.

    Attributes:
        name: Of its rule.
        severity: Of its rule.
        state: `pending` until the condition has held for the rule's time.
        since_ms: Since when the condition holds, Unix milliseconds.
        summary: One line, filled in.
        description: What it means, filled in.
        runbook: The page about it, a path in the repository.
        labels: What it is about; empty for the instance as a whole.
        value: The number that makes the condition hold.
    """

    name: str
    severity: Severity
    state: AlertState
    since_ms: int
    summary: str
    description: str
    runbook: str
    labels: dict[str, str]
    value: float


@dataclass(frozen=True)
class RuleStatus:
    """A rule and its worst state.

    Attributes:
        name: Of the rule.
        severity: Of the rule.
        for_s: How long its condition must hold, seconds.
        summary: The rule in a few words.
        state: `no_data` when nothing that it looks at has been sampled.
    """

    name: str
    severity: Severity
    for_s: float
    summary: str
    state: RuleState


class AlertBoard:
    """Evaluates rules again and again and remembers since when each of them holds.

    Args:
        rules: Which; those that only Prometheus can tell are left out.
    """

    def __init__(self, rules: Iterable[AlertRule] = ALERTS) -> None:
        self._rules = tuple(rule for rule in rules if rule.is_local)
        self._since_s: dict[str, dict[tuple[str, ...], float]] = {
            rule.name: {} for rule in self._rules
        }
        self._states: dict[str, RuleState] = {rule.name: "no_data" for rule in self._rules}

    def evaluate(self, readings: Readings) -> list[Alert]:
        """Return what holds now, the most urgent first.

        Its cost is the readings': equal questions of several rules are asked once.
        """
        asked = _Asked(readings)
        active = [alert for rule in self._rules for alert in self._evaluate(rule, asked)]
        active.sort(
            key=lambda one: (
                one.state != "firing",
                _SEVERITIES.index(one.severity),
                one.name,
                sorted(one.labels.items()),
            )
        )
        return active

    def states(self) -> list[RuleStatus]:
        """Return each rule's state at the last evaluation."""
        return [
            RuleStatus(rule.name, rule.severity, rule.for_s, rule.meaning, self._states[rule.name])
            for rule in self._rules
        ]

    def _evaluate(self, rule: AlertRule, asked: _Asked) -> list[Alert]:
        asked.is_answered = False
        holding = rule.condition.holding(asked)
        before = self._since_s[rule.name]
        since_s = self._since_s[rule.name] = {
            key: min(before.get(key, asked.now_s), asked.now_s) for key in holding
        }
        alerts = [
            self._alert(rule, key, value, since_s[key], asked.now_s)
            for key, value in holding.items()
        ]
        self._states[rule.name] = _worst(rule, alerts, asked)
        return alerts

    def _alert(
        self, rule: AlertRule, key: tuple[str, ...], value: float, since_s: float, now_s: float
    ) -> Alert:
        labels = dict(zip(rule.condition.by, key, strict=True))
        shown = labels | {"instance": _INSTANCE}
        return Alert(
            rule.name,
            rule.severity,
            "firing" if now_s - since_s >= rule.for_s else "pending",
            round(since_s * 1000),
            _sentence(filled(rule.summary, shown, value)),
            _sentence(filled(rule.description, shown, value)),
            rule.runbook,
            labels,
            value,
        )


def _worst(rule: AlertRule, alerts: list[Alert], asked: _Asked) -> RuleState:
    if any(alert.state == "firing" for alert in alerts):
        return "firing"
    if alerts:
        return "pending"
    if any(expression.none_is_zero for expression in rule.condition.expressions()):
        asked.increase(ALLOWED.name, _WATCHED_S)  # there from the first sample on
    return "ok" if asked.is_answered else "no_data"


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:] if text.startswith(_INSTANCE) else text


class _Asked:
    """Readings that remember their answers, for one evaluation.

    Attributes:
        is_answered: Whether a question since this was last set to False had data.
    """

    def __init__(self, readings: Readings) -> None:
        self.now_s = readings.now_s
        self.is_answered = False
        self._readings = readings
        self._answers: dict[object, Values] = {}

    def increase(
        self, family: str, window_s: float, match: Match = ANY, by: tuple[str, ...] = ()
    ) -> Values:
        """See `Readings`."""
        key = (family, window_s, _key(match), by)
        if key not in self._answers:
            self._answers[key] = self._readings.increase(family, window_s, match, by)
        return self._told(self._answers[key])

    def value(self, family: str, match: Match = ANY, by: tuple[str, ...] = ()) -> Values:
        """See `Readings`."""
        key = (family, _key(match), by)
        if key not in self._answers:
            self._answers[key] = self._readings.value(family, match, by)
        return self._told(self._answers[key])

    def maximum(
        self, family: str, window_s: float, match: Match = ANY, by: tuple[str, ...] = ()
    ) -> Values:
        """See `Readings`."""
        key = ("maximum", family, window_s, _key(match), by)
        if key not in self._answers:
            self._answers[key] = self._readings.maximum(family, window_s, match, by)
        return self._told(self._answers[key])

    def _told(self, answer: Values) -> Values:
        self.is_answered = self.is_answered or bool(answer)
        return answer


def _key(match: Mapping[str, str | frozenset[str]]) -> frozenset[tuple[str, str | frozenset[str]]]:
    return frozenset(match.items())
