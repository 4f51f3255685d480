"""All alerts."""

from __future__ import annotations

from typing import Final

from tidegate.control.alerts.rule import AlertRule
from tidegate.control.alerts.rules.instance import INSTANCE_RULES
from tidegate.control.alerts.rules.ledger import LEDGER_RULES
from tidegate.control.alerts.rules.limits import LIMIT_RULES
from tidegate.control.alerts.rules.objectives import Objectives, objective_rules
from tidegate.control.alerts.rules.providers import PROVIDER_RULES


def alert_rules(objectives: Objectives) -> tuple[AlertRule, ...]:
    """Return all alerts, what clients notice first and causes after it."""
    return (
        *objective_rules(objectives),
        *INSTANCE_RULES,
        *PROVIDER_RULES,
        *LIMIT_RULES,
        *LEDGER_RULES,
    )


ALERTS: Final = alert_rules(Objectives())
