"""The price table: what the catalogue says, after what the operator says, or nothing."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tidegate.dialects.usage import Usage
from tidegate.errors import ConfigError
from tidegate.ledger.catalogue import compile_price_table
from tidegate.ledger.prices import (
    ModelSize,
    PriceTable,
    decode_price_table,
    encode_price_table,
    matches,
)

MILLION = 1_000_000


def test_a_known_model_has_the_price_that_its_provider_prints() -> None:
    """In 1e-9 USD per million tokens; the version says which catalogue it is from."""
    table = compile_price_table(["openai", "anthropic"])
    price = table.find("openai", "openai", "gpt-4o-mini-2024-07-18")
    assert price is not None
    assert price.cost_nano_usd(Usage(input_tokens=MILLION)) == 150_000_000
    assert price.cost_nano_usd(Usage(output_tokens=MILLION)) == 600_000_000
    assert table.version.startswith("genai-prices ")
    assert table.find("openai", "openai", "GPT-4o-Mini") == price


@pytest.mark.parametrize(
    ("kind", "model"),
    [("openai", "no-such-model"), ("ollama", "llama3"), ("openai-compatible", "gpt-4o"), ("", "")],
)
def test_an_unknown_model_has_no_price_rather_than_a_wrong_one(kind: str, model: str) -> None:
    """Never zero: it is recorded as unpriced and counted."""
    table = compile_price_table([kind, "openai"])
    assert table.find("mine", kind, model) is None


def test_only_the_kinds_in_use_are_in_the_table() -> None:
    """Workers keep what they need: some kilobytes."""
    table = compile_price_table(["groq", "demo", "ollama"])
    assert table.kinds.keys() == {"groq", "demo"}
    assert len(encode_price_table(table)) < 20_000


def test_the_demo_costs_nothing_and_is_not_unpriced() -> None:
    """It is built in."""
    price = compile_price_table(["demo"]).find("demo", "demo", "demo")
    assert price is not None
    assert price.cost_nano_usd(Usage(5, 7)) == 0


def test_the_way_to_a_worker_changes_nothing() -> None:
    """And no table is an empty table."""
    table = compile_price_table(["openai", "xai", "gemini"])
    assert decode_price_table(encode_price_table(table)) == table
    assert decode_price_table(b"") == PriceTable()


def test_compact_dates_are_understood_too() -> None:
    """Some routers write `-20251211` for what is listed as `-2025-12-11`."""
    table = compile_price_table(["openai"])
    plain = table.find("o", "openai", "gpt-5-mini-2025-08-07")
    assert plain is not None
    assert table.find("o", "openai", "gpt-5-mini-20250807") == plain
    assert table.find("o", "openai", "gpt-5-mini-20259999") is None


OVERRIDES = """
prices:
  - {provider: acme, model: acme-large, input: 2.5, output: 10, cached_input: 0.1,
     per_request: 0.01}
  - {provider: acme, model: "acme-*", input: 1, output: 2, cache_write: 3, reasoning: 4}
  - {provider: openai, model: gpt-4o-mini, input: 0.075, output: 0.3}
"""


def test_overrides_go_before_the_catalogue(tmp_path: Path) -> None:
    """By a configured provider's name or by its kind; decimals are kept exactly."""
    path = tmp_path / "prices.yaml"
    path.write_text(OVERRIDES)
    table = compile_price_table(["openai", "openai-compatible"], path)
    large = table.find("acme", "openai-compatible", "ACME-large")
    assert large is not None
    assert large.cost_nano_usd(Usage(input_tokens=1)) == 10_002_500
    assert large.cost_nano_usd(Usage(MILLION, 0, MILLION)) == 110_000_000
    small = table.find("acme", "openai-compatible", "acme-small")
    assert small is not None
    assert small.cost_nano_usd(Usage(2, 2, 0, 1, 1)) == (1 + 3 + 2 + 4) * 1000
    mini = table.find("my-openai", "openai", "gpt-4o-mini")
    assert mini is not None
    assert mini.cost_nano_usd(Usage(input_tokens=MILLION)) == 75_000_000
    assert table.find("other", "openai-compatible", "acme-large") is None
    plain = compile_price_table(["openai"])
    assert table.version != plain.version
    path.write_text(OVERRIDES.replace("2.5", "2.6"))
    assert compile_price_table(["openai"], path).version != table.version


SIZED = """
prices:
  - {provider: acme, model: small, input: 1, output: 2, context_tokens: 4096}
  - {provider: openai, model: gpt-4o, input: 1, output: 2, max_output_tokens: 16384}
  - {provider: gpt, model: gpt-4o, input: 1, output: 2, context_tokens: 64000}
"""


def test_a_size_is_told_by_the_first_who_knows_it(tmp_path: Path) -> None:
    """An override that says the price alone leaves the catalogue's size; unknown stays None."""
    path = tmp_path / "prices.yaml"
    path.write_text(SIZED)
    table = compile_price_table(["openai", "openai-compatible", "demo"], path)
    assert table.size("o", "openai", "gpt-4o") == ModelSize(128_000, 16_384)
    assert table.size("gpt", "openai", "gpt-4o") == ModelSize(64_000, 16_384)
    assert table.size("acme", "openai-compatible", "SMALL") == ModelSize(4096, None)
    assert table.size("demo", "demo", "demo") == ModelSize(None, None)
    assert table.size("o", "openai", "nobody-knows-it") == ModelSize(None, None)
    assert decode_price_table(encode_price_table(table)) == table


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("prices: [{provider: a, model: b, input: 1, output: 1, context_tokens: 0}]", "context"),
        ("prices: [{provider: a, model: b, input: 1, output: 1, context_tokens: 4k}]", "context"),
        ("prices: [{provider: a, model: b, input: 1}]", "output"),
        ("prices: [{provider: a, model: b, input: -1, output: 1}]", "input"),
        ("prices: [{provider: a, model: b, input: NaN, output: 1}]", "input"),
        ("prices: [{provider: a, model: b, input: Infinity, output: 1}]", "input"),
        ("prices: [{provider: a, model: b, input: cheap, output: 1}]", "input"),
        ("prices: [{provider: a, model: b, input: 1, output: 1, outptu: 2}]", "outptu"),
        ("price: []", "price"),
        ("prices: [", "not YAML"),
        ("", "prices.yaml"),
    ],
)
def test_a_bad_override_file_is_refused_with_its_reason(
    tmp_path: Path, text: str, reason: str
) -> None:
    """A price that was mistyped must not become zero."""
    path = tmp_path / "prices.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        compile_price_table(["openai"], path)
    assert reason in str(caught.value)
    assert caught.value.problems[0][0] == "prices"


def test_a_missing_override_file_is_refused(tmp_path: Path) -> None:
    """It was named, so it was meant."""
    with pytest.raises(ConfigError, match="No such file"):
        compile_price_table(["openai"], tmp_path / "nowhere.yaml")


@pytest.mark.parametrize(
    ("clause", "name", "expected"),
    [
        (["=", "a"], "a", True),
        (["=", "a"], "ab", False),
        (["^", "a"], "ab", True),
        (["$", "b"], "ab", True),
        (["*", "b"], "abc", True),
        (["~", r"^a\d$"], "a1", True),
        (["~", r"^a\d$"], "ab", False),
        (["or", ["=", "x"], ["=", "a"]], "a", True),
        (["and", ["^", "a"], ["$", "c"]], "abc", True),
        (["and", ["^", "a"], ["$", "b"]], "abc", False),
        (["a kind of a newer version", "a"], "a", False),
    ],
)
def test_names_are_matched_by_clauses(clause: list[object], name: str, expected: bool) -> None:
    """Seven kinds; an unknown one never matches."""
    assert matches(clause, name) is expected


def test_workers_and_control_load_no_price_library() -> None:
    """It would cost 150 ms of every start, and pull in an HTTP client."""
    code = (
        "import sys; from tidegate.ledger.catalogue import compile_price_table as c; "
        "c(['openai']); assert not {'genai_prices', 'pydantic', 'yaml'} & set(sys.modules)"
    )
    result = subprocess.run(
        [sys.executable, "-c", code],
        env={"PYTHONPATH": ":".join(sys.path)},
        timeout=30,
        check=False,
    )
    assert result.returncode == 0
