"""The pace of event streams."""

from __future__ import annotations

from tidegate.metrics.family import Family

TIME_TO_FIRST_TOKEN = Family(
    "tidegate_time_to_first_token_seconds",
    "histogram",
    "From the first byte of a request to the first event of its stream.",
    labels=("provider", "model"),
    buckets=(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 10.0, 20.0, 60.0),
)
INTER_TOKEN = Family(
    "tidegate_inter_token_seconds",
    "histogram",
    "Time between two pieces of a stream as they came from the provider.",
    labels=("provider", "model"),
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5),
)
