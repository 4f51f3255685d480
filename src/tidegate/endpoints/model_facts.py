"""What is known of a model beside its name: what it can be asked, how much it takes, its price.

A model with several targets is described by what holds at each of them, as any may be drawn: the
capabilities that all have, the smallest context, the highest price. Where one of them is not
known, nothing is said. Fallbacks do not count: they answer when something has failed.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Final

from tidegate.dialects.wires import BACKS
from tidegate.routing.plan import ModelRoute
from tidegate.routing.target import Target

#: Operation → capability, beside those that any chat can stand in for.
_CAPABILITIES: Final = {
    "completions": "completions",
    "embeddings": "embeddings",
    "gemini_embed": "embeddings",
    "cohere_embed": "embeddings",
    "vertex_predict": "embeddings",
    "vertex_batch_embed": "embeddings",
    "moderations": "moderations",
}
_RATES: Final = ("input", "cached_input", "cache_write", "output")


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """What model lists show.

    Attributes:
        capabilities: Of `chat`, `completions`, `embeddings`, `moderations`; sorted.
        context_tokens: Context window; None when not known.
        max_output_tokens: Longest answer that may be asked for; None when not known.
        pricing: The price in force, US dollars: `input_usd_per_million_tokens` and so on, without
            tiers for long prompts; empty when not known.
    """

    capabilities: list[str]
    context_tokens: int | None
    max_output_tokens: int | None
    pricing: dict[str, float]


def facts_of(route: ModelRoute) -> ModelFacts:
    """Return what is known of the model that *route* leads to."""
    return ModelFacts(
        sorted(frozenset[str].intersection(*map(_capabilities, route.targets))),
        route.context_tokens,
        route.max_output_tokens,
        _pricing(route),
    )


def _capabilities(target: Target) -> frozenset[str]:
    """Return what a target can be asked, in its own dialect or another, and is documented for."""
    operations = target.paths
    found = {_CAPABILITIES[name] for name in operations if name in _CAPABILITIES}
    if any(name in BACKS for name in operations):
        found.add("chat")
    documented = target.capabilities
    if documented:
        found &= documented | ({"chat"} if "responses" in documented else set())
    return frozenset(found)


def _pricing(route: ModelRoute) -> dict[str, float]:
    now_ms = time.time_ns() // 1_000_000
    prices = [target.price.price_at(now_ms) for target in route.targets if target.price is not None]
    if len(prices) < len(route.targets):
        return {}
    pricing = {
        f"{kind}_usd_per_million_tokens": max(getattr(price.rates, kind) for price in prices) / 1e9
        for kind in _RATES
    }
    per_request = max(price.per_request for price in prices)
    if per_request:
        pricing["request_usd"] = per_request / 1e9
    return pricing
