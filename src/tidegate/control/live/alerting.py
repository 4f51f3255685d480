"""Alerts of the live view: the rules of `control.alerts`, evaluated over the ring."""

from __future__ import annotations

from tidegate.control.alerts.board import AlertBoard
from tidegate.control.live.answers import AlertRow, AlertsAnswer, RuleRow
from tidegate.control.live.ring import Ring
from tidegate.control.live.ring_readings import RingReadings


class Alerting:
    """Evaluates the rules, and remembers what they said."""

    def __init__(self) -> None:
        self._board = AlertBoard()
        self._alerts: list[AlertRow] = []

    def evaluate(self, ring: Ring, now_s: float) -> None:
        """Evaluate every rule as of *now_s*, the time of the newest reading."""
        self._alerts = [
            AlertRow(
                name=alert.name,
                severity=alert.severity,
                state=alert.state,
                since_ms=alert.since_ms,
                summary=alert.summary,
                description=alert.description,
                runbook=alert.runbook,
                labels=alert.labels,
                value=alert.value,
            )
            for alert in self._board.evaluate(RingReadings(ring, now_s))
        ]

    def answer(self) -> AlertsAnswer:
        """Return alerts and rules as of the last evaluation."""
        rules = [
            RuleRow(rule.name, rule.severity, rule.for_s, rule.summary, rule.state)
            for rule in self._board.states()
        ]
        return AlertsAnswer(self._alerts, rules)
