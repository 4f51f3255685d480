"""What an alert is: a condition with its name, its urgency and what to say."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from tidegate.control.alerts.conditions import Condition, OnlyPrometheus
from tidegate.control.alerts.templates import labels_of

Severity = Literal["critical", "warning", "info"]
"""critical: wake somebody. warning: look today. info: look when there is time."""

RUNBOOKS = "docs/runbooks"

_NAME = re.compile(r"[A-Z][A-Za-z0-9]+")


@dataclass(frozen=True)
class AlertRule:
    """One alert.

    Attributes:
        name: In Prometheus and on the admin API; never changed.
        severity: How soon somebody should look.
        for_s: How long the condition must go on before the alert fires, seconds.
        meaning: The rule in a few words, without labels or numbers of the moment.
        summary: One line about one alert; a template in Prometheus' language, of which
            `templates` knows a part.
        description: What it means and what to look at, likewise a template.
        condition: When.
    """

    name: str
    severity: Severity
    for_s: float
    meaning: str
    summary: str
    description: str
    condition: Condition

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise ValueError(f"{self.name!r} is no name of an alert")
        known = {*self.condition.by, "job"}
        if self.condition.scope != "job":
            known.add("instance")
        for text in (self.summary, self.description):
            if "\n" in text or not text:
                raise ValueError(f"{self.name}: texts are one line")
            if unknown := labels_of(text) - known:
                raise ValueError(f"{self.name}: its condition has no label {sorted(unknown)}")

    @property
    def runbook(self) -> str:
        """The page about it, as a path in the repository."""
        return f"{RUNBOOKS}/{self.name}.md"

    @property
    def is_local(self) -> bool:
        """Whether the control process can tell it by itself."""
        return not isinstance(self.condition, OnlyPrometheus)
