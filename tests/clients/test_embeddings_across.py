"""Embeddings with the openai and google-genai packages, whatever dialect the provider speaks."""

from __future__ import annotations

import base64
import struct
from collections.abc import Iterator

import httpx2 as httpx
import openai
import pytest
from google import genai
from google.genai import errors as genai_errors
from google.genai import types
from tests.fakes.embedding_upstream import KEY, EmbeddingUpstream
from tests.running import RunningGateway, counters

pytestmark = pytest.mark.process

SECRET = "tg-embeds-0123456789abcdef"
BACKS = ("to-gemini", "to-cohere")


@pytest.fixture(scope="module")
def upstream() -> Iterator[EmbeddingUpstream]:
    with EmbeddingUpstream() as running:
        yield running


@pytest.fixture(scope="module")
def gateway(
    upstream: EmbeddingUpstream, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningGateway]:
    config = f"""
providers:
  g: {{kind: gemini, base_url: "{upstream.url}/v1beta", api_key: env:PROVIDER_KEY}}
  c: {{kind: cohere, base_url: "{upstream.url}", api_key: env:PROVIDER_KEY}}
  o: {{kind: openai-compatible, base_url: "{upstream.url}/v1", api_key: env:PROVIDER_KEY}}
  a: {{kind: anthropic, base_url: "{upstream.url}", api_key: env:PROVIDER_KEY}}
models:
  to-gemini: {{targets: [g/gemini-embedding-001]}}
  to-cohere: {{targets: [c/embed-v4.0]}}
  to-openai: {{targets: [o/text-embedding-3-small]}}
  strict: {{targets: [c/embed-v4.0], unsupported: reject}}
  broken: {{targets: [c/broken]}}
  none: {{targets: [a/claude]}}
routing: {{retries: 0}}
keys:
  embeds: {{secret: env:EMBED_KEY}}
"""
    folder = tmp_path_factory.mktemp("embeds")
    environment = {"PROVIDER_KEY": KEY, "EMBED_KEY": SECRET}
    with RunningGateway(folder, config, environment=environment) as running:
        yield running


@pytest.fixture
def client(gateway: RunningGateway) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{gateway.url}/v1", api_key=SECRET, max_retries=0) as client:
        yield client


@pytest.fixture
def google(gateway: RunningGateway) -> Iterator[genai.Client]:
    options = types.HttpOptions(base_url=gateway.url)
    client = genai.Client(api_key=SECRET, http_options=options)
    yield client
    client.close()


@pytest.fixture
def raw(gateway: RunningGateway) -> Iterator[httpx.Client]:
    headers = {"authorization": f"Bearer {SECRET}"}
    with httpx.Client(base_url=gateway.url, headers=headers, timeout=20) as raw:
        yield raw


def _contents(*texts: str) -> list[types.Content]:
    """Each is to become a vector; the SDK makes one of plain strings for most models."""
    return [types.Content(parts=[types.Part(text=text)]) for text in texts]


@pytest.mark.parametrize("model", BACKS)
@pytest.mark.parametrize("encoding", ["float", "base64"])
def test_openai_s_client_gets_vectors_from_any_provider(
    client: openai.OpenAI, model: str, encoding: str
) -> None:
    """One text, several, in both encodings, cut to the dimensions asked."""
    many = client.embeddings.create(
        model=model,
        input=["a", "bbb"],
        dimensions=2,
        encoding_format=encoding,  # type: ignore[arg-type]
    )
    vectors = [one.embedding for one in many.data]
    if encoding == "base64":
        packed = [base64.b64decode(str(vector)) for vector in vectors]
        vectors = [list(struct.unpack("<2f", text)) for text in packed]
    assert vectors == [[1.0, 0.5], [3.0, 0.5]]
    assert many.model == model
    single = client.embeddings.create(model=model, input="four")
    assert single.data[0].embedding == [4.0, 0.5, -1.25]


def test_usage_is_told_or_estimated(
    raw: httpx.Client, upstream: EmbeddingUpstream, gateway: RunningGateway
) -> None:
    """Cohere tells billed units; Gemini often tells nothing, which the header says."""
    body = {"model": "to-cohere", "input": "x" * 90}
    told = raw.post("/v1/embeddings", json=body)
    assert told.json()["usage"] == {"prompt_tokens": 7, "total_tokens": 7}
    assert "x-tidegate-usage" not in told.headers
    before = counters(gateway.page())
    guessed = raw.post("/v1/embeddings", json={**body, "model": "to-gemini"})
    assert guessed.headers["x-tidegate-usage"] == "estimated"
    tokens = guessed.json()["usage"]["prompt_tokens"]
    assert 20 < tokens < 80
    after = counters(gateway.page())
    named = {"model": "gemini-embedding-001"}
    grown = {
        kind: after("tidegate_tokens_total", type=kind, **named)
        - before("tidegate_tokens_total", type=kind, **named)
        for kind in ("input", "output")
    }
    assert grown == {"input": tokens, "output": 0}
    upstream.tells_usage = True
    try:
        told = raw.post("/v1/embeddings", json={**body, "model": "to-gemini"})
    finally:
        upstream.tells_usage = False
    assert told.json()["usage"]["prompt_tokens"] == 9


def test_google_s_client_gets_vectors_from_any_provider(
    google: genai.Client, upstream: EmbeddingUpstream
) -> None:
    """The SDK asks for several at once; what they are for goes along where it can."""
    config = types.EmbedContentConfig(task_type="RETRIEVAL_QUERY", output_dimensionality=2)
    for model in ("to-openai", "to-cohere", "to-gemini"):
        answer = google.models.embed_content(
            model=model, contents=_contents("a", "bbb"), config=config
        )
        assert answer.embeddings is not None
        assert [one.values for one in answer.embeddings] == [[1.0, 0.5], [3.0, 0.5]]
    google.models.embed_content(model="to-cohere", contents="a", config=config)
    assert upstream.last[1]["input_type"] == "search_query"


def test_one_content_is_one_vector(raw: httpx.Client) -> None:
    """`:embedContent` with parts, which are one text to the model."""
    answer = raw.post(
        "/v1beta/models/to-openai:embedContent",
        json={"content": {"parts": [{"text": "a"}, {"text": "bb"}]}},
    )
    assert answer.json()["embedding"] == {"values": [4.0, 0.5, -1.25]}
    assert answer.json()["usageMetadata"]["promptTokenCount"] == 5


def test_a_provider_never_reads_another_model_in_the_body(
    raw: httpx.Client, upstream: EmbeddingUpstream
) -> None:
    """The model that was asked for stands in each request of a batch, whatever was written."""
    one = {"model": "models/expensive", "content": {"parts": [{"text": "a"}]}}
    answer = raw.post("/v1beta/models/to-gemini:batchEmbedContents", json={"requests": [one]})
    assert answer.status_code == 200, answer.text
    assert upstream.last[1]["requests"][0]["model"] == "models/gemini-embedding-001"
    spelled = (
        b'{"requests":[{"mod\\u0065l":"models/expensive","content":{"parts":[{"text":"a"}]}}]}'
    )
    answer = raw.post("/v1beta/models/to-gemini:batchEmbedContents", content=spelled)
    assert answer.status_code == 200, answer.text
    assert upstream.last[1]["requests"][0]["model"] == "models/gemini-embedding-001"


def test_what_is_lost_is_named(raw: httpx.Client) -> None:
    """In the header, by the caller's own path; or refused where the model says so."""
    asked = {"model": "to-cohere", "input": "a", "user": "u", "own": 1}
    answer = raw.post("/v1/embeddings", json=asked)
    assert answer.headers["x-tidegate-fidelity"] == "own;dropped, user;dropped"
    refused = raw.post("/v1/embeddings", json={**asked, "model": "strict"})
    assert refused.status_code == 400
    assert refused.json()["error"]["code"] == "unsupported_by_model"
    content = {"parts": [{"text": "a", "own": 1}]}
    answer = raw.post(
        "/v1beta/models/to-openai:batchEmbedContents",
        json={"requests": [{"content": content, "taskType": "CLUSTERING", "title": "t"}]},
    )
    lost = answer.headers["x-tidegate-fidelity"]
    assert lost == "content.parts[].own;dropped, taskType;dropped, title;dropped"


def test_what_cannot_be_embedded_is_refused(
    client: openai.OpenAI, google: genai.Client, raw: httpx.Client
) -> None:
    """Tokens of one tokenizer, pictures, empty texts, mixed batches; before any limit is used."""
    for wrong in ([1, 2, 3], [[1, 2]], [], "", ["a", ""]):
        with pytest.raises(openai.BadRequestError):
            client.embeddings.create(model="to-cohere", input=wrong)  # type: ignore[arg-type]
    picture = {"content": {"parts": [{"inlineData": {"mimeType": "image/png", "data": "AA=="}}]}}
    answer = raw.post("/v1beta/models/to-openai:embedContent", json=picture)
    assert answer.status_code == 400
    assert answer.json()["error"]["status"] == "INVALID_ARGUMENT"
    mixed = [
        {"content": {"parts": [{"text": "a"}]}, "outputDimensionality": size} for size in (1, 2)
    ]
    answer = raw.post("/v1beta/models/to-openai:batchEmbedContents", json={"requests": mixed})
    assert answer.status_code == 400
    with pytest.raises(openai.BadRequestError) as none:
        client.embeddings.create(model="none", input="a")
    assert none.value.code == "unsupported_by_model"


def test_a_provider_s_refusal_comes_in_the_caller_s_shape(
    client: openai.OpenAI, google: genai.Client
) -> None:
    """Cohere takes 96 texts at most, and says so."""
    with pytest.raises(openai.BadRequestError, match="too many texts"):
        client.embeddings.create(model="to-cohere", input=["a"] * 97)
    with pytest.raises(genai_errors.ClientError, match="too many texts"):
        google.models.embed_content(model="to-cohere", contents=_contents(*["a"] * 97))


def test_an_answer_that_lacks_vectors_is_no_answer(client: openai.OpenAI) -> None:
    """One vector for two texts would be paired with the wrong ones: 502."""
    with pytest.raises(openai.InternalServerError) as wrong:
        client.embeddings.create(model="broken", input=["a", "b"])
    assert wrong.value.status_code == 502
