"""What the limiter decided."""

from __future__ import annotations

from tidegate.metrics.family import Family

ALLOWED = Family(
    "rate_limit_allowed_total",
    "counter",
    "Total number of requests allowed by rate limiter",
    moves="when a request has passed all its limits",
)
BLOCKED = Family(
    "rate_limit_blocked_total",
    "counter",
    "Total number of requests blocked by rate limiter",
    moves="before our 429 leaves",
)
DECISIONS = Family(
    "tidegate_rate_limit_decisions_total",
    "counter",
    "Decisions of each configured limit: allowed, blocked (429), shadow (would have been blocked), "
    "near (allowed with little left).",
    labels=("limit", "decision"),
    values={"decision": frozenset({"allowed", "blocked", "shadow", "near"})},
    moves="at each decision, once for each limit that took part",
)
TABLE_USED = Family(
    "tidegate_rate_limit_table_used_ratio",
    "gauge",
    "Share of the limiter's table that holds a subject with less than its whole burst left; "
    "above 0.6 a larger table is needed.",
    merge="max",
    moves="each time the limiter is saved, every few seconds",
)
TABLE_FULL = Family(
    "tidegate_rate_limit_table_full_total",
    "counter",
    "Subjects that found no room in the limiter's table (limits per address let them pass, "
    "others refuse).",
    moves="each second",
)
