"""Amounts of money as integers of 1e-9 USD, and what tokens cost, without a rounding surprise."""

from __future__ import annotations

import time
from decimal import ROUND_HALF_UP, Decimal
from typing import Final, Protocol

import msgspec

NANO_PER_USD: Final = 1_000_000_000
TOKENS_PER_RATE: Final = 1_000_000
"""Rates are per million tokens, as providers print them."""

_DAY_S: Final = 86_400


class Tokens(Protocol):
    """Token counts of one answer; `dialects.usage.Usage` is one."""

    @property
    def input_tokens(self) -> int:
        """Prompt tokens, cached and cache-written ones included."""

    @property
    def cached_input_tokens(self) -> int:
        """Part of the input that was read from the provider's cache."""

    @property
    def cache_write_tokens(self) -> int:
        """Part of the input that was written to the provider's cache."""

    @property
    def output_tokens(self) -> int:
        """Completion tokens, reasoning included."""

    @property
    def reasoning_tokens(self) -> int:
        """Part of the output that was not shown."""


class Rates(msgspec.Struct, frozen=True, array_like=True):
    """1e-9 USD per million tokens of each kind; `cached_input` and `cache_write` are what such a
    token costs in place of `input`, `reasoning` in place of `output`.
    """

    input: int
    cached_input: int
    cache_write: int
    output: int
    reasoning: int


class Tier(msgspec.Struct, frozen=True, array_like=True):
    """Rates of *all* tokens of a request whose input is longer than `above_input_tokens`."""

    above_input_tokens: int
    rates: Rates


class Price(msgspec.Struct, frozen=True, array_like=True):
    """What a model costs.

    Attributes:
        rates: Those of a request below all tiers.
        tiers: Ascending.
        per_request: 1e-9 USD for each request, whatever its tokens.
    """

    rates: Rates
    tiers: tuple[Tier, ...] = ()
    per_request: int = 0


class Period(msgspec.Struct, frozen=True, array_like=True):
    """A price that holds from a moment on, or at hours of the day.

    Attributes:
        price: What holds then.
        from_ms: Unix time; 0 is always.
        day_from_s: Second of the UTC day at which it begins, each day.
        day_to_s: Second at which it ends; smaller than `day_from_s` when it spans midnight.
    """

    price: Price
    from_ms: int = 0
    day_from_s: int = 0
    day_to_s: int = _DAY_S

    def holds_at(self, at_ms: int) -> bool:
        """Whether this price is in force at *at_ms*."""
        if at_ms < self.from_ms:
            return False
        second = at_ms // 1000 % _DAY_S
        if self.day_to_s < self.day_from_s:
            return second >= self.day_from_s or second < self.day_to_s
        return self.day_from_s <= second < self.day_to_s


class ModelPrice(msgspec.Struct, frozen=True, array_like=True):
    """The prices of one model over time: the last period that holds counts, else the first."""

    periods: tuple[Period, ...]

    def price_at(self, at_ms: int) -> Price:
        """Return the price in force at *at_ms* (Unix time)."""
        periods = self.periods
        if len(periods) > 1:
            for period in reversed(periods):
                if period.holds_at(at_ms):
                    return period.price
        return periods[0].price

    def cost_nano_usd(self, usage: Tokens, at_ms: int | None = None) -> int:
        """Return what *usage* costs, in 1e-9 USD; *at_ms* is now by default (0.7 µs)."""
        if len(self.periods) == 1:
            return cost_nano_usd(usage, self.periods[0].price)
        if at_ms is None:
            at_ms = time.time_ns() // 1_000_000
        return cost_nano_usd(usage, self.price_at(at_ms))


def cost_nano_usd(usage: Tokens, price: Price) -> int:
    """Return what *usage* costs in 1e-9 USD: exact, rounded once, half up.

    An upstream that reports more cached than input tokens pays no negative amount for it: a
    part is never more than what is left of the whole.
    """
    tokens_in, tokens_out = usage.input_tokens, usage.output_tokens
    rates = price.rates
    for tier in price.tiers:
        if tokens_in > tier.above_input_tokens:
            rates = tier.rates
    cached = min(usage.cached_input_tokens, tokens_in)
    written = min(usage.cache_write_tokens, tokens_in - cached)
    reasoning = min(usage.reasoning_tokens, tokens_out)
    total = (
        (tokens_in - cached - written) * rates.input
        + cached * rates.cached_input
        + written * rates.cache_write
        + (tokens_out - reasoning) * rates.output
        + reasoning * rates.reasoning
    )
    return (total + TOKENS_PER_RATE // 2) // TOKENS_PER_RATE + price.per_request


def nano_usd(amount_usd: Decimal) -> int:
    """Return *amount_usd* in 1e-9 USD, rounded half up."""
    return int((amount_usd * NANO_PER_USD).to_integral_value(ROUND_HALF_UP))


def format_usd(amount_nano_usd: int, *, places: int = 6) -> str:
    """Return an amount as US dollars with *places* decimals, rounded half up: `0.001235`."""
    step = 10 ** (9 - places)
    sign = "-" if amount_nano_usd < 0 else ""
    units = (abs(amount_nano_usd) + step // 2) // step
    whole, part = divmod(units, 10**places)
    return f"{sign}{whole}.{part:0{places}d}" if places else f"{sign}{whole}"
