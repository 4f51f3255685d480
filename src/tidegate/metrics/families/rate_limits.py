"""What the limiter decided."""

from __future__ import annotations

from tidegate.metrics.family import Family

ALLOWED = Family(
    "rate_limit_allowed_total",
    "counter",
    "Total number of requests allowed by rate limiter",
)
BLOCKED = Family(
    "rate_limit_blocked_total",
    "counter",
    "Total number of requests blocked by rate limiter",
)
DECISIONS = Family(
    "tidegate_rate_limit_decisions_total",
    "counter",
    "Decisions of each configured limit: allowed, blocked (429), shadow (would have been blocked), "
    "near (allowed with little left).",
    labels=("limit", "decision"),
    values={"decision": frozenset({"allowed", "blocked", "shadow", "near"})},
)
