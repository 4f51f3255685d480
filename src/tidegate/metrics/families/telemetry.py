"""What was to be told and was not: telemetry gives way before a request does."""

from __future__ import annotations

from tidegate.metrics.family import Family

TELEMETRY_DROPPED = Family(
    "tidegate_telemetry_dropped_total",
    "counter",
    "Telemetry lost because its reader did not keep up: lines of the access log, lines of the "
    "event log, spans, exports of metrics.",
    labels=("kind",),
    values={"kind": frozenset({"access_log", "log", "span", "metric"})},
    moves="each second, while a reader stands still",
)
