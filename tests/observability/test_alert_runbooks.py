"""Each alert has a page, and what the page tells an operator to run can be run."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import yaml
from tests.observability.test_alert_rules import promtool

from tidegate.control.alerts.catalogue import ALERTS
from tidegate.control.alerts.prometheus import rules_file
from tidegate.control.alerts.rule import RUNBOOKS
from tidegate.control.alerts.rules.objectives import Objectives
from tidegate.metrics.families import declared

ROOT = Path(__file__).parents[2]
PAGES = {rule.name: ROOT / rule.runbook for rule in ALERTS}
HEADINGS = [
    "What it means",
    "What users see",
    "First checks",
    "How to mend",
    "How to silence",
]

_BLOCK = re.compile(r"^( *)```(\w+)\n(.*?)^ *```$", re.M | re.S)
_RECORD = re.compile(r"record: (\S+)")
_NAME = re.compile(r"\b(?:\w+:)?(?:tidegate|rate_limit|process|python)_\w+(?::\w+)*")


def blocks(name: str, language: str) -> list[str]:
    """Return the blocks of a page in one language."""
    return [
        "\n".join(line.removeprefix(indent) for line in text.splitlines())
        for indent, found, text in _BLOCK.findall(PAGES[name].read_text())
        if found == language
    ]


def test_there_is_a_page_for_each_alert_and_no_other() -> None:
    """The index names each of them."""
    folder = ROOT / RUNBOOKS
    assert {path.stem for path in folder.glob("*.md")} == {*PAGES, "README"}
    index = (folder / "README.md").read_text()
    assert not {name for name in PAGES if f"[{name}]({name}.md)" not in index}


@pytest.mark.parametrize("rule", ALERTS, ids=lambda rule: rule.name)
def test_a_page_has_its_five_parts_and_three_checks(rule) -> None:
    """An operator at night finds the same things in the same places, and the rule's own words."""
    text = PAGES[rule.name].read_text()
    assert re.findall(r"^## (.+)$", text, re.M) == HEADINGS
    checks = text.split("## First checks")[1].split("## How to mend")[0]
    assert re.findall(r"^(\d)\. ", checks, re.M) == ["1", "2", "3"]
    assert checks.count("```") == 6
    assert f"{rule.meaning}: *{rule.severity}*" in text


def test_queries_name_metrics_and_records_that_exist() -> None:
    """A query over a metric that is gone would show an operator nothing, at the worst time."""
    families = {family.name for family in declared()}
    known = families | set(_RECORD.findall(rules_file(Objectives())))
    known |= {
        f"{family.name}{end}"
        for family in declared()
        if family.kind == "histogram"
        for end in ("_bucket", "_count", "_sum")
    }
    used = {
        name for page in PAGES for block in blocks(page, "promql") for name in _NAME.findall(block)
    }
    assert len(used) > 20
    assert used <= known


@pytest.mark.external
def test_queries_are_promql(tmp_path: Path) -> None:
    """Prometheus reads every one of them."""
    queries = [block for page in PAGES for block in blocks(page, "promql")]
    assert len(queries) > len(PAGES)
    rules = [{"record": f"query:{n}", "expr": query} for n, query in enumerate(queries)]
    path = tmp_path / "queries.yml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "queries", "rules": rules}]}))
    promtool("check", "rules", path)


def test_label_values_in_queries_are_ones_that_occur() -> None:
    """`outcome="http_5xx"` is only of use while there is such an outcome."""
    values: dict[str, set[str]] = {}
    for family in declared():
        for label in family.labels:
            values.setdefault(label, set()).update(family.values.get(label, ()))
    asked = [
        (label, value)
        for page in PAGES
        for block in blocks(page, "promql")
        for label, pattern in re.findall(r'(\w+)(?:=~|!=|!~|=)"([^"]*)"', block)
        for value in pattern.split("|")
    ]
    assert asked
    assert not [(label, value) for label, value in asked if value not in values[label]]


@pytest.mark.parametrize("name", PAGES)
def test_shell_lines_are_shell(name: str) -> None:
    """Every quote is closed; the last block silences this very alert."""
    lines = blocks(name, "sh")
    for line in lines:
        assert shlex.split(line)
    silence = shlex.split(lines[-1])
    assert silence[:3] == ["amtool", "silence", "add"]
    assert silence[-1] == f"alertname={name}"
