"""The official openai package against a real gateway process and a provider of our own."""

from __future__ import annotations

import os
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import openai
import pytest
from tests.fakes.openai_upstream import KEY, WORDS, OpenAIUpstream
from tests.running import RunningGateway, counters

pytestmark = pytest.mark.process

SECRET = "tg-sdk-tests-0123456789"
TIGHT = "tg-sdk-tight-0123456789"
TEXT = "".join(WORDS)
MODELS = (
    "plain", "slow", "fails", "recovers", "limited", "resets", "cuts", "forgets-done", "tools",
)  # fmt: skip


@pytest.fixture(scope="module")
def upstream() -> Iterator[OpenAIUpstream]:
    with OpenAIUpstream() as running:
        yield running


@pytest.fixture(scope="module")
def gateway(
    upstream: OpenAIUpstream, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningGateway]:
    models = "\n".join(
        f"  {name}: {{targets: [{{provider: acme, model: {name}}}], retries: "
        f"{2 if name == 'recovers' else 0}}}"
        for name in MODELS
    )
    config = f"""
providers:
  acme: {{kind: openai-compatible, base_url: "{upstream.url}", api_key: env:ACME_KEY}}
models:
{models}
limits:
  wide: {{per: key, requests: 1000000, window: 1m}}
  tight: {{per: key, requests: 3, window: 1h}}
keys:
  sdk: {{secret: env:SDK_KEY, limits: [wide]}}
  narrow: {{secret: env:TIGHT_KEY, limits: [tight]}}
"""
    folder = tmp_path_factory.mktemp("sdk")
    environment = {"ACME_KEY": KEY, "SDK_KEY": SECRET, "TIGHT_KEY": TIGHT}
    with RunningGateway(folder, config, environment=environment) as running:
        yield running


@pytest.fixture
def client(gateway: RunningGateway) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{gateway.url}/v1", api_key=SECRET, max_retries=0) as client:
        yield client


def _ask(client: openai.OpenAI, model: str = "plain") -> str | None:
    answer = client.chat.completions.create(
        model=model, messages=[{"role": "user", "content": "hi"}]
    )
    return answer.choices[0].message.content


def test_a_whole_answer_and_its_usage(client: openai.OpenAI) -> None:
    """The SDK's types are filled from the provider's own bytes."""
    answer = client.chat.completions.create(
        model="plain", messages=[{"role": "user", "content": "hi"}]
    )
    assert answer.choices[0].message.content == TEXT
    assert answer.usage is not None
    assert answer.usage.total_tokens == 15


def test_base_urls_in_every_spelling(gateway: RunningGateway) -> None:
    """With and without /v1 and a trailing slash."""
    for base in ("/v1", "/v1/", "", "/"):
        with openai.OpenAI(base_url=gateway.url + base, api_key=SECRET, max_retries=0) as client:
            assert _ask(client) == TEXT


def test_a_stream_without_and_with_usage(client: openai.OpenAI) -> None:
    """Usage is forced upstream and hidden from a client that did not ask."""
    messages = [{"role": "user", "content": "hi"}]
    chunks = list(client.chat.completions.create(model="plain", messages=messages, stream=True))
    assert "".join(c.choices[0].delta.content or "" for c in chunks) == TEXT
    assert all(chunk.usage is None and chunk.choices for chunk in chunks)
    asked = list(
        client.chat.completions.create(
            model="plain", messages=messages, stream=True, stream_options={"include_usage": True}
        )
    )
    assert asked[-1].usage is not None
    assert asked[-1].usage.completion_tokens == 4


def test_the_stream_helper_sees_a_whole_stream(client: openai.OpenAI) -> None:
    """The SDK's accumulating helper works on a stream whose provider forgot [DONE]."""
    with client.chat.completions.stream(
        model="forgets-done", messages=[{"role": "user", "content": "hi"}]
    ) as stream:
        stream.until_done()
        final = stream.get_final_completion()
    assert final.choices[0].message.content == TEXT


def test_tools_pass_through(client: openai.OpenAI, upstream: OpenAIUpstream) -> None:
    """Tool definitions and calls are not ours to touch; unknown fields neither."""
    tool = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}
    answer = client.chat.completions.create(
        model="tools",
        messages=[{"role": "user", "content": "weather?"}],
        tools=[tool],  # type: ignore[list-item]
        extra_body={"x_unknown": {"a": [1]}},
    )
    calls = answer.choices[0].message.tool_calls
    assert calls is not None
    assert calls[0].function.arguments == '{"city":"Oslo"}'  # type: ignore[union-attr]
    sent = upstream.last["tools"][1]
    assert sent["tools"] == [tool]
    assert sent["x_unknown"] == {"a": [1]}


def test_the_raw_response_shows_our_headers(client: openai.OpenAI) -> None:
    """Request id and limits are there, on streams too; the provider's own pass by a list."""
    raw = client.chat.completions.with_raw_response.create(
        model="plain", messages=[{"role": "user", "content": "hi"}]
    )
    assert raw.headers["x-request-id"].startswith("req_")
    assert raw.headers["x-ratelimit-limit-requests"] == "1000000"
    assert int(raw.headers["x-ratelimit-remaining-requests"]) < 1000000
    with client.chat.completions.with_streaming_response.create(
        model="plain", messages=[{"role": "user", "content": "hi"}], stream=True
    ) as streamed:
        assert streamed.headers["x-ratelimit-limit-requests"] == "1000000"
        assert streamed.headers["openai-processing-ms"] == "7"
        assert streamed.headers["content-type"].startswith("text/event-stream")


def test_embeddings_in_both_encodings(client: openai.OpenAI) -> None:
    """The SDK asks for base64 by default; floats work as well."""
    for encoding in ("float", "base64"):
        answer = client.embeddings.create(
            model="plain",
            input=["a", "b"],
            encoding_format=encoding,  # type: ignore[arg-type]
        )
        assert answer.data[1].index == 1
    default = client.embeddings.create(model="plain", input="a")
    assert default.data[0].embedding == [0.0, 0.5, -1.25]


def test_legacy_completions(client: openai.OpenAI) -> None:
    """The older endpoint takes the same way."""
    assert client.completions.create(model="plain", prompt="x").choices[0].text == TEXT


def test_models_are_listed_and_retrieved(client: openai.OpenAI) -> None:
    """Configured names, sorted; one of them by itself."""
    names = [model.id for model in client.models.list()]
    assert names == sorted(names)
    assert set(MODELS) <= set(names)
    assert client.models.retrieve("plain").id == "plain"
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("nope/nope")


def test_errors_arrive_as_the_sdks_own_classes(
    client: openai.OpenAI, gateway: RunningGateway
) -> None:
    """Each status is the exception a caller would catch."""
    with pytest.raises(openai.NotFoundError) as missing:
        _ask(client, "plane")
    assert missing.value.code == "model_not_found"
    assert "plain" in str(missing.value)
    with pytest.raises(openai.BadRequestError):
        client.chat.completions.create(model="plain", messages=[])
    with pytest.raises(openai.InternalServerError) as failed:
        _ask(client, "fails")
    assert failed.value.status_code == 502
    with pytest.raises(openai.InternalServerError):
        _ask(client, "resets")
    with pytest.raises(openai.RateLimitError) as limited:
        _ask(client, "limited")
    assert limited.value.response.headers["retry-after"] == "3"
    with (
        openai.OpenAI(base_url=f"{gateway.url}/v1", api_key="tg-nope", max_retries=0) as stranger,
        pytest.raises(openai.AuthenticationError) as refused,
    ):
        _ask(stranger)
    assert refused.value.code == "invalid_api_key"


def test_a_failing_provider_is_retried_before_the_first_byte(
    client: openai.OpenAI, upstream: OpenAIUpstream
) -> None:
    """The client sees one whole answer; the provider saw two requests."""
    before = upstream.seen["recovers"]
    assert _ask(client, "recovers") == TEXT
    assert upstream.seen["recovers"] == before + 2


def test_a_cut_stream_raises_in_the_client(client: openai.OpenAI) -> None:
    """What arrived is there, and then the SDK raises instead of ending quietly."""
    words = []
    with pytest.raises(openai.APIError):  # noqa: PT012 (what came before the error counts)
        for chunk in client.chat.completions.create(
            model="cuts", messages=[{"role": "user", "content": "hi"}], stream=True
        ):
            words.append(chunk.choices[0].delta.content or "")
    assert "".join(words) == TEXT


def test_our_own_limit_is_a_rate_limit_error_that_the_sdk_can_wait_for(
    gateway: RunningGateway,
) -> None:
    """Three pass, the fourth is refused with the exact wait; a refusal consumes nothing."""
    with openai.OpenAI(base_url=f"{gateway.url}/v1", api_key=TIGHT, max_retries=0) as client:
        for _ in range(3):
            assert _ask(client) == TEXT
        for _ in range(2):
            with pytest.raises(openai.RateLimitError) as limited:
                _ask(client)
    headers = limited.value.response.headers
    assert limited.value.code == "rate_limit_exceeded"
    assert 1190 <= int(headers["retry-after"]) <= 1200
    assert headers["x-ratelimit-remaining-requests"] == "0"


def test_a_client_that_leaves_cancels_the_upstream_within_a_second(
    client: openai.OpenAI, upstream: OpenAIUpstream
) -> None:
    """Closing the SDK's stream closes the provider's."""
    before = upstream.broken
    stream = client.chat.completions.create(
        model="slow", messages=[{"role": "user", "content": "hi"}], stream=True
    )
    next(iter(stream))
    stream.close()
    done = threading.Event()
    for _ in range(100):
        if upstream.broken > before and upstream.open_streams == 0:
            break
        done.wait(0.02)
    assert upstream.broken == before + 1


async def test_the_async_client(gateway: RunningGateway) -> None:
    """Whole, streamed, and many at once."""
    async with openai.AsyncOpenAI(
        base_url=f"{gateway.url}/v1", api_key=SECRET, max_retries=0
    ) as client:
        stream = await client.chat.completions.create(
            model="plain", messages=[{"role": "user", "content": "hi"}], stream=True
        )
        words = [chunk.choices[0].delta.content or "" async for chunk in stream]
        assert "".join(words) == TEXT


def test_the_page_equals_what_the_clients_counted(
    gateway: RunningGateway, upstream: OpenAIUpstream
) -> None:
    """600 mixed requests over 64 connections: allowed, blocked and requests are exact."""
    before = counters(gateway.page())
    outcomes: Counter[int] = Counter()
    lock = threading.Lock()
    keys = (SECRET, TIGHT, "tg-wrong-wrong")

    def one(number: int) -> None:
        key = keys[0] if number % 10 else keys[1 + number // 10 % 2]
        model = ("plain", "plain", "fails", "nope", "plain", "limited")[number % 6]
        client = clients[number % 64][key]
        try:
            if number % 3 == 0 and model == "plain":
                list(
                    client.chat.completions.create(
                        model=model, messages=[{"role": "user", "content": "x"}], stream=True
                    )
                )
            else:
                _ask(client, model)
            status = 200
        except openai.APIStatusError as error:
            status = error.status_code
            if status == 429 and model == "limited" and key == SECRET:
                status = 1429
        with lock:
            outcomes[status] += 1

    clients = [
        {
            key: openai.OpenAI(base_url=f"{gateway.url}/v1", api_key=key, max_retries=0)
            for key in keys
        }
        for _ in range(64)
    ]
    try:
        with ThreadPoolExecutor(64) as pool:
            list(pool.map(one, range(600)))
    finally:
        for per_key in clients:
            for client in per_key.values():
                client.close()
    after = counters(gateway.page())

    def grew(name: str, **labels: str) -> float:
        return after(name, **labels) - before(name, **labels)

    assert outcomes[401] > 0
    assert outcomes[404] > 0
    assert outcomes[429] > 0
    refused_before_limits = outcomes[401] + outcomes[404]
    assert grew("rate_limit_blocked_total") == outcomes[429]
    assert grew("rate_limit_allowed_total") == 600 - refused_before_limits - outcomes[429]
    assert grew("tidegate_requests_total") == 600
    for status in (200, 401, 404, 502):
        assert grew("tidegate_requests_total", status=str(status)) == outcomes[status]
    assert grew("tidegate_requests_total", status="429") == outcomes[429] + outcomes[1429]


def test_no_secret_is_in_the_log_or_on_the_page(gateway: RunningGateway) -> None:
    """Client keys, provider keys and prompts stay out of both."""
    text = Path(gateway.log).read_text() + gateway.page()
    for secret in (SECRET, TIGHT, KEY):
        assert secret not in text
    assert os.path.exists(sys.executable)
