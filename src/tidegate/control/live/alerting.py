"""Alerts of the live view."""

from __future__ import annotations

from tidegate.control.live.answers import AlertsAnswer
from tidegate.control.live.ring import Ring
from tidegate.control.live.ring_readings import RingReadings


class Alerting:
    """Evaluates the rules over the ring, and remembers what they said."""

    def __init__(self) -> None:
        self._answer = AlertsAnswer([], [])

    def evaluate(self, ring: Ring, now_s: float) -> None:
        """Evaluate every rule as of *now_s*."""
        RingReadings(ring, now_s)

    def answer(self) -> AlertsAnswer:
        """Return alerts and rules as of the last evaluation."""
        return self._answer
