"""Service level objectives, and alerts on how fast their error budgets burn.

Two windows each: the long one says that enough of the budget is gone to matter, the short one
that it still goes. The factors are the usual ones for a budget of 30 days: 14.4 spends 2 % of it
in an hour, 6 spends 5 % in six, 3 spends 10 % in a day, 1 spends 10 % in three.

Windows over five minutes are sums of recorded five-minute rates, so that Prometheus need not read
three days of every series each minute. The control process keeps one day: there the window of
three days is one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tidegate.control.alerts.conditions import Both, Compare, Condition, Either
from tidegate.control.alerts.expressions import (
    Expression,
    Increase,
    Rate,
    Ratio,
    Recorded,
    ShareAbove,
    duration,
)
from tidegate.control.alerts.rule import AlertRule
from tidegate.metrics.families.requests import REQUEST_OUTCOMES
from tidegate.metrics.families.streams import TIME_TO_FIRST_TOKEN

#: What a client could not help. Its own mistakes, a provider's refusal of the request itself and
#: clients that left are neither success nor failure.
FAILED_REQUESTS = frozenset(
    {
        "internal_error",
        "ledger_full",
        "service_unavailable",
        "stream_cut",
        "upstream_error",
        "upstream_timeout",
    }
)
_SERVABLE_REQUESTS = FAILED_REQUESTS | {"ok"}

RECORD_EVERY_S = 60
"""How often the recording rules of objectives are evaluated; their sums count on it."""

_FLOOR = 50.0
"""Requests in a long window below which it tells nothing. Short windows need none of their own."""
_BASE_S = 300.0
_SHORT_S = frozenset({300.0, 1_800.0, 7_200.0})


@dataclass(frozen=True)
class Objectives:
    """What the service promises over 30 days.

    Attributes:
        availability: Share of the requests that succeed.
        first_token_s: How soon a stream should begin; a bound of the histogram's buckets.
        first_token: Share of the streams that begin so soon.
    """

    availability: float = 0.995
    first_token_s: float = 5.0
    first_token: float = 0.95

    def __post_init__(self) -> None:
        for share in (self.availability, self.first_token):
            # At less the fastest burn could never be reached: 14.4 times the budget is over 1.
            if not 1 - 1 / 14.4 < share < 1:
                raise ValueError(f"an objective is between 0.931 and 1, not {share:g}")
        if self.first_token_s not in TIME_TO_FIRST_TOKEN.buckets:
            bounds = ", ".join(f"{bound:g}" for bound in TIME_TO_FIRST_TOKEN.buckets)
            raise ValueError(f"first tokens are counted within {bounds} s")


@dataclass(frozen=True)
class _Indicator:
    """One objective's shares of failures by window.

    Attributes:
        name: Part of the recording rules' names.
        budget: Share that may fail.
        requests: What is judged, per second over five minutes, in PromQL.
        failures: What of it failed.
        meaning: The share of failures by window and floor (seconds, requests), for `Readings`.
    """

    name: str
    budget: float
    requests: str
    failures: str
    meaning: Callable[[float, float], Expression]

    @property
    def base(self) -> tuple[tuple[str, str], ...]:
        """The recording rules that all windows are sums of: name and definition."""
        requests, failures = self._stem("requests"), self._stem("failures")
        return (
            (requests, self.requests),
            # As long as nothing has failed there is no such series, but the share that fails is
            # known all the same: none.
            (failures, f"{self.failures}\nor 0 * {requests}"),
        )

    def share(self, window_s: float) -> Recorded:
        """Return the share of failures in a window."""
        window = duration(window_s)
        floor = 0.0 if window_s in _SHORT_S else _FLOOR
        failures, requests = self._stem("failures"), self._stem("requests")
        if window_s != _BASE_S:
            failures = f"sum_over_time({failures}[{window}])"
            requests = f"sum_over_time({requests}[{window}])"
        least = f"{floor:g} / {RECORD_EVERY_S}" if floor else "0"
        return Recorded(
            f"job:tidegate_{self.name}_failures:ratio_rate{window}",
            f"{failures}\n/ ({requests} > {least})",
            self.meaning(window_s, floor),
        )

    def burning(self, factor: float, long_s: float, short_s: float) -> Condition:
        """Return the condition that the budget burns *factor* times too fast in both windows."""
        return Both(
            Compare(self.share(long_s), ">", round(factor * self.budget, 9)),
            Compare(self.share(short_s), ">", round(factor * self.budget, 9)),
        )

    def fast(self) -> Condition:
        """Return the condition for waking somebody."""
        return Either(self.burning(14.4, 3_600, 300), self.burning(6, 21_600, 1_800))

    def slow(self) -> Condition:
        """Return the condition for a look in the day's course."""
        return Either(self.burning(3, 86_400, 7_200), self.burning(1, 259_200, 21_600))

    def _stem(self, what: str) -> str:
        return f"job:tidegate_{self.name}_{what}:rate{duration(_BASE_S)}"


def _availability(objectives: Objectives) -> _Indicator:
    def requests(outcomes: frozenset[str], window_s: float) -> Increase:
        return Increase(
            REQUEST_OUTCOMES, window_s=window_s, match={"outcome": outcomes}, scope="job"
        )

    def rate(outcomes: frozenset[str]) -> str:
        return Rate(
            REQUEST_OUTCOMES, window_s=_BASE_S, match={"outcome": outcomes}, scope="job"
        ).promql()

    return _Indicator(
        "availability",
        1 - objectives.availability,
        rate(_SERVABLE_REQUESTS),
        rate(FAILED_REQUESTS),
        lambda window_s, floor: Ratio(
            requests(FAILED_REQUESTS, window_s), requests(_SERVABLE_REQUESTS, window_s), floor
        ),
    )


def _first_token(objectives: Objectives) -> _Indicator:
    within = {"le": repr(objectives.first_token_s)}
    family = TIME_TO_FIRST_TOKEN
    streams = Rate(family, window_s=_BASE_S, scope="job", part="_count").promql()
    prompt = Rate(family, window_s=_BASE_S, scope="job", part="_bucket", match=within).promql()
    return _Indicator(
        "first_token",
        1 - objectives.first_token,
        streams,
        f"{streams}\n- {prompt}",
        lambda window_s, floor: ShareAbove(
            family, objectives.first_token_s, window_s, floor, scope="job"
        ),
    )


def _percent(share: float) -> str:
    return f"{share * 100:g} %"


_PACE = {
    "critical": "At this pace the error budget of 30 days is gone within five days.",
    "warning": "At this pace the error budget does not last its 30 days.",
}


def objective_records(objectives: Objectives) -> tuple[tuple[str, str], ...]:
    """Return the recording rules that others are sums of: name and definition."""
    return (*_availability(objectives).base, *_first_token(objectives).base)


def objective_rules(objectives: Objectives) -> tuple[AlertRule, ...]:
    """Return the alerts on *objectives*."""
    availability, first_token = _availability(objectives), _first_token(objectives)
    failing = (
        "{{ $value | humanizePercentage }} of the requests fail, "
        f"{_percent(objectives.availability)} should succeed"
    )
    slow = (
        "{{ $value | humanizePercentage }} of the streams take over "
        f"{objectives.first_token_s:g} s to begin, {_percent(objectives.first_token)} should not"
    )
    return (
        AlertRule(
            "TidegateAvailabilityBurnFast",
            "critical",
            120,
            "So many requests fail that the month's error budget goes in days",
            failing,
            _PACE["critical"],
            availability.fast(),
        ),
        AlertRule(
            "TidegateAvailabilityBurnSlow",
            "warning",
            900,
            "More requests fail than the month's error budget allows",
            failing,
            _PACE["warning"],
            availability.slow(),
        ),
        AlertRule(
            "TidegateFirstTokenBurnFast",
            "critical",
            120,
            "So many streams begin late that the month's error budget goes in days",
            slow,
            _PACE["critical"],
            first_token.fast(),
        ),
        AlertRule(
            "TidegateFirstTokenBurnSlow",
            "warning",
            900,
            "More streams begin late than the month's error budget allows",
            slow,
            _PACE["warning"],
            first_token.slow(),
        ),
    )
