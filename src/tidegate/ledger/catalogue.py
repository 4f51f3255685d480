"""Makes the price table: the shipped catalogue, cut to the providers in use, plus overrides.

The catalogue (`catalogue.jsonl` beside this file) is written by `scripts/price_catalogue.py`
from the package genai-prices, so that a gateway needs neither that package nor a network.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Final

import msgspec

from tidegate.errors import ConfigError
from tidegate.ledger.prices import Clause, ModelSize, PricedModel, PriceTable
from tidegate.money import ModelPrice, Period, Price, Rates, nano_usd

_PATH: Final = Path(__file__).with_name("catalogue.jsonl")

CATALOGUE_NAMES: Final = {
    "gemini": "google",
    "vertex": "google",
    "bedrock": "aws",
    "xai": "x-ai",
}
"""Kinds whose entries stand under another name; every other kind stands under its own."""

_FREE: Final = ModelPrice((Period(Price(Rates(0, 0, 0, 0, 0))),))
_BUILT_IN: Final = {"demo": (PricedModel(["^", ""], _FREE),)}


class CatalogueHead(msgspec.Struct, frozen=True):
    """First line of the catalogue."""

    version: str


class CatalogueEntry(msgspec.Struct, frozen=True, omit_defaults=True):
    """Each other line: one model of one provider, in the order in which they are to be tried."""

    provider: str
    model: str
    match: Clause
    price: ModelPrice
    context_tokens: int | None = None


# Text until it is a decimal: 0.1 must not become a float on the way.
_Usd = Annotated[str, msgspec.Meta(pattern=r"^\d{1,6}(\.\d{1,15})?$")]
_Tokens = Annotated[str, msgspec.Meta(pattern=r"^[1-9]\d{0,8}$")]


class Override(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One entry of an override file; amounts in USD, rates per million tokens.

    Attributes:
        provider: A configured provider's name, or a kind.
        model: The model's name there; `*` at its end stands for anything.
        input: Per million prompt tokens.
        output: Per million completion tokens.
        cached_input: Of those read from the cache; `input` by default.
        cache_write: Of those written to the cache; `input` by default.
        reasoning: Of the output that was not shown; `output` by default.
        per_request: For each request.
        context_tokens: Its context window.
        max_output_tokens: Longest answer that may be asked for.
    """

    provider: str
    model: str
    input: _Usd
    output: _Usd
    cached_input: _Usd | None = None
    cache_write: _Usd | None = None
    reasoning: _Usd | None = None
    per_request: _Usd = "0"
    context_tokens: _Tokens | None = None
    max_output_tokens: _Tokens | None = None


class OverrideFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An override file (YAML or JSON)."""

    prices: tuple[Override, ...]


def compile_price_table(kinds: Iterable[str], override_path: Path | None = None) -> PriceTable:
    """Return the table for providers of *kinds* (5 ms; 100 bytes a model).

    Its version names the catalogue's, and the overrides by their digest.

    Raises:
        ConfigError: The override file cannot be used.
    """
    wanted: dict[str, list[str]] = {}
    for kind in kinds:
        wanted.setdefault(CATALOGUE_NAMES.get(kind, kind), []).append(kind)
    found: dict[str, list[PricedModel]] = {}
    with _PATH.open("rb") as lines:
        version = msgspec.json.decode(next(lines), type=CatalogueHead).version
        decode = msgspec.json.Decoder(CatalogueEntry).decode
        for line in lines:
            provider = line[13 : line.index(b'"', 13)].decode()
            if provider in wanted:
                entry = decode(line)
                for kind in wanted[provider]:
                    size = ModelSize(entry.context_tokens)
                    found.setdefault(kind, []).append(PricedModel(entry.match, entry.price, size))
    table = {kind: tuple(entries) for kind, entries in found.items()}
    table |= {kind: _BUILT_IN[kind] for kind in wanted if kind in _BUILT_IN}
    if override_path is None:
        return PriceTable(version, table)
    overrides, digest = _read_overrides(override_path)
    return PriceTable(f"{version}+{digest}", table, overrides)


def _read_overrides(path: Path) -> tuple[dict[str, tuple[PricedModel, ...]], str]:
    """Return the entries of an override file by provider, and 8 digits that name its content."""
    # Only here: a gateway without overrides must not pay for importing it.
    import yaml

    try:
        data = path.read_bytes()
        content = yaml.load(data, Loader=yaml.BaseLoader)  # noqa: S506 (makes text only)
        file = msgspec.convert(content, OverrideFile)
    except OSError as error:
        raise ConfigError([("prices", f"cannot read {path}: {error.strerror}")]) from error
    except yaml.YAMLError as error:
        raise ConfigError([("prices", f"{path} is not YAML: {error}")]) from error
    except msgspec.ValidationError as error:
        raise ConfigError([("prices", f"{path}: {error}")]) from error
    found: dict[str, list[PricedModel]] = {}
    for override in file.prices:
        found.setdefault(override.provider, []).append(
            PricedModel(_clause_of(override.model), _price_of(override), _size_of(override))
        )
    digest = hashlib.sha256(data).hexdigest()[:8]
    return {provider: tuple(entries) for provider, entries in found.items()}, digest


def _clause_of(model: str) -> Clause:
    name = model.lower()
    return ["^", name[:-1]] if name.endswith("*") else ["=", name]


def _price_of(override: Override) -> ModelPrice:
    tokens_in, tokens_out = override.input, override.output
    rates = Rates(
        input=_rate(tokens_in),
        cached_input=_rate(override.cached_input or tokens_in),
        cache_write=_rate(override.cache_write or tokens_in),
        output=_rate(tokens_out),
        reasoning=_rate(override.reasoning or tokens_out),
    )
    price = Price(rates, per_request=_rate(override.per_request))
    return ModelPrice((Period(price),))


def _size_of(override: Override) -> ModelSize:
    context, longest = override.context_tokens, override.max_output_tokens
    return ModelSize(int(context) if context else None, int(longest) if longest else None)


def _rate(amount_usd: str) -> int:
    return nano_usd(Decimal(amount_usd))


def catalogue_lines(head: CatalogueHead, entries: Iterable[CatalogueEntry]) -> Iterable[bytes]:
    """Give the catalogue's lines; `provider` is the first field of each, read without decoding."""
    values: list[Any] = [head, *entries]
    return (msgspec.json.encode(value) + b"\n" for value in values)
