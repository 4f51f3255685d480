"""What every dashboard must have. A problem is `dashboard: panel: what is wrong`."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

import promql_parser as ast
from scripts.dashboards.promql import nodes, parsed, selectors, variables

from tidegate.metrics.families import declared
from tidegate.metrics.family import Family

Json = Mapping[str, Any]

SOURCE = "${datasource}"
GRID_WIDTH = 24
_BUILT_IN = {"__rate_interval", "__range", "__interval"}
_TARGET_LABELS = {"job", "instance"}
_RANGES = {"$__rate_interval", "$__range"}
_RANGE = re.compile(r"\[([^\]]*)\]")
_UID = re.compile(r"[a-z0-9-]{1,40}")


def problems_of_all(dashboards: list[Json]) -> list[str]:
    """Return the problems of each dashboard and of them together."""
    problems = [problem for dashboard in dashboards for problem in problems_of(dashboard)]
    for field in ("uid", "title"):
        counts = Counter(dashboard.get(field) for dashboard in dashboards)
        problems += [f"{value}: {field} of {n} dashboards" for value, n in counts.items() if n > 1]
    return problems


def problems_of(dashboard: Json) -> list[str]:
    """Return what is wrong with one dashboard; nothing if all is well."""
    name = dashboard.get("uid") or dashboard.get("title") or "?"
    problems = [*_whole(dashboard), *_variables(dashboard), *_annotations(dashboard)]
    panels = list(panels_of(dashboard))
    counts = Counter(panel.get("id") for panel in panels)
    problems += [f"id {number} of {n} panels" for number, n in counts.items() if n > 1]
    problems += _overlaps(panels)
    for panel in panels:
        found = [] if panel.get("type") == "row" else [*_panel(panel), *_targets(dashboard, panel)]
        title = panel.get("title") or f"panel {panel.get('id')}"
        problems += [f"{title}: {problem}" for problem in found]
    return [f"{name}: {problem}" for problem in problems]


def panels_of(dashboard: Json) -> Iterator[Json]:
    """Yield all panels, those in collapsed rows too."""
    for panel in dashboard.get("panels", []):
        yield panel
        yield from panel.get("panels", [])


def _whole(dashboard: Json) -> Iterator[str]:
    if not _UID.fullmatch(dashboard.get("uid") or ""):
        yield "no uid of small letters, digits and dashes"
    for field in ("title", "description", "tags"):
        if not dashboard.get(field):
            yield f"no {field}"
    links = [link for link in dashboard.get("links", []) if link.get("type") == "dashboards"]
    if not links:
        yield "no link to the other dashboards"
    for link in links:
        if not (link.get("includeVars") and link.get("keepTime")):
            yield "a link forgets the time or the variables"
        if not set(link.get("tags", [])) & set(dashboard.get("tags") or ()):
            yield "a link by a tag that the dashboard itself lacks"


def _variables(dashboard: Json) -> Iterator[str]:
    found = {
        variable["name"]: variable for variable in dashboard.get("templating", {}).get("list", [])
    }
    if found.get("datasource", {}).get("type") != "datasource":
        yield "no variable for the data source"
    for name in sorted(_TARGET_LABELS - set(found)):
        yield f"no variable {name}"
    for name, variable in found.items():
        if variable.get("type") != "query":
            continue
        if variable.get("datasource", {}).get("uid") != SOURCE:
            yield f"variable {name} asks a fixed data source"
        query = re.fullmatch(r"label_values\((.+), (\w+)\)", str(variable.get("query")))
        if query is None:
            yield f"variable {name} is not label_values(series, label)"
        else:
            yield from (
                f"variable {name}: {text}"
                for text in _expression(query[1], set(found), scoped=False)
            )


def _annotations(dashboard: Json) -> Iterator[str]:
    names = {variable["name"] for variable in dashboard.get("templating", {}).get("list", [])}
    for annotation in dashboard.get("annotations", {}).get("list", []):
        if annotation.get("datasource", {}).get("uid") != SOURCE:
            yield f"annotation {annotation.get('name')}: a fixed data source"
        for problem in _query(annotation.get("expr", ""), names):
            yield f"annotation {annotation.get('name')}: {problem}"


def _panel(panel: Json) -> Iterator[str]:
    defaults = panel.get("fieldConfig", {}).get("defaults", {})
    for field in ("title", "description"):
        if not panel.get(field):
            yield f"no {field}"
    if not defaults.get("unit"):
        yield "no unit"
    if not defaults.get("noValue"):
        yield "nothing to show instead of No data"
    if panel.get("datasource", {}).get("uid") != SOURCE:
        yield "a fixed data source"
    if panel.get("type") == "stat" and not defaults.get("thresholds", {}).get("steps"):
        yield "a tile without thresholds"
    if panel.get("type") == "timeseries":
        legend = panel.get("options", {}).get("legend", {})
        if not legend.get("showLegend"):
            yield "no legend"


def _targets(dashboard: Json, panel: Json) -> Iterator[str]:
    targets = panel.get("targets") or []
    if not targets:
        yield "no query"
    names = {variable["name"] for variable in dashboard.get("templating", {}).get("list", [])}
    counts = Counter(target.get("refId") for target in targets)
    yield from (f"query {ref} stands {n} times" for ref, n in counts.items() if n > 1)
    for target in targets:
        ref = target.get("refId") or "?"
        if not target.get("legendFormat"):
            yield f"query {ref}: no legend"
        if target.get("datasource", {}).get("uid", SOURCE) != SOURCE:
            yield f"query {ref}: a fixed data source"
        yield from (f"query {ref}: {text}" for text in _query(target.get("expr", ""), names))
        yield from (f"query {ref}: {text}" for text in _legend_labels(target))


def _query(expression: str, names: set[str]) -> Iterator[str]:
    """Yield the problems of an expression that runs over a time that the reader chooses."""
    for text in _RANGE.findall(expression):
        if text not in _RANGES:
            yield f"a fixed range, [{text}]"
    yield from _expression(expression, names, scoped=True)


def _expression(expression: str, names: set[str], *, scoped: bool) -> Iterator[str]:
    """Yield problems of an expression; a scoped one looks at the chosen instances alone."""
    for name in sorted(variables(expression) - names - _BUILT_IN):
        yield f"a variable that is not there, ${name}"
    try:
        tree = parsed(expression)
    except ValueError as error:
        yield f"not PromQL: {error}"
        return
    found = selectors(tree)
    if not found:
        yield "reads no metric"
    for selector in found:
        yield from _selector(selector, scoped=scoped)
    yield from _rates(tree)
    yield from _labels_by(tree)


def _selector(selector: ast.VectorSelector, *, scoped: bool) -> Iterator[str]:
    family = family_of(selector.name or "")
    if family is None:
        yield f"no metric {selector.name}"
        return
    matchers = {matcher.name: matcher for matcher in selector.matchers.matchers}
    for label in sorted(set(matchers) - set(family.labels) - _TARGET_LABELS):
        yield f"{family.name} has no label {label}"
    for label in sorted(_TARGET_LABELS):
        if label not in matchers:
            if scoped:
                yield f"{family.name} of every {label}"
        elif matchers[label].value != f"${label}":
            yield f"{family.name} of a fixed {label}, {matchers[label].value}"


def _rates(tree: ast.Expr) -> Iterator[str]:
    for node in nodes(tree):
        if not isinstance(node, ast.Call) or node.func.name not in ("rate", "increase", "irate"):
            continue
        for selector in selectors(node):
            family = family_of(selector.name or "")
            if family is not None and family.kind == "gauge":
                yield f"{node.func.name} of {family.name}, a gauge"


def _labels_by(tree: ast.Expr) -> Iterator[str]:
    for node in nodes(tree):
        if not isinstance(node, ast.AggregateExpr) or node.modifier is None:
            continue
        known = set(_TARGET_LABELS)
        for selector in selectors(node):
            family = family_of(selector.name or "")
            if family is not None:
                known |= {*family.labels, *(("le",) if family.kind == "histogram" else ())}
        for label in node.modifier.labels:
            if label not in known:
                yield f"by {label}, which none of its metrics has"


def _legend_labels(target: Json) -> Iterator[str]:
    """Yield labels of a legend that the query's series do not have."""
    shown = set(re.findall(r"\{\{(\w+)\}\}", target.get("legendFormat") or ""))
    kept = set(re.findall(r"\w+", " ".join(re.findall(r"by \(([^)]*)\)", target.get("expr", "")))))
    for label in sorted(shown - kept):
        yield f"the legend shows {label}, which the query adds up"


def _overlaps(panels: list[Json]) -> Iterator[str]:
    taken: dict[tuple[int, int], str] = {}
    for panel in panels:
        place = panel.get("gridPos", {})
        x, y, w, h = (place.get(key, 0) for key in ("x", "y", "w", "h"))
        if not w or not h or x + w > GRID_WIDTH:
            yield f"{panel.get('title')}: not on the page"
            continue
        title = str(panel.get("title"))
        others = {
            taken.setdefault((column, line), title)
            for column in range(x, x + w)
            for line in range(y, y + h)
        } - {title}
        yield from (f"{title}: over {other}" for other in sorted(others))


def family_of(name: str) -> Family | None:
    """Return the family that a series of this name belongs to; None if there is none."""
    for family in declared():
        ends = ("_bucket", "_count", "_sum") if family.kind == "histogram" else ("",)
        if name in {family.name + end for end in ends}:
            return family
    return None
