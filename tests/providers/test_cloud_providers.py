"""Azure, Bedrock and Vertex by the official SDKs, through a real gateway, to strict fakes."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import anthropic
import openai
import pytest
from cloud_fakes import TEXT, Azure, Bedrock, Ollama, Vertex
from google import genai
from tests.running import RunningGateway

pytestmark = pytest.mark.process

KEY = "tg-cloud-tests-0123456789"
AWS_SECRET = "aws-secret-0123456789/abc+"
AWS_TOKEN = "aws-session-token-0123456789=="


@pytest.fixture(scope="module")
def azure() -> Iterator[Azure]:
    with Azure() as cloud:
        assert isinstance(cloud, Azure)
        yield cloud


@pytest.fixture(scope="module")
def bedrock() -> Iterator[Bedrock]:
    with Bedrock() as cloud:
        assert isinstance(cloud, Bedrock)
        cloud.secrets["AKIDSTATIC"] = (AWS_SECRET, AWS_TOKEN)
        yield cloud


@pytest.fixture(scope="module")
def vertex() -> Iterator[Vertex]:
    with Vertex() as cloud:
        assert isinstance(cloud, Vertex)
        yield cloud


@pytest.fixture(scope="module")
def gateway(
    azure: Azure, bedrock: Bedrock, vertex: Vertex, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningGateway]:
    folder = tmp_path_factory.mktemp("clouds")
    (folder / "account.json").write_text(json.dumps(vertex.account))
    entra = (
        f'authority: "{azure.url}", tenant_id: {azure.TENANT}, client_id: {azure.CLIENT}, '
        "client_secret: env:ENTRA_SECRET"
    )
    config = f"""
providers:
  azure-key: {{kind: azure, base_url: "{azure.url}", api_key: env:AZURE_KEY}}
  azure-dated:
    {{kind: azure, base_url: "{azure.url}/openai", api_key: env:AZURE_KEY,
      azure: {{api_version: {azure.VERSION}}}}}
  azure-entra: {{kind: azure, base_url: "{azure.url}", azure: {{{entra}}}}}
  signed:
    kind: bedrock
    base_url: "{bedrock.url}"
    aws: {{region: {bedrock.REGION}, access_key_id: AKIDSTATIC, secret_access_key: env:AWS_SECRET,
          session_token: env:AWS_TOKEN}}
  keyed: {{kind: bedrock, base_url: "{bedrock.url}", api_key: env:BEDROCK_KEY}}
  google:
    kind: vertex
    base_url: "{vertex.url}"
    google: {{location: europe-west4, credentials: account.json}}
models:
  azure-key: {{targets: [azure-key/gpt-5]}}
  azure-dated: {{targets: [{{provider: azure-dated, model: my-deployment}}]}}
  azure-entra: {{targets: [azure-entra/gpt-5]}}
  signed: {{targets: [{{provider: signed, model: "{bedrock.MODEL}"}}]}}
  keyed: {{targets: [{{provider: keyed, model: "{bedrock.MODEL}"}}]}}
  gemini: {{targets: [google/gemini-2.5-flash]}}
  claude: {{targets: [google/{vertex.CLAUDE}]}}
  embed-old: {{targets: [google/text-embedding-005]}}
  embed-new: {{targets: [google/gemini-embedding-001]}}
keys:
  sdk: {{secret: env:SDK_KEY}}
"""
    environment = {
        "AZURE_KEY": azure.KEY,
        "ENTRA_SECRET": azure.CLIENT_SECRET,
        "AWS_SECRET": AWS_SECRET,
        "AWS_TOKEN": AWS_TOKEN,
        "BEDROCK_KEY": bedrock.BEARER,
        "SDK_KEY": KEY,
    }
    with RunningGateway(folder, config, environment=environment) as running:
        yield running


@pytest.fixture
def client(gateway: RunningGateway) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{gateway.url}/v1", api_key=KEY, max_retries=0) as client:
        yield client


def _ask(client: openai.OpenAI, model: str) -> str | None:
    answer = client.chat.completions.create(
        model=model, messages=[{"role": "user", "content": "hi"}]
    )
    return answer.choices[0].message.content


def _stream(client: openai.OpenAI, model: str) -> tuple[str, int]:
    stream = client.chat.completions.create(
        model=model,
        messages=[{"role": "user", "content": "hi"}],
        stream=True,
        stream_options={"include_usage": True},
    )
    text, tokens = "", 0
    for chunk in stream:
        if chunk.choices:
            text += chunk.choices[0].delta.content or ""
        if chunk.usage:
            tokens = chunk.usage.total_tokens
    return text, tokens


CLOUD_MODELS = ["azure-key", "azure-dated", "azure-entra", "signed", "keyed", "gemini", "claude"]


@pytest.mark.parametrize("model", CLOUD_MODELS)
def test_a_cloud_answers_an_openai_client(client: openai.OpenAI, model: str) -> None:
    """Each with its own path, and a credential that its fake has verified."""
    assert _ask(client, model) == TEXT


@pytest.mark.parametrize("model", CLOUD_MODELS)
def test_a_cloud_streams_to_an_openai_client(client: openai.OpenAI, model: str) -> None:
    """Events, binary frames or JSON pieces become chunks, with the usage at the end."""
    assert _stream(client, model) == (TEXT, 9)


def test_a_token_is_fetched_once(azure: Azure, vertex: Vertex, client: openai.OpenAI) -> None:
    """However many requests it is good for."""
    for _ in range(3):
        _ask(client, "azure-entra")
        _ask(client, "gemini")
    assert len(azure.issued) == 1
    assert len(vertex.issued) == 1


def test_claude_on_vertex_gets_its_caller_s_own_bytes(
    gateway: RunningGateway, vertex: Vertex
) -> None:
    """A Messages client is not translated: its fields arrive but for the model's name."""
    with anthropic.Anthropic(base_url=gateway.url, api_key=KEY, max_retries=0) as client:
        marked = {"type": "text", "text": "hi", "cache_control": {"type": "ephemeral"}}
        with client.messages.stream(
            model="claude",
            max_tokens=10,
            messages=[{"role": "user", "content": [marked]}],  # type: ignore[list-item]
        ) as stream:
            assert stream.get_final_text() == TEXT
    assert vertex.last == {
        "max_tokens": 10,
        "messages": [{"role": "user", "content": [marked]}],
        "stream": True,
        "anthropic_version": "vertex-2023-10-16",
    }


def test_vertex_counts_tokens_itself(gateway: RunningGateway, vertex: Vertex) -> None:
    """Claude's by one path for all models, which keeps the model in the body; Gemini's its own."""
    with anthropic.Anthropic(base_url=gateway.url, api_key=KEY, max_retries=0) as client:
        counted = client.messages.with_raw_response.count_tokens(
            model="claude", messages=[{"role": "user", "content": "hi"}]
        )
    assert counted.parse().input_tokens == 23
    assert counted.headers["x-tidegate-usage"] != "estimated"
    assert vertex.last["model"] == vertex.CLAUDE
    with _genai(gateway) as client:
        assert client.models.count_tokens(model="gemini", contents="hi").total_tokens == 31


@pytest.mark.parametrize(
    ("model", "first", "tokens"), [("embed-old", 0.5, 6), ("embed-new", 0.25, 7)]
)
def test_vertex_embeds_by_the_method_of_the_model(
    gateway: RunningGateway, client: openai.OpenAI, model: str, first: float, tokens: int
) -> None:
    """Both lines of models, for OpenAI's SDK and for Google's, with the tokens that it tells."""
    answer = client.embeddings.create(model=model, input=["a", "b"], dimensions=2)
    assert [one.embedding for one in answer.data] == [[first, 0.0], [first, 1.0]]
    assert answer.usage.prompt_tokens == tokens
    with _genai(gateway) as google:
        found = google.models.embed_content(
            model=model, contents=["a"], config={"task_type": "RETRIEVAL_QUERY", "title": "t"}
        )
    assert found.embeddings is not None
    assert found.embeddings[0].values == [first, 0.0]


def test_vertex_is_told_what_vectors_are_for(
    gateway: RunningGateway, client: openai.OpenAI, vertex: Vertex
) -> None:
    """Each method has its own place for that."""
    config = {"task_type": "RETRIEVAL_QUERY", "output_dimensionality": 2}
    with _genai(gateway) as google:
        google.models.embed_content(model="embed-old", contents=["a"], config=config)  # type: ignore[arg-type]
        assert vertex.last == {
            "instances": [{"content": "a", "task_type": "RETRIEVAL_QUERY"}],
            "parameters": {"outputDimensionality": 2},
        }
        google.models.embed_content(model="embed-new", contents=["a"], config=config)  # type: ignore[arg-type]
    wanted = {"taskType": "RETRIEVAL_QUERY", "outputDimensionality": 2}
    assert [one["embedContentConfig"] for one in vertex.last["requests"]] == [wanted]
    with pytest.raises(openai.BadRequestError):  # a model of embeddings does not chat
        _ask(client, "embed-old")


def _genai(gateway: RunningGateway) -> genai.Client:
    options = genai.types.HttpOptions(base_url=gateway.url)
    return genai.Client(api_key=KEY, vertexai=False, http_options=options)


@pytest.mark.parametrize("name", ["keyed/..", "keyed/.", "azure-dated/.."])
def test_no_model_s_name_leads_out_of_its_path(
    client: openai.OpenAI, bedrock: Bedrock, azure: Azure, name: str
) -> None:
    """Names come from clients, and may stand in the path that the gateway's credential opens."""
    with pytest.raises(openai.NotFoundError, match="does not exist"):
        _ask(client, name)
    sent = bedrock.paths + azure.paths
    assert not [path for path in sent if "." in path.split("/")[:-1] or ".." in path.split("/")]


def test_a_model_s_name_stays_one_part_of_its_path(client: openai.OpenAI, bedrock: Bedrock) -> None:
    """Slashes, question marks and the like are encoded."""
    with pytest.raises(openai.NotFoundError):
        _ask(client, "keyed/../../x?y#z")
    assert bedrock.paths[-1] == "/model/..%2F..%2Fx%3Fy%23z/converse"


def test_no_secret_is_ever_written(
    gateway: RunningGateway, azure: Azure, bedrock: Bedrock, vertex: Vertex
) -> None:
    """Neither what was configured nor what was fetched, in the log or on the page."""
    written = gateway.log.read_text() + gateway.page() + "\n".join(gateway.output)
    secrets = [azure.KEY, azure.CLIENT_SECRET, AWS_SECRET, AWS_TOKEN, bedrock.BEARER]
    secrets += [*azure.issued, *vertex.issued, vertex.account["private_key"].splitlines()[1]]
    for secret in secrets:
        assert secret not in written
    assert not azure.refusals + bedrock.refusals + vertex.refusals


def _entra_config(azure: Azure) -> str:
    return f"""
providers:
  azure:
    kind: azure
    base_url: "{azure.url}"
    azure: {{authority: "{azure.url}", tenant_id: {azure.TENANT}, client_id: {azure.CLIENT},
            client_secret: env:ENTRA_SECRET}}
  demo: {{}}
models:
  alone: {{targets: [azure/gpt-5], retries: 0}}
  backed: {{targets: [azure/gpt-5], retries: 0, fallbacks: [demo]}}
  two: {{targets: [{{provider: azure, model: gpt-5, weight: 1000000}}, demo/demo], retries: 1}}
  demo: {{targets: [demo/demo]}}
keys:
  sdk: {{secret: env:SDK_KEY}}
"""


def _client(gateway: RunningGateway) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{gateway.url}/v1", api_key=KEY, max_retries=0)


def test_a_token_is_renewed_before_it_ends(tmp_path: Path) -> None:
    """No request is ever sent with one that has ended, and none waits for a renewal."""
    environment = {"ENTRA_SECRET": Azure.CLIENT_SECRET, "SDK_KEY": KEY}
    with Azure() as azure:
        assert isinstance(azure, Azure)
        azure.lifetime_s = 2.0
        config = _entra_config(azure)
        with (
            RunningGateway(tmp_path, config, environment=environment) as gateway,
            _client(gateway) as client,
        ):
            deadline = time.monotonic() + 20.0
            while len(azure.issued) < 3 and time.monotonic() < deadline:
                assert _ask(client, "alone") == TEXT
        assert len(azure.issued) >= 3
        assert not azure.refusals


def test_a_dead_token_endpoint_is_a_502_and_others_answer(tmp_path: Path) -> None:
    """The request was not sent; a fallback or another target may still answer it."""
    environment = {"ENTRA_SECRET": Azure.CLIENT_SECRET, "SDK_KEY": KEY}
    with Azure() as azure:
        assert isinstance(azure, Azure)
        azure.is_down = True
        config = _entra_config(azure)
        with (
            RunningGateway(tmp_path, config, environment=environment) as gateway,
            _client(gateway) as client,
        ):
            with pytest.raises(openai.InternalServerError) as failed:
                _ask(client, "alone")
            assert failed.value.status_code == 502
            assert "demo model" in (_ask(client, "backed") or "")
            assert "demo model" in (_ask(client, "two") or "")
            assert all("token" in path for path in azure.paths)
            azure.is_down = False
            deadline = time.monotonic() + 10.0
            while time.monotonic() < deadline:
                try:
                    assert _ask(client, "alone") == TEXT
                    break
                except openai.InternalServerError:
                    time.sleep(0.05)  # the endpoint is left alone for a second
            else:
                raise AssertionError("it did not come back")
            log = gateway.log.read_text()
        assert "the token endpoint answered 503" in log


def test_a_revoked_token_is_given_up(tmp_path: Path) -> None:
    """The provider's 401 is believed, although the token's time is not over."""
    environment = {"ENTRA_SECRET": Azure.CLIENT_SECRET, "SDK_KEY": KEY}
    with Azure() as azure:
        assert isinstance(azure, Azure)
        config = _entra_config(azure)
        with (
            RunningGateway(tmp_path, config, environment=environment) as gateway,
            _client(gateway) as client,
        ):
            assert _ask(client, "alone") == TEXT
            azure.issued = {"revoked-token": 0.0}
            deadline = time.monotonic() + 20.0
            while len(azure.issued) < 2:
                assert time.monotonic() < deadline
                try:
                    _ask(client, "alone")
                except openai.InternalServerError:
                    time.sleep(0.05)  # it was fetched less than five seconds ago
            assert _ask(client, "alone") == TEXT


def test_a_refused_secret_is_named_by_its_code_alone(tmp_path: Path) -> None:
    """The description of a refusal quotes what was sent, so the log has none of it."""
    environment = {"ENTRA_SECRET": "wrong-secret-0123456789", "SDK_KEY": KEY}
    with Azure() as azure:
        assert isinstance(azure, Azure)
        config = _entra_config(azure)
        with (
            RunningGateway(tmp_path, config, environment=environment) as gateway,
            _client(gateway) as client,
        ):
            with pytest.raises(openai.InternalServerError):
                _ask(client, "alone")
            log = gateway.log.read_text()
    assert "the token endpoint answered 401 (invalid_client)" in log
    assert "wrong-secret" not in log


_BOTOCORE = '''
"""Stands in for botocore: a chain whose credentials change."""

import os


class _Frozen:
    access_key, secret_key, token = "AKIDCHAIN", os.environ["AWS_CHAIN_SECRET"], None


class _Credentials:
    def get_frozen_credentials(self):
        return _Frozen()


class Session:
    def __init__(self, profile=None):
        assert profile == "work", profile

    def get_credentials(self):
        return _Credentials()
'''


def test_the_credential_chain_signs(bedrock: Bedrock, tmp_path: Path) -> None:
    """With the extra, `profile` is enough; botocore itself is a stand-in here."""
    package = tmp_path / "packages" / "botocore"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "session.py").write_text(_BOTOCORE)
    bedrock.secrets["AKIDCHAIN"] = ("chain-secret-0123456789", None)
    config = f"""
providers:
  aws: {{kind: bedrock, base_url: "{bedrock.url}", aws: {{profile: work}}}}
models:
  chained: {{targets: [{{provider: aws, model: "{bedrock.MODEL}"}}]}}
keys:
  sdk: {{secret: env:SDK_KEY}}
"""
    environment = {
        "PYTHONPATH": str(package.parent),
        "AWS_CHAIN_SECRET": "chain-secret-0123456789",
        "AWS_REGION": bedrock.REGION,
        "SDK_KEY": KEY,
    }
    with (
        RunningGateway(tmp_path, config, environment=environment) as gateway,
        _client(gateway) as client,
    ):
        assert _ask(client, "chained") == TEXT
        assert _stream(client, "chained")[0] == TEXT
        assert "chain-secret" not in gateway.log.read_text()


def test_a_profile_of_the_aws_configuration_signs(bedrock: Bedrock, tmp_path: Path) -> None:
    """By botocore itself: workers start without `AWS_*`, and are handed what the chain needs."""
    pytest.importorskip("botocore", reason="botocore: the extra `bedrock`")
    (tmp_path / "credentials").write_text(
        "[work]\naws_access_key_id = AKIDPROFILE\naws_secret_access_key = profile-secret-0123\n"
    )
    bedrock.secrets["AKIDPROFILE"] = ("profile-secret-0123", None)
    config = f"""
providers:
  aws: {{kind: bedrock, base_url: "{bedrock.url}"}}
models:
  chained: {{targets: [{{provider: aws, model: "{bedrock.MODEL}"}}]}}
keys:
  sdk: {{secret: env:SDK_KEY}}
"""
    environment = {
        "AWS_PROFILE": "work",
        "AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / "credentials"),
        "AWS_CONFIG_FILE": str(tmp_path / "none"),
        "AWS_DEFAULT_REGION": bedrock.REGION,
        "SDK_KEY": KEY,
    }
    with (
        RunningGateway(tmp_path, config, environment=environment) as gateway,
        _client(gateway) as client,
    ):
        assert _ask(client, "chained") == TEXT


def test_ollama_s_models_are_offered(tmp_path: Path) -> None:
    """As `<provider>/<model>`, learned at the start and at a reload, also from a late server."""
    with Ollama() as ollama:
        assert isinstance(ollama, Ollama)
        ollama.is_ready = False
        config = f"""
providers:
  local: {{kind: ollama, base_url: "{ollama.url}/v1"}}
models: {{}}
keys:
  sdk: {{secret: env:SDK_KEY}}
  narrow: {{secret: env:NARROW_KEY, models: [local/qwen3]}}
"""
        environment = {"SDK_KEY": KEY, "NARROW_KEY": "tg-narrow-0123456789"}
        with RunningGateway(tmp_path, config, environment=environment) as gateway:
            assert gateway.ready_s < 5.0  # it waited for nobody
            with _client(gateway) as client:
                assert [model.id for model in client.models.list()] == []
                ollama.is_ready = True
                _wait_for(client, ["local/llama3.2:3b", "local/qwen3"])
                assert _ask(client, "local/qwen3") == TEXT
                narrow = client.with_options(api_key="tg-narrow-0123456789")
                assert [model.id for model in narrow.models.list()] == ["local/qwen3"]
                ollama.models = ["gemma3", "no name", "x" * 300]
                assert gateway.process is not None
                gateway.process.send_signal(1)  # SIGHUP
                _wait_for(client, ["local/gemma3"])


def _wait_for(client: openai.OpenAI, names: list[str]) -> None:
    deadline = time.monotonic() + 20.0
    while [model.id for model in client.models.list()] != names:
        assert time.monotonic() < deadline, f"{names} never came"
        time.sleep(0.02)
