"""Who uses how much: shown only for the labels that `metrics.identity_labels` names.

A label that is not configured stays empty, which to Prometheus is the same as not there. The
core families keep their label sets whatever is configured.
"""

from __future__ import annotations

from tidegate.metrics.family import Family

KEY_REQUESTS = Family(
    "tidegate_key_requests_total",
    "counter",
    "Requests with a valid key, by its name and team (see `metrics.identity_labels`).",
    labels=("key", "team", "status_class"),
    values={"status_class": frozenset({"2xx", "3xx", "4xx", "5xx"})},
    moves="before the answer's last byte leaves, if configured",
)
KEY_TOKENS = Family(
    "tidegate_key_tokens_total",
    "counter",
    "Tokens of a key or team by type; cached_input and cache_write are parts of input, "
    "reasoning of output.",
    labels=("key", "team", "type"),
    values={
        "type": frozenset({"input", "output", "cached_input", "cache_write", "reasoning"}),
    },
    moves="at the end of an attempt, if configured",
)
KEY_COST = Family(
    "tidegate_key_cost_usd_total",
    "counter",
    "Cost of a key's or team's attempts at the prices in force, in US dollars.",
    labels=("key", "team"),
    moves="at the end of an attempt, if configured",
)
