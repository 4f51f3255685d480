"""The price table that workers look models up in: plain data, packed, no library behind it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import date
from typing import Any, Final

import msgspec

from tidegate.money import ModelPrice

Clause = list[Any]
"""What a model's name must be, as nested lists: `["=", text]`, `["^", prefix]`, `["$", suffix]`,
`["*", part]`, `["~", regular expression]`, `["or", clause, …]`, `["and", clause, …]`."""

_COMPACT_DATE: Final = re.compile(r"-(20\d\d)(\d\d)(\d\d)(?=[-:]|$)")
_MAX_NAME: Final = 256


class ModelSize(msgspec.Struct, frozen=True, array_like=True):
    """How much a model takes; None where nobody has said.

    Attributes:
        context_tokens: Its context window: what fits into one request, with most providers
            together with the answer.
        max_output_tokens: Longest answer that may be asked for.
    """

    context_tokens: int | None = None
    max_output_tokens: int | None = None


class PricedModel(msgspec.Struct, frozen=True, array_like=True):
    """One entry: the names it is for, its price and its size."""

    match: Clause
    price: ModelPrice
    size: ModelSize = ModelSize()


class PriceTable(msgspec.Struct, frozen=True):
    """Prices by kind of provider, and overrides by a provider's configured name or its kind.

    Attributes:
        version: Of the whole table; stands in every ledger row that it priced.
        kinds: Kind → entries, the first match counts.
        overrides: Configured provider name or kind → entries that go before those of `kinds`.
    """

    version: str = ""
    kinds: dict[str, tuple[PricedModel, ...]] = {}
    overrides: dict[str, tuple[PricedModel, ...]] = {}

    def find(self, provider: str, kind: str, model: str) -> ModelPrice | None:
        """Return the price of *model* at *provider*; None when it is not known: unpriced.

        Not for the hot path (a few to hundreds of µs): once for each target.
        """
        found = next(self._entries(provider, kind, model), None)
        return None if found is None else found.price

    def size(self, provider: str, kind: str, model: str) -> ModelSize:
        """Return how much *model* at *provider* takes, each number by the first who tells it.

        Not for the hot path, as `find`.
        """
        context = longest = None
        for entry in self._entries(provider, kind, model):
            context = context or entry.size.context_tokens
            longest = longest or entry.size.max_output_tokens
        return ModelSize(context, longest)

    def _entries(self, provider: str, kind: str, model: str) -> Iterator[PricedModel]:
        """Give what is said of *model*: overrides, then the catalogue; of each the first match."""
        name = model[:_MAX_NAME].lower()
        catalogue = self.kinds.get(kind, ())
        for entries in (self.overrides.get(provider, ()), self.overrides.get(kind, ())):
            found = _first(entries, name)
            if found is not None:
                yield found
        found = _first(catalogue, name)
        if found is None and (dashed := _with_dashed_date(name)) != name:
            found = _first(catalogue, dashed)
        if found is not None:
            yield found


def encode_price_table(table: PriceTable) -> bytes:
    """Pack for the way to the workers (MessagePack)."""
    return msgspec.msgpack.encode(table)


def decode_price_table(data: bytes) -> PriceTable:
    """Unpack; `b""` is the empty table. Raises `msgspec.ValidationError` for anything else."""
    return msgspec.msgpack.decode(data, type=PriceTable) if data else PriceTable()


def _first(entries: tuple[PricedModel, ...], name: str) -> PricedModel | None:
    for entry in entries:
        if matches(entry.match, name):
            return entry
    return None


def matches(clause: Clause, name: str) -> bool:
    """Whether lower-case *name* is what *clause* asks for."""
    kind, *parts = clause
    if kind == "or":
        return any(matches(part, name) for part in parts)
    if kind == "and":
        return all(matches(part, name) for part in parts)
    text = str(parts[0])
    if kind == "=":
        return name == text
    if kind == "^":
        return name.startswith(text)
    if kind == "$":
        return name.endswith(text)
    if kind == "*":
        return text in name
    return kind == "~" and re.search(text, name) is not None


def _with_dashed_date(name: str) -> str:
    """Return `…-20251211` as `…-2025-12-11`, the form under which models are listed."""

    def dashed(found: re.Match[str]) -> str:
        year, month, day = found.groups()
        try:
            date(int(year), int(month), int(day))
        except ValueError:
            return found.group()
        return f"-{year}-{month}-{day}"

    return _COMPACT_DATE.sub(dashed, name)
