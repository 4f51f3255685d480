"""Requests as clients see them."""

from __future__ import annotations

from tidegate.metrics.family import DURATION_BUCKETS, Family

_STATUSES = frozenset(str(status) for status in range(100, 600))

REQUESTS = Family(
    "tidegate_requests_total",
    "counter",
    "Requests answered, refused ones included. Status 499: the client left before there was one.",
    labels=("endpoint", "status"),
    values={"status": _STATUSES},
)
REQUEST_DURATION = Family(
    "tidegate_request_duration_seconds",
    "histogram",
    "From the first byte of a request to the last byte of its answer.",
    labels=("endpoint", "stream"),
    buckets=DURATION_BUCKETS,
    values={"stream": frozenset({"true", "false"})},
)
REQUESTS_IN_FLIGHT = Family(
    "tidegate_requests_in_flight",
    "gauge",
    "Requests being served now.",
)
OVERHEAD = Family(
    "tidegate_overhead_seconds",
    "histogram",
    "Time of a request that was not spent waiting for a provider.",
    labels=("endpoint",),
    buckets=(0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25),
)
