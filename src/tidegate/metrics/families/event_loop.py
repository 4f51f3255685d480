"""How promptly the loops turn."""

from __future__ import annotations

from tidegate.metrics.family import Family

EVENT_LOOP_LAG = Family(
    "tidegate_event_loop_lag_seconds",
    "histogram",
    "How late a regular timer of a process's loop ran.",
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0),
    moves="four times a second in each process",
)
