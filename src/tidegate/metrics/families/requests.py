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
    moves="before the answer's last byte leaves",
)
MODEL_REQUESTS = Family(
    "tidegate_model_requests_total",
    "counter",
    "Requests by the configured model that clients asked for: ok, failed (no target or fallback "
    "brought a whole answer), other (the client left, or was refused for its own sake).",
    labels=("model", "outcome"),
    values={"outcome": frozenset({"ok", "failed", "other"})},
    moves="before the answer's last byte leaves",
)
REQUEST_OUTCOMES = Family(
    "tidegate_request_outcomes_total",
    "counter",
    "Requests by how they ended: ok, client_gone, or the code of the error that the client was "
    "told (other: its body broke a rule of the HTTP server). A stream that was cut has status "
    "200 in tidegate_requests_total and outcome stream_cut here.",
    labels=("endpoint", "stream", "outcome"),
    values={
        "stream": frozenset({"true", "false"}),
        "outcome": frozenset(
            {
                "ok",
                "client_gone",
                "stream_cut",
                "body_too_large",
                "internal_error",
                "invalid_api_key",
                "invalid_request",
                "ledger_full",
                "method_not_allowed",
                "model_not_found",
                "not_found",
                "permission_denied",
                "previous_response_not_found",
                "rate_limit_exceeded",
                "request_timeout",
                "request_too_large",
                "service_unavailable",
                "unsupported_by_model",
                "upstream_error",
                "upstream_refused",
                "upstream_timeout",
            }
        ),
    },
    moves="before the answer's last byte leaves",
)
REQUEST_DURATION = Family(
    "tidegate_request_duration_seconds",
    "histogram",
    "From the first byte of a request to the last byte of its answer.",
    labels=("endpoint", "stream"),
    buckets=DURATION_BUCKETS,
    values={"stream": frozenset({"true", "false"})},
    moves="before the answer's last byte leaves",
)
REQUESTS_IN_FLIGHT = Family(
    "tidegate_requests_in_flight",
    "gauge",
    "Requests being served now.",
    moves="at the beginning and the end of a request",
)
OVERHEAD = Family(
    "tidegate_overhead_seconds",
    "histogram",
    "Time of a request that was not spent waiting for a provider.",
    labels=("endpoint",),
    buckets=(0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25),
    moves="before the answer's last byte leaves, if a provider was asked",
)
