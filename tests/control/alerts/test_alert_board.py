"""The control process judges the same series as Prometheus does, and remembers since when."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from tests.observability.alert_case import Case, CaseReadings, cases_of

from tidegate.control.alerts.board import Alert, AlertBoard
from tidegate.control.alerts.catalogue import ALERTS
from tidegate.control.alerts.conditions import Compare
from tidegate.control.alerts.expressions import Latest
from tidegate.control.alerts.rule import AlertRule
from tidegate.metrics.families.ledger import LEDGER_FOLD_LAG

LOCAL = {rule.name: rule for rule in ALERTS if rule.is_local}
Values = dict[tuple[str, ...], float]


def judged(rule: AlertRule, case: Case, instance: str) -> dict[float, list[Alert]]:
    """Return what fires at the time of each check, of one instance."""
    board, readings = AlertBoard([rule]), CaseReadings(case, instance)
    found = {}
    for step in range(case.length):
        readings.now_s = step * case.every_s
        active = board.evaluate(readings)
        found[readings.now_s] = [alert for alert in active if alert.state == "firing"]
    return {check.at_s: found[check.at_s] for check in case.checks}


@pytest.mark.parametrize("name", LOCAL)
def test_the_board_says_what_prometheus_says(name: str) -> None:
    """Each case that promtool has judged has the same verdict, labels and value here."""
    rule = LOCAL[name]
    for case in cases_of(name):
        if not case.local:
            continue
        by_instance = {one: judged(rule, case, one) for one in case.instances}
        for check in case.checks:
            fired = {
                (instance, *sorted(alert.labels.items())): alert.value
                for instance, alerts in by_instance.items()
                for alert in alerts[check.at_s]
            }
            wanted = {
                (
                    labels.get("instance", "a"),
                    *sorted((key, text) for key, text in labels.items() if key != "instance"),
                ): value
                for labels, value in check.firing
            }
            assert fired.keys() == wanted.keys(), (case.case, check.at_s)
            for key, value in wanted.items():
                assert value is None or fired[key] == pytest.approx(value), case.case


def test_only_what_nobody_inside_can_see_is_left_to_prometheus() -> None:
    """An instance that is gone cannot say so; everything else it can."""
    assert {rule.name for rule in ALERTS} - set(LOCAL) == {"TidegateDown"}


class Gauge:
    """Readings of one gauge; everything else has never been sampled."""

    def __init__(self) -> None:
        self.now_s = 1000.0
        self.lag_s: float | None = None
        self.watched = False

    def increase(self, family: str, window_s: float, match: Mapping[str, object] = {}, by=()):
        return {(): 0.0} if self.watched and family == "rate_limit_allowed_total" else {}

    def value(self, family: str, match: Mapping[str, object] = {}, by=()) -> Values:
        return {} if self.lag_s is None else {(): self.lag_s}

    def maximum(self, family: str, window_s: float, match: Mapping[str, object] = {}, by=()):
        return {}


RULE = AlertRule(
    "LedgerLate",
    "warning",
    30,
    "The ledger is late",
    "{{ $labels.instance }} is {{ $value | humanizeDuration }} late",
    "Look at its database.",
    Compare(Latest(LEDGER_FOLD_LAG), ">", 60),
)


def test_an_alert_is_pending_until_its_condition_has_held_for_its_time() -> None:
    """It keeps the time since when, and one good reading begins it anew."""
    board, readings = AlertBoard([RULE]), Gauge()
    seen = []
    for now_s, lag_s in ((1000, 61), (1029, 90), (1030, 90), (1031, 60), (1032, 90)):
        readings.now_s, readings.lag_s = now_s, lag_s
        seen.append([(one.state, one.since_ms) for one in board.evaluate(readings)])
    assert seen == [
        [("pending", 1_000_000)],
        [("pending", 1_000_000)],
        [("firing", 1_000_000)],
        [],
        [("pending", 1_032_000)],
    ]


def test_a_clock_that_is_set_back_makes_no_alert_older_nor_stuck() -> None:
    """The time since when is never after now, so the alert fires after its time."""
    board, readings = AlertBoard([RULE]), Gauge()
    readings.lag_s = 90.0
    board.evaluate(readings)
    readings.now_s = 500.0
    assert [one.since_ms for one in board.evaluate(readings)] == [500_000]
    readings.now_s = 530.0
    assert [one.state for one in board.evaluate(readings)] == ["firing"]


def test_states_tell_no_data_from_all_is_well() -> None:
    """A gauge that was never sampled is no good news."""
    board, readings = AlertBoard([RULE]), Gauge()
    states = []
    for now_s, lag_s in ((1000, None), (1001, 0.0), (1002, 61), (1040, 61), (1041, None)):
        readings.now_s, readings.lag_s = now_s, lag_s
        board.evaluate(readings)
        states.append(board.states()[0].state)
    assert states == ["no_data", "ok", "pending", "firing", "no_data"]


def test_events_that_never_happened_are_well_once_anything_was_sampled() -> None:
    """Their families have no series before the first event."""
    rule = LOCAL["TidegateModelUnpriced"]
    board, readings = AlertBoard([rule]), Gauge()
    board.evaluate(readings)
    assert board.states()[0].state == "no_data"
    readings.watched = True
    board.evaluate(readings)
    assert board.states()[0].state == "ok"


def test_texts_speak_of_this_instance() -> None:
    """Its address in somebody's Prometheus is not known here."""
    readings = Gauge()
    readings.lag_s = 125.0
    alert = AlertBoard([RULE]).evaluate(readings)[0]
    assert alert.summary == "This instance is 2m 5s late"
    assert alert.labels == {}


def test_the_most_urgent_stands_first() -> None:
    """What fires before what may, then by severity."""

    def rule(name: str, severity, for_s: float) -> AlertRule:
        return AlertRule(name, severity, for_s, "m", "s", "d", RULE.condition)

    rules = [
        rule("Info", "info", 0),
        rule("Later", "critical", 60),
        rule("Warning", "warning", 0),
        rule("Critical", "critical", 0),
    ]
    readings = Gauge()
    readings.lag_s = 90.0
    order = [alert.name for alert in AlertBoard(rules).evaluate(readings)]
    assert order == ["Critical", "Warning", "Info", "Later"]
