"""The alerts as a file of rules for Prometheus, with the recording rules beside them."""

from __future__ import annotations

from typing import Final

import yaml

from tidegate.control.alerts.catalogue import alert_rules
from tidegate.control.alerts.expressions import duration
from tidegate.control.alerts.rule import AlertRule
from tidegate.control.alerts.rules.objectives import (
    FAILED_REQUESTS,
    RECORD_EVERY_S,
    Objectives,
    objective_records,
)
from tidegate.control.alerts.rules.providers import FAILED_ATTEMPTS

HEAD: Final = """\
# Written by scripts/alert_rules.py from src/tidegate/control/alerts; change the rules there.
# A page for each alert is in docs/runbooks.
"""

_FAILED_REQUESTS = "|".join(sorted(FAILED_REQUESTS))
_FAILED_ATTEMPTS = "|".join(sorted(FAILED_ATTEMPTS))

#: For dashboards and for queries of one's own. Where nothing happens a share of successes is
#: whole and a share of failures is zero, never NaN.
RECORDS: Final = (
    (
        "instance:rate_limit_success:percent_rate5m",
        """\
100 * rate(rate_limit_allowed_total[5m])
/ (rate(rate_limit_allowed_total[5m]) + rate(rate_limit_blocked_total[5m]) > 0)
or 100 + 0 * rate(rate_limit_allowed_total[5m])""",
    ),
    (
        "instance:rate_limit_blocked:ratio_rate5m",
        """\
rate(rate_limit_blocked_total[5m])
/ (rate(rate_limit_allowed_total[5m]) + rate(rate_limit_blocked_total[5m]) > 0)
or 0 * rate(rate_limit_blocked_total[5m])""",
    ),
    (
        "instance:tidegate_request_success:ratio_rate5m",
        # A counter that is always there stands in where nothing was asked or nothing has failed.
        f"""\
1 - (
  sum by (job, instance) (
    rate(tidegate_request_outcomes_total{{outcome=~"{_FAILED_REQUESTS}"}}[5m])
  )
  / (
    sum by (job, instance) (
      rate(tidegate_request_outcomes_total{{outcome=~"ok|{_FAILED_REQUESTS}"}}[5m])
    ) > 0
  )
)
or 1 + 0 * sum by (job, instance) (rate(rate_limit_allowed_total[5m]))""",
    ),
    (
        "provider:tidegate_upstream_requests:rate5m",
        "sum by (job, instance, provider) (rate(tidegate_upstream_requests_total[5m]))",
    ),
    (
        "provider:tidegate_upstream_failures:rate5m",
        f"""\
sum by (job, instance, provider) (
  rate(tidegate_upstream_requests_total{{outcome=~"{_FAILED_ATTEMPTS}"}}[5m])
)""",
    ),
)


class _Text(str):
    """Shown as it is, line by line."""


class _Dumper(yaml.SafeDumper):
    """Dumps `_Text` as a literal block."""


def _literal(dumper: yaml.SafeDumper, text: _Text) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|")


_Dumper.add_representer(_Text, _literal)


def rules_file(objectives: Objectives, runbook_base: str = "") -> str:
    """Return the file of rules.

    Args:
        objectives: What the service promises.
        runbook_base: Where the repository can be read, put before the path of each runbook.
    """
    alerts = alert_rules(objectives)
    recorded = {
        needed.record: needed.definition for one in alerts for needed in one.condition.recorded()
    }
    groups = [
        {"name": "tidegate-recording", "rules": [_record(*one) for one in RECORDS]},
        {
            "name": "tidegate-objectives",
            "interval": duration(RECORD_EVERY_S),
            "rules": [
                *(_record(*one) for one in objective_records(objectives)),
                *(_record(*one) for one in recorded.items()),
            ],
        },
        {"name": "tidegate-alerts", "rules": [_alert(one, runbook_base) for one in alerts]},
    ]
    return HEAD + yaml.dump({"groups": groups}, Dumper=_Dumper, sort_keys=False, width=1000)


def _record(name: str, definition: str) -> dict[str, object]:
    return {"record": name, "expr": _expression(definition)}


def _alert(rule: AlertRule, runbook_base: str) -> dict[str, object]:
    alert: dict[str, object] = {"alert": rule.name, "expr": _expression(rule.condition.promql())}
    if rule.for_s:
        alert["for"] = duration(rule.for_s)
    return alert | {
        "labels": {"severity": rule.severity},
        "annotations": {
            "summary": rule.summary,
            "description": rule.description,
            "runbook_url": runbook_base + rule.runbook,
        },
    }


def _expression(text: str) -> str:
    return _Text(text) if "\n" in text else text
