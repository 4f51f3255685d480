"""Counting tokens with the real SDKs: by the provider where it can, else estimated and marked."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import anthropic
import httpx2
import openai
import pytest
from tests.fakes.responses_upstream import COUNTED, KEY, ResponsesUpstream
from tests.running import RunningGateway, counters

pytestmark = pytest.mark.process

SECRET = "tg-counts-0123456789"
OTHER = "tg-counts-other-01234"
TEXT = "The tide is coming in. " * 20


@pytest.fixture(scope="module")
def upstream() -> Iterator[ResponsesUpstream]:
    with ResponsesUpstream() as running:
        yield running


@pytest.fixture(scope="module")
def gateway(
    upstream: ResponsesUpstream, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningGateway]:
    config = f"""
providers:
  keeper: {{kind: openai, base_url: "{upstream.url}", api_key: env:UP_KEY}}
  lender: {{kind: xai, base_url: "{upstream.url}", api_key: env:UP_KEY}}
  forgetful: {{kind: groq, base_url: "{upstream.url}", api_key: env:UP_KEY}}
  claude: {{kind: anthropic, base_url: "{upstream.root}", api_key: env:UP_KEY}}
models:
  kept: {{targets: [keeper/gpt], retries: 0}}
  lent: {{targets: [lender/grok], retries: 0}}
  forgotten: {{targets: [forgetful/oss], retries: 0}}
  thinker: {{targets: [claude/claude], retries: 0}}
keys:
  one: {{secret: env:ONE_KEY}}
  other: {{secret: env:OTHER_KEY}}
"""
    environment = {"UP_KEY": KEY, "ONE_KEY": SECRET, "OTHER_KEY": OTHER}
    folder = tmp_path_factory.mktemp("counts")
    with RunningGateway(folder, config, environment=environment) as running:
        yield running


@pytest.fixture
def client(gateway: RunningGateway) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{gateway.url}/v1", api_key=SECRET, max_retries=0) as client:
        yield client


def _count(client: openai.OpenAI, **asked: Any) -> tuple[int, str]:
    """Return the count and where it comes from."""
    answer = client.responses.input_tokens.with_raw_response.count(**asked)
    counted = answer.parse()
    assert counted.object == "response.input_tokens"
    return counted.input_tokens, answer.headers.get("x-tidegate-usage", "")


def test_openai_counts_the_input_of_a_response_itself(
    client: openai.OpenAI, upstream: ResponsesUpstream
) -> None:
    """It is sent the caller's request under the model's name there."""
    tokens, source = _count(client, model="kept", input=TEXT, instructions="Be brief.")
    assert (tokens, source) == (COUNTED, "none")
    assert upstream.seen[-1][:2] == ("POST", "/v1/responses/input_tokens")
    assert upstream.last == {"model": "gpt", "input": TEXT, "instructions": "Be brief."}


@pytest.mark.parametrize("model", ["forgotten", "thinker", "lent"])
def test_elsewhere_the_count_is_estimated_and_marked(
    client: openai.OpenAI, upstream: ResponsesUpstream, model: str
) -> None:
    """No provider is asked; longer inputs have more tokens."""
    asked = len(upstream.seen)
    short, source = _count(client, model=model, input="hi")
    long, _ = _count(client, model=model, input=TEXT)
    assert source == "estimated"
    assert 1 <= short < 30
    assert len(TEXT) / 10 < long < len(TEXT)
    assert len(upstream.seen) == asked


def test_what_a_provider_keeps_is_counted_there(
    client: openai.OpenAI, gateway: RunningGateway, upstream: ResponsesUpstream
) -> None:
    """For the key that it belongs to, and for no other."""
    first = client.responses.create(model="kept", input="one")
    counted = _count(client, model="kept", input="two", previous_response_id=first.id)
    assert counted == (2 * COUNTED, "none")
    asked = len(upstream.seen)
    with (
        openai.OpenAI(base_url=f"{gateway.url}/v1", api_key=OTHER, max_retries=0) as other,
        pytest.raises(openai.NotFoundError),
    ):
        _count(other, model="kept", input="two", previous_response_id=first.id)
    assert len(upstream.seen) == asked


def test_what_is_kept_here_counts_too(client: openai.OpenAI, upstream: ResponsesUpstream) -> None:
    """It would come first in the request; a provider that counts is told it."""
    first = client.responses.create(model="forgotten", input=TEXT)
    alone, _ = _count(client, model="forgotten", input="two")
    both, source = _count(client, model="forgotten", input="two", previous_response_id=first.id)
    assert source == "estimated"
    assert both > alone + len(TEXT) / 10
    tokens, _ = _count(client, model="kept", input="two", previous_response_id=first.id)
    assert tokens == COUNTED
    assert TEXT in str(upstream.last["input"])
    assert "previous_response_id" not in upstream.last


def test_what_nobody_can_count_is_refused(client: openai.OpenAI) -> None:
    """An estimate without what the provider keeps would be far too small."""
    first = client.responses.create(model="lent", input=TEXT)
    for name, asked in (
        ("previous_response_id", {"previous_response_id": first.id}),
        ("conversation", {"conversation": "conv_1"}),
    ):
        with pytest.raises(openai.BadRequestError, match="counts no tokens") as refused:
            _count(client, model="lent", input="two", **asked)
        assert refused.value.param == name
    with pytest.raises(openai.BadRequestError) as unreadable:
        client.post("/responses/input_tokens", cast_to=dict, body={"model": "lent", "input": 5})
    assert unreadable.value.param == "input"


def test_counting_costs_nothing(client: openai.OpenAI, gateway: RunningGateway) -> None:
    """Providers take no money for it, so no tokens are estimated in its place."""
    before = counters(gateway.page())
    _count(client, model="kept", input=TEXT)
    with anthropic.Anthropic(base_url=gateway.url, api_key=SECRET) as messages:
        counted = messages.messages.count_tokens(
            model="thinker", messages=[{"role": "user", "content": TEXT}]
        )
    assert counted.input_tokens == COUNTED
    after = counters(gateway.page())
    assert after("tidegate_tokens_total") == before("tidegate_tokens_total")
    attempts = "tidegate_upstream_requests_total"
    assert after(attempts) == before(attempts) + 2


def test_an_estimate_for_messages_is_marked(gateway: RunningGateway) -> None:
    """The same holds for Anthropic's and Gemini's counts."""
    headers = {"authorization": f"Bearer {SECRET}"}
    asked: dict[str, Any] = {"messages": [{"role": "user", "content": TEXT}], "model": "lent"}
    answer = httpx2.post(f"{gateway.url}/v1/messages/count_tokens", headers=headers, json=asked)
    assert (answer.headers["x-tidegate-usage"], set(answer.json())) == (
        "estimated",
        {"input_tokens"},
    )
    gemini = httpx2.post(
        f"{gateway.url}/v1beta/models/lent:countTokens",
        headers=headers,
        json={"contents": [{"parts": [{"text": TEXT}]}]},
    )
    assert (gemini.headers["x-tidegate-usage"], set(gemini.json())) == (
        "estimated",
        {"totalTokens"},
    )
