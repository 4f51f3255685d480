"""A real Prometheus over a real gateway: every shipped expression has something to say."""

from __future__ import annotations

import math

import pytest
from tests.observability.conftest import Observed
from tests.observability.shipped_expressions import (
    annotation_expressions,
    panel_queries,
    readings,
    shipped_rules,
)

pytestmark = [pytest.mark.external, pytest.mark.process]


def is_data(values: list[float]) -> bool:
    """Whether Grafana has something to draw."""
    return bool(values) and not any(math.isnan(value) for value in values)


def test_traffic_was_of_every_kind(observed: Observed) -> None:
    """What follows would mean little if the requests had all ended alike."""
    assert set(observed.statuses) >= {200, 400, 401, 404, 429, 502}
    total = observed.prometheus.query
    for expression in (
        "rate_limit_blocked_total",
        "sum(tidegate_cost_usd_total)",
        "sum(tidegate_unpriced_requests_total)",
        'sum(tidegate_request_outcomes_total{outcome="stream_cut"})',
        'sum(tidegate_client_disconnects_total{phase="answer"})',
        "sum(tidegate_upstream_retries_total)",
        "sum(tidegate_fallbacks_total)",
        "sum(tidegate_wasted_cost_usd_total)",
        "sum(tidegate_metrics_series_dropped_total)",
    ):
        (value,) = total(expression)
        assert value > 0, expression


def test_every_query_of_every_dashboard_has_data(observed: Observed) -> None:
    """Zeros that stand in for what was never counted do not count."""
    queries = panel_queries()
    assert len(queries) > 90
    empty = [
        f"{query.panel}: {query.text}"
        for query in queries
        if not is_data(observed.prometheus.query(query.measured(observed.values)))
    ]
    assert not empty


def test_an_idle_gateway_shows_no_panel_as_broken(observed: Observed) -> None:
    """Before the first request a panel has a value, or says in its own words why it has none."""
    for query in panel_queries():
        values = observed.idle[query.text]
        assert not any(math.isnan(value) for value in values), query
        assert values or query.no_value not in ("", "No data"), query
    empty = {query.panel for query in panel_queries() if not observed.idle[query.text]}
    # Quantiles of nothing, quotas that nobody told and names that are switched off.
    words = ("Duration", "first token", "Added by", "Length", "Between", "Output tokens")
    words += ("Left of", "by key", "Time of a write")
    assert not {panel for panel in empty if not any(word in panel for word in words)}


def test_every_recording_rule_has_values(observed: Observed) -> None:
    """Each is evaluated without an error and has a series without NaN."""
    names = shipped_rules("record")
    assert len(names) > 3
    prometheus = observed.prometheus
    for name in names:
        prometheus.wait(lambda name=name: bool(prometheus.query(name)), name)  # type: ignore[misc]
        assert is_data(prometheus.query(name)), name


def test_every_alert_is_evaluated_and_reads_something(observed: Observed) -> None:
    """An alert that is silent has no value; what it reads has, or it could never fire."""
    prometheus = observed.prometheus
    alerts = shipped_rules("alert")
    assert len(alerts) > 5
    unread = {
        name: reading
        for name, expression in alerts.items()
        for reading in readings(expression)
        if not is_data(prometheus.query(reading))
    }
    assert not unread
    for expression in alerts.values():
        prometheus.query(expression)


def test_every_annotation_is_evaluated_and_reads_something(observed: Observed) -> None:
    """A mark is drawn only when something happens; its series are there before."""
    expressions = annotation_expressions()
    assert expressions
    for expression in expressions:
        for reading in readings(expression):
            ready = reading
            for name, value in observed.values.items():
                ready = ready.replace(f"${name}", value)
            assert is_data(observed.prometheus.query(ready)), expression


def test_prometheus_finds_nothing_wrong_with_its_rules(observed: Observed) -> None:
    """All shipped rules are loaded, evaluated and healthy."""
    prometheus = observed.prometheus
    prometheus.wait(lambda: all(r["health"] != "unknown" for r in prometheus.rules()), "rules run")
    rules = prometheus.rules()
    assert {rule["name"] for rule in rules} == {*shipped_rules("record"), *shipped_rules("alert")}
    assert [rule for rule in rules if rule["health"] != "ok"] == []
