"""Write the shipped price catalogue from the installed package genai-prices.

Run it after a new release of that package, look at the difference, commit it:

    .venv/bin/python scripts/price_catalogue.py
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from importlib.metadata import version
from pathlib import Path
from typing import Any

from genai_prices import types
from genai_prices.data import providers

from tidegate.ledger.catalogue import CatalogueEntry, CatalogueHead, catalogue_lines
from tidegate.ledger.prices import Clause
from tidegate.money import ModelPrice, Period, Price, Rates, Tier, nano_usd

TARGET = Path(__file__).parent.parent / "src" / "tidegate" / "ledger" / "catalogue.jsonl"
USED = ("input_mtok", "output_mtok", "requests_kcount")


def entries() -> Iterator[CatalogueEntry]:
    """Give every model with a price of tokens or requests, those of fallback providers last."""
    by_id = {provider.id: provider for provider in providers}
    for provider in sorted(providers, key=lambda item: item.id):
        sources = [provider, *(by_id[name] for name in provider.fallback_model_providers or ())]
        for source in sources:
            for model in source.models:
                price = model_price(model)
                if price is not None:
                    match, context = clause(model.match), model.context_window
                    yield CatalogueEntry(provider.id, model.id, match, price, context)


def clause(match: Any) -> Clause:
    """Return a match rule as a clause."""
    if isinstance(match, types.ClauseOr):
        return ["or", *map(clause, match.or_)]
    if isinstance(match, types.ClauseAnd):
        return ["and", *map(clause, match.and_)]
    if isinstance(match, types.ClauseRegex):
        return ["~", match.regex]
    if isinstance(match, types.ClauseEquals):
        return ["=", match.equals.lower()]
    if isinstance(match, types.ClauseStartsWith):
        return ["^", match.starts_with.lower()]
    if isinstance(match, types.ClauseEndsWith):
        return ["$", match.ends_with.lower()]
    assert isinstance(match, types.ClauseContains)
    return ["*", match.contains.lower()]


def model_price(model: types.ModelInfo) -> ModelPrice | None:
    """Return a model's prices over time; None when none of them is of tokens or requests."""
    found = model.prices
    if isinstance(found, types.ModelPrice):
        found = [types.ConditionalPrice(prices=found)]
    if not any(getattr(item.prices, name) is not None for item in found for name in USED):
        return None
    return ModelPrice(tuple(period(item) for item in found))


def period(item: types.ConditionalPrice) -> Period:
    """Return one price with the time at which it holds."""
    price = one_price(item.prices)
    constraint = item.constraint
    if constraint is None:
        return Period(price)
    if isinstance(constraint, types.StartDateConstraint):
        start = datetime.combine(constraint.start_date, datetime.min.time(), UTC)
        return Period(price, from_ms=int(start.timestamp()) * 1000)
    seconds = [
        (moment.hour * 60 + moment.minute) * 60
        + moment.second
        - (0 if moment.utcoffset() is None else int(moment.utcoffset().total_seconds()))
        for moment in (constraint.start_time, constraint.end_time)
    ]
    return Period(price, day_from_s=seconds[0] % 86_400, day_to_s=seconds[1] % 86_400)


def one_price(prices: types.ModelPrice) -> Price:
    """Return the rates of text tokens, below and above each of their thresholds."""
    starts = sorted(
        {
            tier.start
            for name in ("input_mtok", "cache_read_mtok", "cache_write_mtok", "output_mtok")
            if isinstance(getattr(prices, name), types.TieredPrices)
            for tier in getattr(prices, name).tiers
        }
    )
    per_thousand = prices.requests_kcount
    assert per_thousand is None or isinstance(per_thousand, Decimal)
    return Price(
        rates_at(prices, -1),
        tuple(Tier(start, rates_at(prices, start)) for start in starts),
        0 if per_thousand is None else nano_usd(per_thousand / 1000),
    )


def rates_at(prices: types.ModelPrice, above: int) -> Rates:
    """Return the rates of a request whose input is longer than *above* tokens."""

    def rate(name: str) -> int | None:
        value = getattr(prices, name)
        if isinstance(value, types.TieredPrices):
            chosen = value.base
            for tier in value.tiers:
                if tier.start <= above:
                    chosen = tier.price
            value = chosen
        return None if value is None else nano_usd(value)

    tokens_in, tokens_out = rate("input_mtok") or 0, rate("output_mtok") or 0
    cached, written = rate("cache_read_mtok"), rate("cache_write_mtok")
    reasoning = rate("output_reasoning_mtok")
    return Rates(
        input=tokens_in,
        cached_input=tokens_in if cached is None else cached,
        cache_write=tokens_in if written is None else written,
        output=tokens_out,
        reasoning=tokens_out if reasoning is None else reasoning,
    )


def catalogue() -> bytes:
    """Return the whole file."""
    head = CatalogueHead(f"genai-prices {version('genai-prices')}")
    return b"".join(catalogue_lines(head, entries()))


if __name__ == "__main__":
    TARGET.write_bytes(catalogue())
