"""What `tidegate top` knows of a gateway, kept up by what its control port tells."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import Final, NamedTuple

from tidegate.control.live.answers import (
    AlertsAnswer,
    InstanceAnswer,
    LimitsAnswer,
    RequestRow,
    SampleEvent,
    SeriesAnswer,
)

KEPT_VALUES: Final = 900
KEPT_REQUESTS: Final = 200
LEAST_VALUES: Final = 60
"""A chart is of at least so many seconds."""


class LineName(NamedTuple):
    """Which line: its grouping, its name, its label's value (empty for the total)."""

    by: str
    name: str
    label: str = ""


class Status(NamedTuple):
    """How it stands with the connection; `is_final` when no further try will be made."""

    text: str
    is_live: bool = False
    is_final: bool = False


class History(NamedTuple):
    """The last quarter of an hour of all lines."""

    answers: tuple[SeriesAnswer, ...]


class Recent(NamedTuple):
    """Requests, newest first; `is_whole` when they replace those that were known."""

    rows: list[RequestRow]
    is_whole: bool = False


News = Status | History | Recent | SampleEvent | InstanceAnswer | LimitsAnswer | AlertsAnswer


class Board:
    """The newest state; for one thread.

    Attributes:
        status: Of the connection.
        instance: The gateway as a whole; None before the first answer.
        limits, alerts: The newest answers.
        requests: Newest first.
        time_ms: When the newest values were read; 0 before.
    """

    def __init__(self) -> None:
        self.status = Status("connecting")
        self.instance: InstanceAnswer | None = None
        self.limits = LimitsAnswer([], [])
        self.alerts = AlertsAnswer([], [])
        self.requests: list[RequestRow] = []
        self.time_ms = 0
        self._lines: dict[LineName, deque[float | None]] = {}

    def take(self, news: News) -> None:
        """Note what the control port told."""
        match news:
            case Status():
                self.status = news
            case History():
                self._restart(news.answers)
            case SampleEvent():
                self._append(news)
            case Recent():
                self._note(news)
            case InstanceAnswer():
                self.instance = news
            case LimitsAnswer():
                self.limits = news
            case AlertsAnswer():
                self.alerts = news

    def _restart(self, answers: Iterable[SeriesAnswer]) -> None:
        self._lines = {}
        for answer in answers:
            self.time_ms = answer.start_ms + (answer.count - 1) * answer.step_s * 1000
            for series in answer.series:
                (by, label), *_ = [*series.labels.items(), ("total", "")]
                values = deque(series.values, maxlen=KEPT_VALUES)
                self._lines[LineName(by, series.name, label)] = values

    def _append(self, sample: SampleEvent) -> None:
        """Add a second to every line; seconds that were not told are gaps."""
        passed = round((sample.time_ms - self.time_ms) / 1000)
        if passed <= 0:
            return  # known from the history already
        told = {
            LineName(series.by, series.name, series.labels.get(series.by, "")): series.value
            for series in sample.series
        }
        for name in told.keys() - self._lines.keys():
            self._lines[name] = deque([None] * KEPT_VALUES, maxlen=KEPT_VALUES)
        for name, values in self._lines.items():
            values.extend([None] * min(KEPT_VALUES, passed - 1))
            values.append(told.get(name))
        self.time_ms = sample.time_ms

    def _note(self, recent: Recent) -> None:
        known = [] if recent.is_whole else self.requests
        new = {row.request_id for row in recent.rows}
        rows = [*recent.rows, *(row for row in known if row.request_id not in new)]
        rows.sort(key=lambda row: -row.time_ms)
        self.requests = rows[:KEPT_REQUESTS]

    def values(self, by: str, name: str, label: str = "") -> list[float | None]:
        """Return a line's values, oldest first; all None for a line that is not known."""
        line = self._lines.get(LineName(by, name, label))
        return list(line) if line else [None] * KEPT_VALUES

    @property
    def begin(self) -> int:
        """Where the first reading stands in each line's values, but for a minute of them."""
        values = self.values("total", "requests")
        first = next((at for at, value in enumerate(values) if value is not None), KEPT_VALUES)
        return max(0, min(first, len(values) - LEAST_VALUES))

    def now(self, by: str, name: str, label: str = "") -> float | None:
        """Return a line's newest value."""
        line = self._lines.get(LineName(by, name, label))
        return line[-1] if line else None

    def labels(self, by: str) -> list[str]:
        """Return the label values of a grouping, the busiest of the quarter first."""
        busy = {
            line.label: sum(value or 0.0 for value in values)
            for line, values in self._lines.items()
            if line.by == by and line.name == ("allowed" if by == "limit" else "requests")
        }
        return sorted(busy, key=lambda label: (-busy[label], label))
