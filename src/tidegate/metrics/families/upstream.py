"""Attempts at providers."""

from __future__ import annotations

from tidegate.metrics.family import DURATION_BUCKETS, Family

_FAILURES = frozenset(
    {"http_429", "http_4xx", "http_5xx", "timeout", "connect", "protocol", "cut", "error_event"}
)
#: Why another target is asked: a failed attempt, or none was made (`unsupported`: the target's
#: dialect cannot express the request).
_REASONS = _FAILURES | {"unsupported"}

UPSTREAM_REQUESTS = Family(
    "tidegate_upstream_requests_total",
    "counter",
    "Attempts at a provider by how they ended: ok, the class of a status that is not an answer, "
    "timeout, connect (TLS and no free connection included), protocol, cut, error_event (in the "
    "stream), cancelled (client left).",
    labels=("provider", "model", "outcome"),
    values={"outcome": _FAILURES | {"ok", "cancelled"}},
    moves="at the end of an attempt",
)
UPSTREAM_DURATION = Family(
    "tidegate_upstream_duration_seconds",
    "histogram",
    "Length of an attempt at a provider, to the last byte of its answer.",
    labels=("provider", "model"),
    buckets=DURATION_BUCKETS,
    moves="at the end of an attempt",
)
UPSTREAM_RETRIES = Family(
    "tidegate_upstream_retries_total",
    "counter",
    "Further attempts after one that failed before its first byte reached the client.",
    labels=("provider", "reason"),
    values={"reason": _REASONS},
    moves="before a further attempt",
)
FALLBACKS = Family(
    "tidegate_fallbacks_total",
    "counter",
    "Requests that went on to a fallback model, by that model and by why the one before failed.",
    labels=("model", "reason"),
    values={"reason": _REASONS},
    moves="before the fallback is tried",
)
UPSTREAM_CONNECTIONS = Family(
    "tidegate_upstream_connections",
    "gauge",
    "Connections open to a provider.",
    labels=("provider", "state"),
    values={"state": frozenset({"active", "idle"})},
    moves="each second",
)
