"""Tokens and money for answers that nobody got whole."""

from __future__ import annotations

from tidegate.metrics.family import Family

_CAUSES = {"cause": frozenset({"disconnect", "retry", "fallback", "cut"})}

WASTED_TOKENS = Family(
    "tidegate_wasted_tokens_total",
    "counter",
    "Tokens of attempts whose answer no client got whole: the client left, another attempt or "
    "a fallback model followed, or the answer was cut or failed in the end. Where the provider "
    "told nothing and nothing was delivered, an estimate of the input.",
    labels=("provider", "model", "cause"),
    values=_CAUSES,
    moves="when what follows the attempt is known",
)
WASTED_COST = Family(
    "tidegate_wasted_cost_usd_total",
    "counter",
    "Cost of the tokens above at the prices in force, in US dollars.",
    labels=("provider", "model", "cause"),
    values=_CAUSES,
    moves="when what follows the attempt is known",
)
