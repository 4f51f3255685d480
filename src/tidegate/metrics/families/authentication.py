"""Requests without a valid key."""

from __future__ import annotations

from tidegate.metrics.family import Family

AUTH_FAILURES = Family(
    "tidegate_auth_failures_total",
    "counter",
    "Requests answered 401, by what was wrong with their key (metrics: with the page's token), "
    "and 403 for the page's address rule (metrics_network).",
    labels=("reason",),
    values={
        "reason": frozenset(
            {
                "missing",
                "malformed",
                "ambiguous",
                "unknown",
                "expired",
                "revoked",
                "throttled",
                "metrics",
                "metrics_network",
            }
        ),
    },
    moves="before a 401, or a 403 of the page, leaves",
)
