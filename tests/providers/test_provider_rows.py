"""Each provider row is complete, plausible data."""

from __future__ import annotations

import re
from datetime import date
from importlib.metadata import EntryPoint, EntryPoints
from pathlib import Path
from typing import Any

import pytest

from tidegate.config.field_types import check_base_url, check_name
from tidegate.providers import discover, rows
from tidegate.providers.discover import providers_by_name
from tidegate.providers.operations import OPERATIONS
from tidegate.providers.spec import Provider

NAMES = [
    "ai21",
    "anthropic",
    "azure",
    "baseten",
    "bedrock",
    "cerebras",
    "cloudflare",
    "cohere",
    "dashscope",
    "databricks",
    "deepinfra",
    "deepseek",
    "demo",
    "fireworks",
    "friendli",
    "gemini",
    "github-models",
    "groq",
    "huggingface",
    "hyperbolic",
    "jina",
    "llamacpp",
    "llamafile",
    "lmstudio",
    "localai",
    "minimax",
    "mistral",
    "moonshot",
    "nebius",
    "novita",
    "nvidia",
    "ollama",
    "openai",
    "openai-compatible",
    "openrouter",
    "ovhcloud",
    "perplexity",
    "sambanova",
    "scaleway",
    "sglang",
    "siliconflow",
    "stepfun",
    "tgi",
    "together",
    "vertex",
    "vllm",
    "volcengine",
    "voyage",
    "xai",
    "zai",
]

EXTRA = Provider(
    name="extra",
    title="Extra",
    base_url=None,
    docs_url="https://x.example",
    checked_on="2026-11-24",
)
NO_ROW = "not a row"


def test_the_table_is_the_folder() -> None:
    """A row is found by lying in `rows/`; the list below is changed with it."""
    assert list(providers_by_name()) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_a_row_is_fit_for_use(name: str) -> None:
    """Its address passes the rules for users' addresses, its sources are named and dated."""
    row = providers_by_name()[name]
    assert check_name(row.name) == name
    if row.base_url:
        address = re.sub(r"\{(region|location)\}", "somewhere", row.base_url)
        assert check_base_url(address) == address
        assert ("{" in row.base_url) == (row.section in ("aws", "google"))
        local = row.base_url.startswith("http://localhost:")
        assert local or row.base_url.startswith("https://"), "a credential would go unencrypted"
        assert local != row.key_required
    elif row.base_url is None and name != "openai-compatible":
        assert check_base_url(row.example_url) == row.example_url.replace(
            "RESOURCE", "resource"
        ).replace("WORKSPACE", "workspace")
    assert re.fullmatch(r"bearer|none|sigv4|google|header:[a-z0-9-]+", row.auth)
    assert row.env_key is None or re.fullmatch(r"[A-Z][A-Z0-9_]+", row.env_key)
    assert row.key_required == (row.env_key is not None) or row.section == "google"
    # Found in the environment, it must be complete: an address, or a variable that has it.
    assert row.base_url is not None or row.env_base_url or not row.discover or not row.env_key
    assert all(re.fullmatch(r"[a-z0-9-]+(\.[a-z0-9-]+)+", host) for host in row.own_hosts)
    settings = (*row.env_settings, *row.env_credentials)
    assert all(setting.startswith(f"{row.section}.") for setting in settings)
    assert row.capabilities
    assert set(row.dialects) <= OPERATIONS.keys()
    assert row.quirks.models_path in ("", "/models", "/v1/models", "/openai/v1/models")
    assert row.docs_url.startswith("https://") or row.base_url == ""
    if row.checked_on is not None:  # None: nobody has checked it, and the tables say so
        assert date(2026, 1, 1) <= date.fromisoformat(row.checked_on) <= date(2036, 1, 1)
    assert row.checked_on is not None or not row.checked_in


@pytest.mark.parametrize("name", NAMES)
def test_a_row_can_be_asked_for_what_it_documents(name: str) -> None:
    """Responses among its endpoints are of no use without the dialect, nor the other way round."""
    row = providers_by_name()[name]
    if name in ("fireworks", "openai-compatible"):  # the one is unread, the other is anybody's
        return
    assert ("responses" in row.capabilities) == ("responses" in row.dialects)
    assert (
        ("chat" in row.capabilities) or row.dialects == ("responses",) or "openai" in row.dialects
    )


@pytest.mark.parametrize("name", ["deepseek", "lmstudio", "mistral", "ollama", "together"])
def test_a_limit_goes_by_the_name_that_the_provider_knows(name: str) -> None:
    """Under the other name it is refused or, worse, passed over."""
    assert providers_by_name()[name].quirks.wire.max_tokens_field == "max_tokens"


def test_there_is_a_row_for_every_provider_that_people_ask_for() -> None:
    """At least thirty, beside the demo and the row without a name of its own."""
    assert len(set(NAMES) - {"demo", "openai-compatible"}) >= 30


def test_a_compatible_provider_is_one_short_file() -> None:
    """Data alone: about 15 lines, and no more than 20 with what is unusual about it."""
    lengths = {}
    for name in NAMES:
        path = Path(rows.__path__[0]) / f"{name.replace('-', '_')}.py"
        if type(providers_by_name()[name]) is Provider:
            code = path.read_text().split('"""', 2)[2].strip().splitlines()
            lengths[name] = len([line for line in code if line])
    assert max(lengths.values()) <= 20
    assert sorted(lengths.values())[len(lengths) // 2] <= 15


def test_only_clouds_bring_code() -> None:
    """Where settings decide the address; every other provider is a plain row."""
    coded = {name for name, row in providers_by_name().items() if type(row) is not Provider}
    assert coded == {"azure", "bedrock", "vertex"}


def test_no_two_rows_share_a_variable() -> None:
    """One credential found must mean one provider."""
    variables = [row.env_key for row in providers_by_name().values() if row.env_key]
    assert len(variables) == len(set(variables))


def test_the_table_cannot_be_changed() -> None:
    """Rows are data for all; nobody patches them at run time."""
    table: Any = providers_by_name()
    with pytest.raises(TypeError):
        table["openai"] = EXTRA
    with pytest.raises(AttributeError):
        table["openai"].base_url = "https://evil.example"


def _installed(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    def entry_points(*, group: str) -> EntryPoints:
        assert group == "tidegate.providers"
        return EntryPoints([EntryPoint("any", f"{__name__}:{value}", group)])

    monkeypatch.setattr("importlib.metadata.entry_points", entry_points)


def test_an_installed_package_adds_a_row(monkeypatch: pytest.MonkeyPatch) -> None:
    """By an entry point that names a `Provider`."""
    _installed(monkeypatch, "EXTRA")
    table = providers_by_name.__wrapped__()
    assert table["extra"] is EXTRA
    assert list(table) == sorted([*NAMES, "extra"])


@pytest.mark.parametrize("value", ["NO_ROW", "SAME"])
def test_a_bad_or_doubled_row_is_refused(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    """A package must not take the place of a row that users trust."""
    _installed(monkeypatch, value)
    with pytest.raises(ValueError, match=r"no Provider|two provider rows"):
        providers_by_name.__wrapped__()


SAME = providers_by_name()["openai"]


def test_discovery_reads_source_files_only() -> None:
    """Caches and editors' backups beside the rows are no rows."""
    assert {row.name for row in discover._own_rows()} == set(NAMES)
    assert rows.__doc__
