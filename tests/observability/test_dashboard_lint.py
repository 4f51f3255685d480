"""Each rule of the linter finds what breaks it."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
from scripts.dashboards.board import Board, Line
from scripts.dashboards.expressions import Scope
from scripts.dashboards.lint import problems_of, problems_of_all

from tidegate.metrics.families import rate_limits, requests

Json = dict[str, Any]
Change = Callable[[Json], object]


@pytest.fixture
def board() -> Json:
    """A small dashboard without a fault: a row, a tile and a graph."""
    made = Board("tidegate-test", "Test", "For tests.", filters=("provider",))
    scope = Scope()
    made.row("Row")
    made.tile("Tile", scope.rate(rate_limits.BLOCKED), [(None, "green")])
    made.graph("Graph", [Line(scope.rate(requests.REQUESTS, ["status"]), "{{status}}")])
    return made.build()


def test_a_board_as_it_is_built_has_no_problem(board: Json) -> None:
    """So each problem below is of what was changed."""
    assert problems_of(board) == []


def target(board: Json) -> Json:
    found: Json = board["panels"][2]["targets"][0]
    return found


def asks(expression: str) -> Change:
    """Replace the graph's query; `…` stands for the chosen job and instance."""
    text = expression.replace("…", 'job=~"$job", instance=~"$instance"')
    return lambda board: target(board).update(expr=text, legendFormat="x")


CASES: list[tuple[str, Change]] = [
    ("no uid of small letters", lambda b: b.update(uid="Über uns")),
    ("no title", lambda b: b.update(title="")),
    ("no description", lambda b: b.update(description="")),
    ("no tags", lambda b: b.update(tags=[])),
    ("no link to the other dashboards", lambda b: b.update(links=[])),
    ("a link forgets the time", lambda b: b["links"][0].update(keepTime=False)),
    ("a link forgets the time", lambda b: b["links"][0].update(includeVars=False)),
    ("a link by a tag that", lambda b: b["links"][0].update(tags=["other"])),
    ("no variable for the data source", lambda b: b["templating"]["list"].pop(0)),
    ("no variable job", lambda b: b["templating"]["list"].pop(1)),
    ("no variable instance", lambda b: b["templating"]["list"].pop(2)),
    (
        "variable job asks a fixed data source",
        lambda b: b["templating"]["list"][1]["datasource"].update(uid="abc"),
    ),
    ("is not label_values", lambda b: b["templating"]["list"][1].update(query="jobs")),
    (
        "variable job: no metric",
        lambda b: b["templating"]["list"][1].update(query="label_values(tidegate_gone, job)"),
    ),
    (
        "annotation Starts: a fixed data source",
        lambda b: b["annotations"]["list"][0]["datasource"].update(uid="abc"),
    ),
    (
        "annotation Starts: a fixed range",
        lambda b: b["annotations"]["list"][0].update(
            expr='changes(process_start_time_seconds{job=~"$job", instance=~"$instance"}[5m])'
        ),
    ),
    ("id 2 of 2 panels", lambda b: b["panels"][2].update(id=2)),
    ("Graph: over Tile", lambda b: b["panels"][2]["gridPos"].update(x=0, y=1)),
    ("Graph: not on the page", lambda b: b["panels"][2]["gridPos"].update(x=20)),
    ("panel 3: no title", lambda b: b["panels"][2].update(title="")),
    ("Graph: no description", lambda b: b["panels"][2].pop("description")),
    ("Graph: no unit", lambda b: b["panels"][2]["fieldConfig"]["defaults"].pop("unit")),
    (
        "Graph: nothing to show instead",
        lambda b: b["panels"][2]["fieldConfig"]["defaults"].pop("noValue"),
    ),
    ("Graph: a fixed data source", lambda b: b["panels"][2]["datasource"].update(uid="abc")),
    (
        "Tile: a tile without thresholds",
        lambda b: b["panels"][1]["fieldConfig"]["defaults"].pop("thresholds"),
    ),
    ("Graph: no legend", lambda b: b["panels"][2]["options"]["legend"].update(showLegend=False)),
    ("Graph: no query", lambda b: b["panels"][2].update(targets=[])),
    ("query A stands 2 times", lambda b: b["panels"][2]["targets"].append(target(b))),
    ("query A: no legend", lambda b: target(b).update(legendFormat="")),
    ("query A: a fixed data source", lambda b: target(b)["datasource"].update(uid="abc")),
    ("the legend shows endpoint", lambda b: target(b).update(legendFormat="{{endpoint}}")),
    ("a fixed range, [5m]", asks("rate(rate_limit_blocked_total{…}[5m])")),
    ("not there, $team", asks("sum(python_threads{…}) + $team")),
    ("not PromQL", asks("sum(rate(rate_limit_blocked_total{…}[$__rate_interval])")),
    ("reads no metric", asks("vector(1)")),
    ("no metric tidegate_gone_total", asks("rate(tidegate_gone_total{…}[$__rate_interval])")),
    (
        "no metric tidegate_overhead_seconds",
        asks("rate(tidegate_overhead_seconds{…}[$__rate_interval])"),
    ),
    ("has no label team", asks('python_threads{…, team="x"}')),
    ("of every instance", asks('python_threads{job=~"$job"}')),
    ("of every job", asks('python_threads{instance=~"$instance"}')),
    (
        "of a fixed job, llm_gateway",
        asks('python_threads{job="llm_gateway", instance=~"$instance"}'),
    ),
    ("rate of python_threads, a gauge", asks("rate(python_threads{…}[$__rate_interval])")),
    ("by worker, which none", asks("sum by (worker) (python_threads{…})")),
]


@pytest.mark.parametrize(
    ("problem", "change"), CASES, ids=[f"{n}-{p}" for n, (p, _) in enumerate(CASES)]
)
def test_each_fault_is_found(board: Json, problem: str, change: Change) -> None:
    """One change, and the linter says what is wrong."""
    change(board)
    assert any(problem in found for found in problems_of(board)), problems_of(board)


def test_panels_of_a_collapsed_row_are_looked_at(board: Json) -> None:
    """They are folded away, not excused."""
    board["panels"][0]["panels"] = [board["panels"].pop(2)]
    target_of_hidden = board["panels"][0]["panels"][0]["targets"][0]
    target_of_hidden["expr"] = "vector(1)"
    assert any("reads no metric" in found for found in problems_of(board))


@pytest.mark.parametrize("field", ["uid", "title"])
def test_two_dashboards_do_not_share_a_name(board: Json, field: str) -> None:
    """Grafana would keep one of them."""
    other = copy.deepcopy(board)
    other[{"uid": "title", "title": "uid"}[field]] = "another"
    assert any(f": {field} of 2 dashboards" in text for text in problems_of_all([board, other]))
