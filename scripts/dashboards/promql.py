"""Reading PromQL that has Grafana's variables in it."""

from __future__ import annotations

import re
from collections.abc import Mapping

import promql_parser as ast

#: Variables that stand where only a duration may, with one that stands for each.
DURATIONS: Mapping[str, str] = {"__rate_interval": "1m", "__range": "1h", "__interval": "15s"}
_VARIABLE = re.compile(r"\$(?:\{(\w+)(?::\w+)?\}|(\w+))")


def variables(expression: str) -> set[str]:
    """Return the names of Grafana's variables in an expression."""
    return {braced or plain for braced, plain in _VARIABLE.findall(expression)}


def substituted(expression: str, values: Mapping[str, str] = DURATIONS) -> str:
    """Return an expression with values for its variables; those without one stay."""
    return _VARIABLE.sub(lambda match: values.get(match[1] or match[2], match[0]), expression)


def parsed(expression: str) -> ast.Expr:
    """Return the tree of an expression.

    Raises:
        ValueError: It is not PromQL.
    """
    return ast.parse(substituted(expression))


def nodes(tree: ast.Expr) -> list[ast.Expr]:
    """Return a parsed expression and everything in it, outermost first."""
    found: list[ast.Expr] = []

    def note(node: ast.Expr) -> bool:
        found.append(node)
        return True

    ast.walk(tree, pre_visit=note)
    return found


def selectors(tree: ast.Expr) -> list[ast.VectorSelector]:
    """Return the selectors of series in a parsed expression."""
    found = []
    for node in nodes(tree):
        if isinstance(node, ast.MatrixSelector):
            found.append(node.vector_selector)
        elif isinstance(node, ast.VectorSelector):
            found.append(node)
    return found
