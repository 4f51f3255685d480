"""The shipped dashboards are what the declarations make them, and show all that is declared."""

from __future__ import annotations

import json
import shutil
import subprocess
from typing import Any

import pytest
import yaml
from scripts.dashboards.board import Board, Line
from scripts.dashboards.expressions import Scope, complement, share
from scripts.dashboards.files import DASHBOARDS, DEPLOY, rendered, rule_files
from scripts.dashboards.lint import family_of, panels_of, problems_of_all
from scripts.dashboards.promql import parsed, selectors
from tests.observability.shipped_expressions import dashboards, panel_queries, shipped_rules

from tidegate.metrics.families import declared, python, rate_limits, requests, upstream, usage


@pytest.mark.parametrize("path", sorted(rendered()), ids=lambda path: path.name)
def test_generated_files_are_up_to_date(path: Any) -> None:
    """`python -m scripts.dashboards` changes nothing."""
    assert path.read_text() == rendered()[path]


def test_no_dashboard_lies_about_that_is_not_generated() -> None:
    """A file that the generator no longer writes would be provisioned for ever."""
    assert {path for path, _ in dashboards()} == {
        path for path in rendered() if path.parent == DASHBOARDS
    }


def test_the_dashboards_break_no_rule_of_ours() -> None:
    """The linter finds nothing."""
    assert problems_of_all([board for _, board in dashboards()]) == []


def test_every_declared_metric_is_on_some_dashboard() -> None:
    """What is counted can be seen; a new family needs a panel."""
    shown = {
        family.name
        for query in panel_queries()
        for selector in selectors(parsed(query.text))
        if (family := family_of(selector.name or ""))
    }
    assert shown == {family.name for family in declared()}


def test_panels_say_what_their_metrics_are() -> None:
    """A panel's description is the help text of what it reads."""
    for _, board in dashboards():
        for panel in panels_of(board):
            for target in panel.get("targets", []):
                for selector in selectors(parsed(target["expr"])):
                    family = family_of(selector.name or "")
                    assert family is not None
                    assert family.help in panel["description"]


def test_allowed_and_blocked_have_one_colour_everywhere() -> None:
    """Green and amber mean the same on every dashboard."""
    colours: dict[str, set[str]] = {"allowed": set(), "blocked": set()}
    for _, board in dashboards():
        for panel in panels_of(board):
            for override in panel.get("fieldConfig", {}).get("overrides", []):
                name = override["matcher"]["options"]
                if name in colours:
                    colours[name].add(override["properties"][0]["value"]["fixedColor"])
    assert colours == {"allowed": {"green"}, "blocked": {"orange"}}


def test_an_expression_over_what_does_not_exist_cannot_be_built() -> None:
    """A renamed label or outcome fails here, not as an empty panel."""
    scope = Scope()
    with pytest.raises(ValueError, match="no label model"):
        scope.rate(requests.REQUESTS, ["model"])
    with pytest.raises(ValueError, match="matches nothing"):
        scope.rate(requests.REQUESTS, where={"model": '="x"'})
    with pytest.raises(ValueError, match="is never lost"):
        scope.rate(upstream.UPSTREAM_REQUESTS, where={"outcome": '=~"ok|lost"'})
    with pytest.raises(ValueError, match="matches nothing"):
        scope.rate(upstream.UPSTREAM_REQUESTS, where={"outcome": "ok"})
    with pytest.raises(ValueError, match="is a gauge"):
        scope.rate(python.PYTHON_THREADS)
    with pytest.raises(ValueError, match="is a counter"):
        scope.quantile(0.5, requests.REQUESTS)
    with pytest.raises(ValueError, match="suffix"):
        scope.rate(requests.REQUEST_DURATION)


def test_a_zero_stands_in_only_for_series_that_may_be_missing() -> None:
    """Closed families are on the page from the start; open ones are not."""
    scope = Scope()
    always = scope.rate(rate_limits.BLOCKED)
    assert always.or_zero() == always
    later = scope.rate(usage.COST, ["model"])
    assert later.or_zero().text.endswith(
        'or on () label_replace(vector(0), "model", "none", "", "")'
    )
    assert complement(share(always, always)).text.endswith("or on () vector(0))")


def test_one_axis_has_one_unit() -> None:
    """Seconds and bytes on one axis would be unreadable."""
    board = Board("x", "X", "x")
    scope = Scope()
    lines = [
        Line(scope.rate(rate_limits.BLOCKED), "blocked"),
        Line(scope.quantile(0.5, requests.REQUEST_DURATION), "p50"),
    ]
    with pytest.raises(ValueError, match="one axis"):
        board.graph("Both", lines)


def test_grafana_is_provisioned_with_the_dashboards_and_their_source() -> None:
    """The data source has the scrape interval of the shipped job; nothing can be edited away."""
    folder = DEPLOY / "grafana" / "provisioning"
    (source,) = yaml.safe_load((folder / "datasources" / "prometheus.yml").read_text())[
        "datasources"
    ]
    scrape = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yml").read_text())
    (job,) = scrape["scrape_configs"]
    assert source["type"] == "prometheus"
    assert source["jsonData"]["timeInterval"] == job["scrape_interval"]
    (provider,) = yaml.safe_load((folder / "dashboards" / "tidegate.yml").read_text())["providers"]
    assert provider["type"] == "file"
    assert provider["options"]["path"].startswith("/")


def evaluated(changes: str = "{}") -> Any:
    """Return what jsonnet makes of the mixin with changes, or skip."""
    program = shutil.which("jsonnet")
    if program is None:
        pytest.skip("jsonnet is missing: apt-get install jsonnet")
    mixin = DEPLOY / "mixin" / "mixin.libsonnet"
    fields = ("grafanaDashboards", "prometheusRules", "prometheusAlerts")  # hidden by custom
    shown = ", ".join(f"{field}: m.{field}" for field in fields)
    done = subprocess.run(
        [program, "-e", f"local m = (import '{mixin}') + {changes}; {{ {shown} }}"],
        check=False,
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.external
def test_the_mixin_has_the_dashboards_and_rules() -> None:
    """Its fields are those that mixins have, with everything that is shipped in them."""
    mixin = evaluated()
    assert mixin["grafanaDashboards"] == {path.name: board for path, board in dashboards()}
    rules = [rule for group in mixin["prometheusRules"]["groups"] for rule in group["rules"]]
    assert {rule["record"]: rule["expr"] for rule in rules} == shipped_rules("record")
    alerts = [rule for group in mixin["prometheusAlerts"]["groups"] for rule in group["rules"]]
    assert {rule["alert"]: rule["expr"] for rule in alerts} == shipped_rules("alert")
    assert rule_files()


@pytest.mark.external
def test_the_mixin_can_be_adapted() -> None:
    """Tags, refresh and alert labels are configuration; the links follow the tags."""
    mixin = evaluated("{ _config+:: { tags: ['llm'], refresh: '1m', alertLabels: { team: 'a' } } }")
    for board in mixin["grafanaDashboards"].values():
        assert (board["tags"], board["refresh"]) == (["llm"], "1m")
        assert board["links"][0]["tags"] == ["llm"]
    groups = mixin["prometheusAlerts"]["groups"]
    assert {rule["labels"]["team"] for group in groups for rule in group["rules"]} == {"a"}
    assert all("severity" in rule["labels"] for group in groups for rule in group["rules"])
