"""Tokens and money."""

from __future__ import annotations

from tidegate.metrics.family import Family

TOKENS = Family(
    "tidegate_tokens_total",
    "counter",
    "Tokens by type; cached_input and cache_write are parts of input, reasoning of output.",
    labels=("provider", "model", "type"),
    values={
        "type": frozenset({"input", "output", "cached_input", "cache_write", "reasoning"}),
    },
    moves="at the end of an attempt",
)
COST = Family(
    "tidegate_cost_usd_total",
    "counter",
    "Cost of settled attempts at the prices in force, in US dollars.",
    labels=("provider", "model"),
    moves="at the end of an attempt",
)
USAGE_SOURCE = Family(
    "tidegate_usage_source_total",
    "counter",
    "Where the token counts of an attempt come from: the provider, our estimate, a cut stream's "
    "part, or nowhere.",
    labels=("source",),
    values={"source": frozenset({"provider", "estimated", "partial", "none"})},
    moves="at the end of an attempt",
)
UNPRICED = Family(
    "tidegate_unpriced_requests_total",
    "counter",
    "Attempts with known tokens whose model has no known price; their cost is missing above.",
    labels=("provider", "model"),
    moves="at the end of an attempt",
)
