"""The instance itself: whether it answers, its workers, its configuration, its telemetry."""

from __future__ import annotations

from tidegate.control.alerts.conditions import Compare, OnlyPrometheus
from tidegate.control.alerts.expressions import (
    Events,
    Highest,
    Increase,
    Latest,
    Rate,
    Ratio,
    ShareAbove,
)
from tidegate.control.alerts.rule import AlertRule
from tidegate.control.alerts.rules.objectives import FAILED_REQUESTS
from tidegate.metrics.families.configuration import CONFIG_LAST_RELOAD
from tidegate.metrics.families.control import CONTROL_RESTARTS
from tidegate.metrics.families.event_loop import EVENT_LOOP_LAG
from tidegate.metrics.families.requests import REQUEST_OUTCOMES
from tidegate.metrics.families.series import SERIES_DROPPED
from tidegate.metrics.families.telemetry import TELEMETRY_DROPPED
from tidegate.metrics.families.workers import WORKER_MAX_FDS, WORKER_OPEN_FDS, WORKER_RESTARTS

JOB = "llm_gateway"

INSTANCE_RULES = (
    AlertRule(
        "TidegateDown",
        "critical",
        60,
        "An instance does not answer its scrapes",
        "{{ $labels.instance }} does not answer its scrapes",
        "The process is gone, does not listen, or refuses the scraper.",
        OnlyPrometheus(f'up{{job="{JOB}"}} == 0'),
    ),
    AlertRule(
        "TidegateSuccessRateLow",
        "warning",
        300,
        "An instance fails more than a tenth of the requests that it could have served",
        "{{ $labels.instance }} fails {{ $value | humanizePercentage }} of its requests",
        "Requests that clients got wrong are not in it. tidegate_request_outcomes_total says how "
        "they fail.",
        Compare(
            Ratio(
                Rate(REQUEST_OUTCOMES, window_s=300, match={"outcome": FAILED_REQUESTS}),
                Rate(REQUEST_OUTCOMES, window_s=300, match={"outcome": FAILED_REQUESTS | {"ok"}}),
                floor=0.1,
            ),
            ">",
            0.1,
        ),
    ),
    AlertRule(
        "TidegateWorkersRestarting",
        "warning",
        60,
        "Workers died more than three times in 15 minutes",
        "Workers of {{ $labels.instance }} keep dying ({{ $labels.reason }})",
        "No counts are lost, but requests in flight are. The supervisor's log says why.",
        # Over three: Prometheus' increase of three restarts may come out as 3.2.
        Compare(Increase(WORKER_RESTARTS, window_s=900, by=("reason",)), ">", 3.5),
    ),
    AlertRule(
        "TidegateControlRestarting",
        "warning",
        60,
        "The control process died more than three times in 15 minutes",
        "The control process of {{ $labels.instance }} keeps dying",
        "Requests go on. Meanwhile the ledger's database gets nothing, keys do not change, and the "
        "ledger's own gauges say zero, as nobody measures.",
        Compare(Increase(CONTROL_RESTARTS, window_s=900), ">", 3.5),
    ),
    AlertRule(
        "TidegateEventLoopLagging",
        "warning",
        600,
        "More than a twentieth of the timers run over 100 ms late",
        "Timers of {{ $labels.instance }} run late: {{ $value | humanizePercentage }} of them by "
        "over 100 ms",
        "The processes do not get the CPU they need, or something blocks their loops. Every "
        "request waits that long.",
        Compare(ShareAbove(EVENT_LOOP_LAG, 0.1, window_s=300), ">", 0.05),
    ),
    AlertRule(
        "TidegateFileDescriptorsLow",
        "warning",
        0,
        "A worker uses more than 80 % of its file descriptors",
        "Worker {{ $labels.worker }} of {{ $labels.instance }} uses "
        "{{ $value | humanizePercentage }} of its file descriptors",
        "Without a free one it can take no connection and open none to a provider.",
        Compare(
            Ratio(
                Highest(WORKER_OPEN_FDS, window_s=60, by=("worker",)),
                Latest(WORKER_MAX_FDS, by=("worker",)),
            ),
            ">",
            0.8,
        ),
    ),
    AlertRule(
        "TidegateConfigReloadFailed",
        "warning",
        60,
        "The newest configuration was refused",
        "{{ $labels.instance }} refused its newest configuration and goes on with the old one",
        "What is written is not what is in force, and a restart would find it.",
        Compare(Latest(CONFIG_LAST_RELOAD), "==", 0),
    ),
    AlertRule(
        "TidegateSeriesDropped",
        "warning",
        60,
        "A metric has as many series as it may have",
        "{{ $labels.family }} has as many series as it may have",
        "Further label values are counted as `other`. Configure fewer models, or raise "
        "metrics.max_series_per_family.",
        Compare(Events(SERIES_DROPPED, window_s=900, by=("family",)), ">", 0),
    ),
    AlertRule(
        "TidegateTelemetryDropped",
        "info",
        60,
        "Log lines, spans or exports are lost",
        "{{ $labels.instance }} lost {{ $value | humanize }} items of telemetry "
        "({{ $labels.kind }}) in 15 minutes",
        "Whatever reads them stands still or is too slow. Requests and counters are not touched.",
        Compare(Events(TELEMETRY_DROPPED, window_s=900, by=("kind",)), ">", 0),
    ),
)
