"""Every expression that is shipped: of dashboards, recording rules and alerts."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import promql_parser as ast
import yaml
from scripts.dashboards.files import DASHBOARDS, rule_files
from scripts.dashboards.lint import panels_of
from scripts.dashboards.promql import nodes, substituted

_SET_OPERATORS = {"and", "or", "unless"}
_COMPARISONS = {">", "<", ">=", "<=", "==", "!="}
#: What `Expression.or_zero` adds. It must not hide that nothing was measured.
_ZERO = re.compile(
    r' or on \(\) (?:vector\(0\)|label_replace\(vector\(0\), "\w+", "none", "", ""\))'
)
_OFFSET = re.compile(r" offset \d+[smhd]")


@dataclass(frozen=True)
class PanelQuery:
    """One query of a panel.

    Attributes:
        panel: Dashboard and title.
        text: The expression with Grafana's variables in it.
        no_value: What the panel says while there is no value.
    """

    panel: str
    text: str
    no_value: str

    def ready(self, values: dict[str, str]) -> str:
        """Return what Grafana would ask."""
        return substituted(self.text, values)

    def measured(self, values: dict[str, str]) -> str:
        """Return the same without the zeros that stand for what was never counted."""
        return _ZERO.sub("", self.ready(values))


def dashboards() -> list[tuple[Path, dict[str, Any]]]:
    """Return the shipped dashboards."""
    return [(path, json.loads(path.read_text())) for path in sorted(DASHBOARDS.glob("*.json"))]


def panel_queries() -> list[PanelQuery]:
    """Return all queries of all panels."""
    return [
        PanelQuery(
            f"{board['title']}: {panel['title']}",
            target["expr"],
            panel["fieldConfig"]["defaults"]["noValue"],
        )
        for _, board in dashboards()
        for panel in panels_of(board)
        for target in panel.get("targets", [])
    ]


def annotation_expressions() -> list[str]:
    """Return what marks events on the dashboards; shown only while something happens."""
    return [
        annotation["expr"]
        for _, board in dashboards()
        for annotation in board["annotations"]["list"]
    ]


def shipped_rules(kind: str) -> dict[str, str]:
    """Return expressions by name; *kind* is `record` or `alert`."""
    groups = [
        group for path in rule_files() for group in yaml.safe_load(path.read_text())["groups"]
    ]
    return {rule[kind]: rule["expr"] for group in groups for rule in group["rules"] if kind in rule}


def readings(expression: str) -> list[str]:
    """Return what an alert looks at: its parts without thresholds and conditions on each other.

    An alert that does not fire has no value. Its parts have, down to those that are selectors or
    functions of them alone; where it looks into the past by an offset, the present is read.
    """
    tree = ast.parse(_OFFSET.sub("", substituted(expression)))
    return list(dict.fromkeys(_readings(tree)))


def _readings(tree: ast.Expr) -> list[str]:
    if not any(_is_condition(node) for node in nodes(tree)):
        reads = any(
            isinstance(node, ast.VectorSelector | ast.MatrixSelector) for node in nodes(tree)
        )
        return [str(tree)] if reads else []
    if isinstance(tree, ast.BinaryExpr):
        return [*_readings(tree.lhs), *_readings(tree.rhs)]
    if isinstance(tree, ast.AggregateExpr | ast.ParenExpr | ast.UnaryExpr | ast.SubqueryExpr):
        return _readings(tree.expr)
    assert isinstance(tree, ast.Call), tree
    return [text for argument in tree.args for text in _readings(argument)]


def _is_condition(node: ast.Expr) -> bool:
    return isinstance(node, ast.BinaryExpr) and str(node.op) in _SET_OPERATORS | _COMPARISONS
