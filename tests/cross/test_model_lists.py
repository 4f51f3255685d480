"""Each SDK lists the models of its key in its own way."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import anthropic
import httpx2
import openai
import pytest
from google import genai
from google.genai import types
from tests.cross.matrix import SECRET
from tests.fakes.strict.server import StrictUpstream
from tests.running import RunningGateway

pytestmark = pytest.mark.process


def test_openai_lists_models_with_what_is_known_of_them(gateway: RunningGateway) -> None:
    """Capabilities stand beside the name; the SDK keeps what it has no type for."""
    with openai.OpenAI(base_url=f"{gateway.url}/v1", api_key=SECRET) as client:
        models = {model.id: model for model in client.models.list()}
        one = client.models.retrieve("cohere-text")
    assert "bedrock-tools" in models
    assert one.model_extra is not None
    assert one.model_extra["capabilities"] == ["chat", "embeddings"]
    assert models["bedrock-tools"].model_extra == {"capabilities": ["chat"]}


def test_a_known_price_is_shown(gateway: RunningGateway) -> None:
    """In USD for a million tokens, of a model that the table knows."""
    answer = httpx2.get(
        f"{gateway.url}/v1/models/priced", headers={"authorization": f"Bearer {SECRET}"}
    )
    pricing = answer.json()["pricing"]
    assert pricing["input_usd_per_million_tokens"] == 2.5
    assert pricing["output_usd_per_million_tokens"] == 10.0


def test_anthropic_lists_models_page_by_page(gateway: RunningGateway) -> None:
    """The SDK follows `has_more` and `last_id` to the end, and finds each name once."""
    with anthropic.Anthropic(base_url=gateway.url, api_key=SECRET) as client:
        names = [model.id for model in client.models.list(limit=7)]
        whole = [model.id for model in client.models.list()]
        one = client.models.retrieve("openai-text")
        before = client.models.list(limit=2, before_id=whole[5])
        with pytest.raises(anthropic.NotFoundError) as refused:
            client.models.retrieve("nothing-like-it")
    assert names == whole
    assert len(set(names)) == len(names) > 50
    assert (one.type, one.display_name) == ("model", "openai-text")
    assert [model.id for model in before.data] == whole[3:5]
    assert before.has_more
    assert refused.value.body["type"] == "error"


def test_gemini_lists_models_page_by_page(gateway: RunningGateway) -> None:
    """The SDK follows the page token to the end, on both versions of the API."""
    for version in ("v1", "v1beta"):
        options = types.HttpOptions(base_url=gateway.url, api_version=version)
        with genai.Client(api_key=SECRET, http_options=options) as client:
            names = [model.name for model in client.models.list(config={"page_size": 7})]
            one = client.models.get(model="openai-text")
        assert len(set(names)) == len(names) > 50
        assert one.name == "models/openai-text"
        assert "generateContent" in (one.supported_actions or [])


KNOWN = """
providers:
  openai: {api_key: env:KEY_OF_NONE}
  anthropic: {api_key: env:KEY_OF_NONE}
  jina: {api_key: env:KEY_OF_NONE}
models:
  one: {targets: [openai/gpt-4o], fallbacks: [half]}
  two: {targets: [openai/gpt-4o, anthropic/claude-opus-4-6]}
  said: {targets: [openai/gpt-4o], context_tokens: 9000, max_output_tokens: 700}
  half: {targets: [openai/gpt-4o, openai/nobody-knows-it]}
  vectors: {targets: [jina/jina-embeddings-v3]}
keys:
  lister: {secret: env:LISTER_KEY}
"""
PRICED = {
    "input_usd_per_million_tokens": 5.0,
    "cached_input_usd_per_million_tokens": 1.25,
    "cache_write_usd_per_million_tokens": 6.25,
    "output_usd_per_million_tokens": 25.0,
}
"""The dearer of GPT-4o and Claude Opus 4.6, for each kind of token."""


@pytest.fixture(scope="module")
def lister(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningGateway]:
    """A gateway with models that the price table knows; nobody is asked anything."""
    environment = {"KEY_OF_NONE": "sk-none", "LISTER_KEY": SECRET}
    folder = tmp_path_factory.mktemp("lister")
    with RunningGateway(folder, KNOWN, environment=environment) as running:
        yield running


def _openai_extras(lister: RunningGateway) -> dict[str, dict[str, Any]]:
    with openai.OpenAI(base_url=f"{lister.url}/v1", api_key=SECRET) as client:
        return {model.id: model.model_extra or {} for model in client.models.list()}


def test_openai_s_clients_read_context_and_price(lister: RunningGateway) -> None:
    """Under the names that other gateways and servers gave them, from the package's own data."""
    extras = _openai_extras(lister)
    sizes = ("context_length", "max_model_len", "max_output_tokens")
    assert [extras["one"].get(name) for name in sizes] == [128_000, 128_000, None]
    assert [extras["said"].get(name) for name in sizes] == [9000, 9000, 700]
    assert extras["one"]["pricing"]["input_usd_per_million_tokens"] == 2.5


def test_what_is_not_true_of_every_target_is_not_shown(lister: RunningGateway) -> None:
    """Any of them may be drawn: the smallest context, the highest price, and no guess."""
    extras = _openai_extras(lister)
    assert extras["two"]["context_length"] == 128_000
    assert extras["two"]["pricing"] == PRICED
    assert extras["two"]["capabilities"] == ["chat"]
    assert set(extras["half"]) == {"capabilities"}


def test_only_what_the_provider_documents_is_a_capability(lister: RunningGateway) -> None:
    """A provider of embeddings speaks OpenAI's dialect, and has no chat all the same."""
    assert _openai_extras(lister)["vectors"]["capabilities"] == ["embeddings"]


def test_anthropic_s_sdk_reads_context_and_price(lister: RunningGateway) -> None:
    """In fields of its own type; it keeps the price, which it has no type for."""
    with anthropic.Anthropic(base_url=lister.url, api_key=SECRET) as client:
        models = {model.id: model for model in client.models.list()}
        one = client.models.retrieve("said")
    assert (one.max_input_tokens, one.max_tokens) == (9000, 700)
    assert models["said"] == one
    assert (models["one"].max_input_tokens, models["one"].max_tokens) == (128_000, None)
    assert (models["half"].max_input_tokens, models["half"].capabilities) == (None, None)
    assert models["two"].model_extra == {"pricing": PRICED}


@pytest.mark.parametrize("version", ["v1", "v1beta"])
def test_google_s_sdk_reads_the_context(lister: RunningGateway, version: str) -> None:
    """In fields of its own type; the price it leaves out, and reads the rest."""
    options = types.HttpOptions(base_url=lister.url, api_version=version)
    with genai.Client(api_key=SECRET, http_options=options) as client:
        models = {model.name: model for model in client.models.list()}
        one = client.models.get(model="said")
    assert (one.input_token_limit, one.output_token_limit) == (9000, 700)
    assert models["models/two"].input_token_limit == 128_000
    assert models["models/half"].input_token_limit is None
    assert "generateContent" not in (models["models/vectors"].supported_actions or [])
    raw = httpx2.get(f"{lister.url}/{version}/models/two", headers={"x-goog-api-key": SECRET})
    assert raw.json()["pricing"] == PRICED


@pytest.mark.parametrize("query", ["limit=0", "limit=1001", "limit=x", "after_id=nope"])
def test_a_bad_page_is_refused(gateway: RunningGateway, query: str) -> None:
    """In Anthropic's shape, naming the parameter."""
    headers = {"x-api-key": SECRET, "anthropic-version": "2026-10-21"}
    answer = httpx2.get(f"{gateway.url}/v1/models?{query}", headers=headers)
    assert answer.status_code == 400
    assert query.partition("=")[0] in answer.json()["error"]["message"]


@pytest.mark.parametrize("version", ["2023-06-01", "2026-10-21"])
def test_both_versions_are_answered_by_any_model(
    gateway: RunningGateway, upstream: StrictUpstream, version: str
) -> None:
    """Translated or not."""
    asked = {"model": "", "max_tokens": 99, "messages": [{"role": "user", "content": "hi"}]}
    headers = {"authorization": f"Bearer {SECRET}", "anthropic-version": version}
    for model in ("anthropic-text", "gemini-text"):
        answer = httpx2.post(
            f"{gateway.url}/v1/messages", headers=headers, json={**asked, "model": model}
        )
        assert answer.status_code == 200, answer.text
    assert upstream.last["anthropic", "text"].headers["anthropic-version"] == version


def test_an_unknown_version_is_refused_clearly(gateway: RunningGateway) -> None:
    """By us where we translate, by the provider where it is asked in its own format."""
    asked = {"max_tokens": 99, "messages": [{"role": "user", "content": "hi"}]}
    headers = {"x-api-key": SECRET, "anthropic-version": "1999-01-01"}
    for model in ("anthropic-text", "gemini-text"):
        answer = httpx2.post(
            f"{gateway.url}/v1/messages", headers=headers, json={**asked, "model": model}
        )
        assert answer.status_code == 400
        error = answer.json()["error"]
        assert error["type"] == "invalid_request_error"
        assert "anthropic-version" in error["message"]
