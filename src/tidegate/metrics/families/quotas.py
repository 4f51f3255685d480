"""What providers say is left of their own limits on us."""

from __future__ import annotations

from tidegate.metrics.family import Family

_KINDS = {"kind": frozenset({"requests", "tokens", "input_tokens", "output_tokens"})}

QUOTA_REMAINING = Family(
    "tidegate_upstream_rate_limit_remaining",
    "gauge",
    "What the provider said last is left of its own limit on us; shown for two minutes.",
    labels=("provider", "model", "kind"),
    values=_KINDS,
    moves="at an answer with such headers, four times a second at most",
    merge="latest",
    computed=True,
)
QUOTA_LIMIT = Family(
    "tidegate_upstream_rate_limit_max",
    "gauge",
    "The provider's own limit on us as it said last; shown for two minutes.",
    labels=("provider", "model", "kind"),
    values=_KINDS,
    moves="at an answer with such headers, four times a second at most",
    merge="latest",
    computed=True,
)
