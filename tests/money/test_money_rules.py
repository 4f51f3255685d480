"""Costs are exact integers, equal to decimal arithmetic, never negative, never a float."""

from __future__ import annotations

from decimal import ROUND_HALF_UP, Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegate.dialects.usage import Usage
from tidegate.money import (
    ModelPrice,
    Period,
    Price,
    Rates,
    Tier,
    cost_nano_usd,
    format_usd,
    nano_usd,
)

tokens = st.integers(0, (1 << 32) - 1)
rate = st.integers(0, 10**12)
rates = st.builds(Rates, rate, rate, rate, rate, rate)


@st.composite
def usages(draw: st.DrawFn) -> Usage:
    """Draw a usage whose parts are within their wholes."""
    tokens_in, tokens_out = draw(tokens), draw(tokens)
    cached = draw(st.integers(0, tokens_in))
    written = draw(st.integers(0, tokens_in - cached))
    return Usage(tokens_in, tokens_out, cached, written, draw(st.integers(0, tokens_out)))


@given(usages(), rates, st.integers(0, 10**9))
def test_a_cost_is_the_decimal_sum_rounded_once(usage: Usage, rates: Rates, fixed: int) -> None:
    """Five products, one rounding, half up: no error larger than half of 1e-9 USD."""
    plain = usage.input_tokens - usage.cached_input_tokens - usage.cache_write_tokens
    exact = (
        Decimal(plain) * rates.input
        + Decimal(usage.cached_input_tokens) * rates.cached_input
        + Decimal(usage.cache_write_tokens) * rates.cache_write
        + Decimal(usage.output_tokens - usage.reasoning_tokens) * rates.output
        + Decimal(usage.reasoning_tokens) * rates.reasoning
    ) / 1_000_000 + fixed
    cost = cost_nano_usd(usage, Price(rates, per_request=fixed))
    assert type(cost) is int
    assert cost == int(exact.to_integral_value(ROUND_HALF_UP))


@given(st.builds(Usage, tokens, tokens, tokens, tokens, tokens), rates)
def test_no_report_of_an_upstream_makes_a_cost_negative(usage: Usage, rates: Rates) -> None:
    """Nor dearer than all its tokens at the highest rate of their side."""
    cost = cost_nano_usd(usage, Price(rates))
    most_in = max(rates.input, rates.cached_input, rates.cache_write)
    most_out = max(rates.output, rates.reasoning)
    most = usage.input_tokens * most_in + usage.output_tokens * most_out
    assert 0 <= cost <= most // 1_000_000 + 1


@given(usages(), rates, rates, tokens)
def test_a_tier_holds_for_all_tokens_of_a_longer_input(
    usage: Usage, low: Rates, high: Rates, above: int
) -> None:
    """At the threshold itself the lower rates still hold."""
    price = Price(low, (Tier(above, high),))
    holds = high if usage.input_tokens > above else low
    assert cost_nano_usd(usage, price) == cost_nano_usd(usage, Price(holds))


def _flat(number: int) -> Price:
    return Price(Rates(number, number, number, number, number))


def test_the_last_period_that_holds_counts() -> None:
    """From a day on, at hours of the day, over midnight; else the first one."""
    hour_ms = 3_600_000
    price = ModelPrice(
        (
            Period(_flat(1)),
            Period(_flat(2), from_ms=1_000 * hour_ms),
            Period(_flat(3), day_from_s=22 * 3600, day_to_s=2 * 3600),
            Period(_flat(4), day_from_s=12 * 3600, day_to_s=13 * 3600),
        )
    )
    at = {hour: price.price_at(hour * hour_ms).rates.input for hour in range(26)}
    assert [hour for hour, rate in at.items() if rate == 3] == [0, 1, 22, 23, 24, 25]
    assert [hour for hour, rate in at.items() if rate == 4] == [12]
    assert at[5] == 1
    assert price.price_at(1_000 * hour_ms - 1).rates.input == 1
    assert price.price_at(1_000 * hour_ms).rates.input == 2
    usage = Usage(input_tokens=1_000_000)
    assert price.cost_nano_usd(usage, 12 * hour_ms) == 4
    assert ModelPrice((Period(_flat(7)),)).cost_nano_usd(usage) == 7


@given(st.decimals(0, 10**6, places=9))
def test_nine_decimals_of_a_dollar_are_kept(amount: Decimal) -> None:
    """What providers print has at most nine; more is rounded half up."""
    assert Decimal(nano_usd(amount)) / 10**9 == amount


@pytest.mark.parametrize(
    ("amount", "places", "text"),
    [
        (0, 6, "0.000000"),
        (1_234_567_891, 6, "1.234568"),
        (1_234_567_891, 9, "1.234567891"),
        (1_999_999_999, 2, "2.00"),
        (-1_500_000_000, 2, "-1.50"),
        (1_500_000_000, 0, "2"),
        (499, 6, "0.000000"),
        (500, 6, "0.000001"),
    ],
)
def test_amounts_are_shown_rounded_not_cut(amount: int, places: int, text: str) -> None:
    """And without a float on the way."""
    assert format_usd(amount, places=places) == text
