"""Our integers against the library that the catalogue comes from, for every model in it."""

from __future__ import annotations

import importlib.util
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tidegate.dialects.usage import Usage
from tidegate.ledger.catalogue import CATALOGUE_NAMES, compile_price_table
from tidegate.ledger.prices import PriceTable

genai_prices = pytest.importorskip("genai_prices", reason="genai-prices is not installed")

ROOT = Path(__file__).parents[2]


def _generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location(
        "price_catalogue", ROOT / "scripts" / "price_catalogue.py"
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _providers() -> list[Any]:
    from genai_prices.data import providers

    return list(providers)


def _table() -> PriceTable:
    return compile_price_table([provider.id for provider in _providers()])


def test_the_shipped_catalogue_is_what_the_library_says() -> None:
    """After an update of the library, `scripts/price_catalogue.py` writes it anew."""
    generator = _generator()
    assert generator.TARGET.read_bytes() == generator.catalogue()


def test_every_kind_has_the_catalogue_name_that_it_is_listed_under() -> None:
    """A mistyped name would leave a provider unpriced without a word."""
    known = {provider.id for provider in _providers()}
    assert set(CATALOGUE_NAMES.values()) <= known


NOON = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)


@st.composite
def usages(draw: st.DrawFn) -> Usage:
    """Draw a usage on both sides of the usual thresholds."""
    tokens_in = draw(st.integers(0, 1_500_000))
    tokens_out = draw(st.integers(0, 200_000))
    cached = draw(st.integers(0, tokens_in))
    written = draw(st.integers(0, tokens_in - cached))
    return Usage(tokens_in, tokens_out, cached, written, draw(st.integers(0, tokens_out)))


def _library_cost(model: Any, provider: Any, usage: Usage) -> Decimal:
    from genai_prices.types import Usage as LibraryUsage

    counted = LibraryUsage(
        input_tokens=usage.input_tokens,
        cache_read_tokens=usage.cached_input_tokens,
        cache_write_tokens=usage.cache_write_tokens,
        output_tokens=usage.output_tokens,
        output_reasoning_tokens=usage.reasoning_tokens,
    )
    found = model.calc_price(counted, provider, genai_request_timestamp=NOON)
    return Decimal(found.total_price)


@given(usages(), st.randoms(use_true_random=False))
@settings(max_examples=25, deadline=None)
def test_costs_equal_the_librarys_to_the_nano(usage: Usage, chance: Any) -> None:
    """Forty models at a time, tiers, periods and prices per request among them."""
    table = _table_once()
    at_ms = int(NOON.timestamp() * 1000)
    models = [(model, provider) for provider in _providers() for model in provider.models]
    for model, provider in chance.sample(models, 40):
        names = [model.id] if model.is_match(model.id) else []
        for name in names:
            first = provider.find_model(name)
            ours = table.find(provider.id, provider.id, name)
            if first is not model or ours is None:
                continue
            cost = Decimal(ours.cost_nano_usd(usage, at_ms))
            exact = _library_cost(model, provider, usage) * 10**9
            # Half a nano of rounding, and at most as much for a rate with more than nine decimals.
            assert abs(cost - exact) <= Decimal("1.0"), (provider.id, name)


def test_every_context_window_is_the_library_s() -> None:
    """Of each model under its own name; no window is known that the library does not tell."""
    table = _table()
    seen = 0
    for provider in _providers():
        for model in provider.models:
            theirs = provider.find_model(model.id)
            ours = table.size(provider.id, provider.id, model.id)
            if theirs is None or table.find(provider.id, provider.id, model.id) is None:
                continue
            assert ours.context_tokens == theirs.context_window, (provider.id, model.id)
            assert ours.max_output_tokens is None
            seen += ours.context_tokens is not None
    assert seen > 1000


_cached: list[PriceTable] = []


def _table_once() -> PriceTable:
    if not _cached:
        _cached.append(_table())
    return _cached[0]


def test_names_find_the_same_model_as_the_librarys() -> None:
    """Each model's own id and the names that its rules spell out."""
    table = _table_once()
    compared = 0
    for provider in _providers():
        for model in provider.models:
            first = provider.find_model(model.id)
            ours = table.find(provider.id, provider.id, model.id)
            theirs = None if first is None else _generator_price(first)
            if theirs is not None:
                assert ours == theirs, (provider.id, model.id)
                compared += 1
    assert compared > 2000


def _generator_price(model: Any) -> Any:
    if not _generators:
        _generators.append(_generator())
    return _generators[0].model_price(model)


_generators: list[ModuleType] = []
