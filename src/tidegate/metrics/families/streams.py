"""The pace of answers."""

from __future__ import annotations

from tidegate.metrics.family import Family

TIME_TO_FIRST_TOKEN = Family(
    "tidegate_time_to_first_token_seconds",
    "histogram",
    "From the first byte of a request to the first event of its stream.",
    labels=("provider", "model"),
    buckets=(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 10.0, 20.0, 60.0),
    moves="at the first event of a stream",
)
INTER_TOKEN = Family(
    "tidegate_inter_token_seconds",
    "histogram",
    "Time between two pieces of a stream as they came from the provider.",
    labels=("provider", "model"),
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5),
    moves="at each later piece of a stream",
)
OUTPUT_RATE = Family(
    "tidegate_output_tokens_per_second",
    "histogram",
    "Output tokens of a whole answer for each second of its attempt, where the provider told "
    "them: from the request sent to the last byte.",
    labels=("provider", "model"),
    buckets=(1.0, 2.5, 5.0, 10.0, 20.0, 35.0, 50.0, 75.0, 100.0, 150.0, 250.0, 500.0, 1000.0),
    moves="at the end of a whole answer",
)
