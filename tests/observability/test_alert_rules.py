"""The alerts in a real Prometheus' judgement: promtool reads the shipped rules and tries each."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from scripts.alert_rules import RULES
from tests.observability.alert_case import DEFAULTS, FOLDER, Case, cases_of

from tidegate.control.alerts.catalogue import ALERTS
from tidegate.control.alerts.prometheus import rules_file
from tidegate.control.alerts.rule import AlertRule
from tidegate.control.alerts.rules.objectives import Objectives
from tidegate.control.alerts.templates import filled

ROOT = Path(__file__).parents[2]
SHIPPED = {
    # Named by monitors and silences that are out there: a name may be added, never changed.
    "HighRateLimitBlocking",
    "TidegateDown",
    "TidegateLimiterTableFilling",
    "TidegateProviderFailing",
    "TidegateSeriesDropped",
    "TidegateWorkersRestarting",
}
BY_NAME = {rule.name: rule for rule in ALERTS}


def promtool(*arguments: str | Path) -> None:
    """Run promtool; it must find nothing."""
    program = shutil.which("promtool")
    if program is None:
        pytest.skip("promtool is missing: apt-get install prometheus")
    done = subprocess.run(
        [program, *arguments], capture_output=True, text=True, timeout=50, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_shipped_file_is_what_the_declarations_say() -> None:
    """`python scripts/alert_rules.py` changes nothing."""
    assert RULES.read_text() == rules_file(Objectives())


def test_names_stay_and_are_unique() -> None:
    """No alert is lost, and none is there twice."""
    assert set(BY_NAME) >= SHIPPED
    assert len(BY_NAME) == len(ALERTS)


def test_the_first_alert_is_word_for_word_the_known_one() -> None:
    """A monitor written for LLM Gateway Core keeps its alert."""
    groups = yaml.safe_load(RULES.read_text())["groups"]
    rules = [rule for group in groups for rule in group["rules"]]
    known = next(rule for rule in rules if rule.get("alert") == "HighRateLimitBlocking")
    assert known["expr"] == "rate(rate_limit_blocked_total[5m]) > 10"
    assert (known["for"], known["labels"]) == ("5m", {"severity": "warning"})


def test_each_alert_has_cases_that_fire_and_cases_that_stay_silent() -> None:
    """No case is without an alert, no alert without both."""
    assert {path.stem for path in FOLDER.glob("*.yml")} == set(BY_NAME)
    for name in BY_NAME:
        fires = [any(check.firing for check in case.checks) for case in cases_of(name)]
        assert {True, False} == set(fires), name


def test_the_guide_writes_rules_with_other_objectives(tmp_path: Path) -> None:
    """The command of the guide, as it stands there but for where it writes."""
    guide = (ROOT / "docs/guides/alerts.md").read_text()
    [command] = re.findall(
        r"^.venv/bin/python (scripts/alert_rules.py .*?)^```", guide, re.M | re.S
    )
    words = shlex.split(command.replace("\\\n", " "))
    assert words[-2:] == ["--output", "/etc/prometheus/rules/tidegate.yml"]
    path = tmp_path / "rules.yml"
    subprocess.run(
        [sys.executable, *words[:-1], path],
        cwd=ROOT,
        env={"PYTHONPATH": "src"},
        timeout=30,
        check=True,
    )
    assert path.read_text() == rules_file(
        Objectives(0.999, 2.5, 0.99), "https://wiki.example.org/tidegate/"
    )


def test_objectives_that_no_burn_could_reach_are_refused() -> None:
    """14.4 times a budget of a tenth is more than everything."""
    for wrong in ({"availability": 0.9}, {"first_token": 1.0}, {"first_token_s": 3.0}):
        with pytest.raises(ValueError, match=r"objective|counted within"):
            Objectives(**wrong)


@pytest.mark.external
def test_promtool_accepts_the_rules() -> None:
    """Every expression parses, and every template."""
    promtool("check", "rules", RULES)


@pytest.mark.external
def test_other_objectives_make_rules_that_promtool_accepts(tmp_path: Path) -> None:
    """A file for a stricter service says so in its thresholds and its texts."""
    text = rules_file(Objectives(0.999, 1.0, 0.99), "https://example.org/tidegate/")
    path = tmp_path / "strict.yml"
    path.write_text(text)
    promtool("check", "rules", path)
    assert "ratio_rate1h > 0.0144" in text
    assert 'le="1.0"' in text
    assert "99.9 % should succeed" in text
    assert "https://example.org/tidegate/docs/runbooks/TidegateDown.md" in text


@pytest.mark.external
@pytest.mark.parametrize("name", BY_NAME)
def test_alert_fires_when_it_should_and_only_then(name: str, tmp_path: Path) -> None:
    """Labels, texts and times are those of the cases."""
    rule = BY_NAME[name]
    for number, case in enumerate(cases_of(name)):
        path = tmp_path / f"{number}.yml"
        path.write_text(yaml.safe_dump(_test_file(rule, case), sort_keys=False))
        promtool("test", "rules", path)


def _test_file(rule: AlertRule, case: Case) -> dict[str, Any]:
    every = f"{case.every_s:.0f}s"
    return {
        "rule_files": [str(RULES)],
        "evaluation_interval": every,
        "group_eval_order": ["tidegate-recording", "tidegate-objectives", "tidegate-alerts"],
        "tests": [
            {
                "name": case.case,
                "interval": every,
                "input_series": [
                    {"series": series.selector, "values": series.values} for series in case.series
                ],
                "alert_rule_test": [
                    {
                        "eval_time": f"{check.at_s:.0f}s",
                        "alertname": rule.name,
                        "exp_alerts": [_expected(rule, *one) for one in check.firing],
                    }
                    for check in case.checks
                ],
            }
        ],
    }


def _expected(rule: AlertRule, labels: dict[str, str], value: float | None) -> dict[str, Any]:
    """Return an alert as Prometheus tells it, with texts as filled in here."""
    assert value is not None or "$value" not in rule.summary + rule.description
    shared = {"job": DEFAULTS["job"]} if rule.condition.scope == "job" else DEFAULTS
    shown = {**shared, **labels}
    return {
        "exp_labels": {"severity": rule.severity, **shown},
        "exp_annotations": {
            "summary": filled(rule.summary, shown, value or 0.0),
            "description": filled(rule.description, shown, value or 0.0),
            "runbook_url": rule.runbook,
        },
    }
