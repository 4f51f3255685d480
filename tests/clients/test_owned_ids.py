"""Ids of another key's objects inside requests, through the official packages of all dialects."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import anthropic
import httpx2
import openai
import pytest
from google import genai
from google.genai import errors as gemini_errors
from google.genai import types
from tests.fakes.media_upstream import KEY, MediaUpstream
from tests.fakes.strict.server import StrictUpstream
from tests.fakes.strict.wire import KEY as STRICT
from tests.running import RunningGateway

pytestmark = pytest.mark.process

ANN = "tg-owned-ann-0123456789"
BEN = "tg-owned-ben-0123456789"
Ask = Callable[["Clients", str], object]


def _config(media: str, strict: str, more: str = "") -> str:
    return f"""
providers:
  acme: {{kind: openai-compatible, base_url: "{media}", api_key: env:UP_KEY, passthrough: true}}
  gem: {{kind: gemini, base_url: "{media}", api_key: env:UP_KEY, passthrough: true,
        headers: {{authorization: "Bearer {KEY}"}}}}
  chat: {{kind: openai, dialects: [openai], base_url: "{strict}/openai/v1",
         api_key: env:STRICT_KEY}}
  resp: {{kind: openai, dialects: [responses], base_url: "{strict}/responses/v1",
         api_key: env:STRICT_KEY, passthrough: true}}
  claude: {{kind: anthropic, base_url: "{strict}/anthropic", api_key: env:STRICT_KEY}}
  google: {{kind: gemini, base_url: "{strict}/gemini/v1beta", api_key: env:STRICT_KEY}}
models:
  chat: {{targets: [chat/text], retries: 0}}
  resp: {{targets: [resp/text], retries: 0}}
  claude: {{targets: [claude/text], retries: 0}}
  google: {{targets: [google/text], retries: 0}}
  draw: {{targets: [acme/draw], retries: 0}}
keys:
  ann: {{secret: env:ANN_KEY}}
  ben: {{secret: env:BEN_KEY}}
{more}"""


class Clients:
    """One key's clients of all dialects."""

    def __init__(self, gateway: RunningGateway, secret: str) -> None:
        self.openai = openai.OpenAI(
            base_url=f"{gateway.url}/v1", api_key=secret, max_retries=0,
            default_headers={"x-tidegate-provider": "acme"},
        )  # fmt: skip
        self.anthropic = anthropic.Anthropic(base_url=gateway.url, api_key=secret, max_retries=0)
        self.http = httpx2.Client()
        self.gemini = genai.Client(
            api_key=secret,
            http_options=types.HttpOptions(base_url=gateway.url, httpx_client=self.http),
        )
        self.raw = httpx2.Client(
            base_url=gateway.url, headers={"authorization": f"Bearer {secret}"}, timeout=20
        )

    def __enter__(self) -> Clients:
        return self

    def __exit__(self, *caught: object) -> None:
        self.openai.close()
        self.anthropic.close()
        self.gemini.close()
        self.http.close()
        self.raw.close()


@pytest.fixture(scope="module")
def media() -> Iterator[MediaUpstream]:
    with MediaUpstream() as running:
        yield running


@pytest.fixture(scope="module")
def strict() -> Iterator[StrictUpstream]:
    with StrictUpstream() as running:
        yield running


def _running(
    folder: Path, media: MediaUpstream, strict: StrictUpstream, more: str = ""
) -> RunningGateway:
    environment = {"UP_KEY": KEY, "STRICT_KEY": STRICT, "ANN_KEY": ANN, "BEN_KEY": BEN}
    config = _config(media.url, strict.url, more)
    return RunningGateway(folder, config, workers=2, environment=environment)


@pytest.fixture(scope="module")
def gateway(
    media: MediaUpstream, strict: StrictUpstream, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningGateway]:
    with _running(tmp_path_factory.mktemp("owned"), media, strict) as running:
        yield running


@pytest.fixture(scope="module")
def ann(gateway: RunningGateway) -> Iterator[Clients]:
    with Clients(gateway, ANN) as clients:
        yield clients


@pytest.fixture(scope="module")
def ben(gateway: RunningGateway) -> Iterator[Clients]:
    with Clients(gateway, BEN) as clients:
        yield clients


def _chat(who: Clients, name: str) -> object:
    part: Any = {"type": "file", "file": {"file_id": name}}
    return who.openai.chat.completions.create(
        model="chat", messages=[{"role": "user", "content": [part]}]
    )


def _chat_stream(who: Clients, name: str) -> object:
    part: Any = {"type": "file", "file": {"file_id": name}}
    return list(
        who.openai.chat.completions.create(
            model="chat", messages=[{"role": "user", "content": [part]}], stream=True
        )
    )


def _sound(who: Clients, name: str) -> object:
    return who.openai.chat.completions.create(
        model="chat",
        messages=[
            {"role": "user", "content": "go on"},
            {"role": "assistant", "audio": {"id": name}},
        ],
    )


def _response(who: Clients, name: str) -> object:
    part: Any = {"type": "input_file", "file_id": name}
    return who.openai.responses.create(model="resp", input=[{"role": "user", "content": [part]}])


def _search(who: Clients, name: str) -> object:
    return who.openai.responses.create(
        model="resp", input="x", tools=[{"type": "file_search", "vector_store_ids": [name]}]
    )


def _sandbox(who: Clients, name: str) -> object:
    return who.openai.responses.create(
        model="resp", input="x", tools=[{"type": "code_interpreter", "container": name}]
    )


def _conversation(who: Clients, name: str) -> object:
    return who.openai.responses.create(model="resp", input="x", conversation=name)


def _item(who: Clients, name: str) -> object:
    item: Any = {"type": "item_reference", "id": name}
    return who.openai.responses.create(model="resp", input=[item])


def _claude(who: Clients, name: str) -> object:
    source: Any = {"type": "document", "source": {"type": "file", "file_id": name}}
    return who.anthropic.messages.create(
        model="claude", max_tokens=9, messages=[{"role": "user", "content": [source]}]
    )


def _count(who: Clients, name: str) -> object:
    source: Any = {"type": "document", "source": {"type": "file", "file_id": name}}
    return who.anthropic.messages.count_tokens(
        model="claude", messages=[{"role": "user", "content": [source]}]
    )


def _gemini(who: Clients, name: str) -> object:
    uri = f"https://generativelanguage.googleapis.com/v1beta/files/{name}"
    return who.gemini.models.generate_content(
        model="google", contents=[types.Part.from_uri(file_uri=uri, mime_type="image/png"), "what?"]
    )


def _edit(who: Clients, name: str) -> object:
    body = {"model": "draw", "prompt": "x", "images": [{"file_id": name}]}
    answer = who.raw.post("/v1/images/edits", json=body)
    if answer.status_code == 404:
        raise openai.NotFoundError("", response=answer, body=None)  # type: ignore[arg-type]
    return answer


def _evaluate(who: Clients, name: str) -> object:
    source = {"type": "jsonl", "source": {"type": "file_id", "id": name}}
    answer = who.raw.post("/acme/echo", json={"name": "x", "data_source": source})
    if answer.status_code == 404:
        raise openai.NotFoundError("", response=answer, body=None)  # type: ignore[arg-type]
    return answer


def _tune(who: Clients, name: str) -> object:
    answer = who.raw.post("/acme/fine_tuning/jobs", json={"training_file": name, "model": "x"})
    if answer.status_code == 404:
        raise openai.NotFoundError("", response=answer, body=None)  # type: ignore[arg-type]
    return answer


ASKS: list[Ask] = [
    _chat, _chat_stream, _sound, _response, _search, _sandbox, _conversation, _claude, _count,
    _edit, _evaluate, _tune,
]  # fmt: skip


@pytest.mark.parametrize("ask", ASKS, ids=lambda ask: ask.__name__[1:])
def test_another_keys_id_is_as_unknown_as_one_that_never_was(
    ask: Ask, ann: Clients, ben: Clients, media: MediaUpstream, strict: StrictUpstream
) -> None:
    """404 in the caller's dialect, before any provider hears of it; the owner passes."""
    hers = ann.openai.files.create(file=("b", b"x"), purpose="user_data").id
    strict.last.clear()
    strict.refused.clear()
    before = len(media.seen)
    with pytest.raises((openai.NotFoundError, anthropic.NotFoundError)) as refused:
        ask(ben, hers)
    assert f"No such object: {hers}" in refused.value.response.text
    assert not strict.last
    assert not strict.refused
    assert len(media.seen) == before
    with contextlib.suppress(openai.BadRequestError, anthropic.APIStatusError):
        ask(ann, hers)  # what a strict provider says is its own affair
    assert strict.last or strict.refused or len(media.seen) > before


def test_gemini_names_files_by_address(
    ann: Clients, ben: Clients, gateway: RunningGateway, strict: StrictUpstream
) -> None:
    """Its names are found inside addresses, and its error is Google's."""
    made = ann.raw.post("/gem/cachedContents", json={"model": "models/x"}).json()["name"]
    cached = types.GenerateContentConfig(cached_content=made)
    strict.last.clear()
    with pytest.raises(gemini_errors.ClientError) as refused:
        ben.gemini.models.generate_content(model="google", contents="x", config=cached)
    assert (refused.value.code, refused.value.status) == (404, "NOT_FOUND")
    assert not strict.last
    _gemini(ben, "of-nobody")
    assert strict.last
    assert ben.raw.get(f"/gem/{made}").status_code == 404
    assert ann.raw.post("/gem/echo?name=" + made, json={}).status_code == 200
    assert ben.raw.post("/gem/echo?name=" + made, json={}).status_code == 404


def test_what_a_key_makes_below_a_provider_is_its_own(
    ann: Clients, ben: Clients, media: MediaUpstream
) -> None:
    """Named in path, query or body by another it is unknown; deleted, it is nobody's."""
    made = ann.raw.post("/acme/vector_stores", json={"name": "hers"}).json()["id"]
    assert ann.raw.get(f"/acme/vector_stores/{made}").json()["id"] == made
    before = len(media.seen)
    for ask in (
        lambda: ben.raw.get(f"/acme/vector_stores/{made}"),
        lambda: ben.raw.get(f"/acme/vector%5Fstores/{made[:-1]}%{ord(made[-1]):02x}"),
        lambda: ben.raw.delete(f"/acme/vector_stores/{made}"),
        lambda: ben.raw.get(f"/acme/vector_stores?after={made}"),
        lambda: ben.raw.post("/acme/echo", json={"vector_store_id": made}),
        lambda: ben.raw.post("/acme/echo", files={"file_id": (None, made), "f": ("x", b"x")}),
    ):
        answer = ask()
        assert answer.status_code == 404
        assert "No such object" in answer.text
    packed = {"content-encoding": "gzip", "content-type": "application/json"}
    assert ben.raw.post("/acme/echo", content=b"\x1f\x8b", headers=packed).status_code == 400
    says = {"content-type": "application/json"}
    wide = "{}".encode("utf-16")
    assert ben.raw.post("/acme/echo", content=wide, headers=says).status_code == 400
    assert len(media.seen) == before
    with pytest.raises(openai.NotFoundError):
        _search(ben, made)
    assert ann.raw.delete(f"/acme/vector_stores/{made}").json()["deleted"]
    assert ben.raw.get(f"/acme/vector_stores/{made}").json()["error"]["message"] == (
        "No vector store found"
    )


def test_responses_of_any_provider_are_asked_for_where_they_are_looked_after(
    ben: Clients, strict: StrictUpstream
) -> None:
    """Also of one that speaks no other API: below its own path nobody would know whose they are."""
    strict.last.clear()
    strict.refused.clear()
    body = {"model": "text", "input": "x", "previous_response_id": "resp_hers"}
    assert ben.raw.post("/resp/responses", json=body).status_code == 403
    assert not strict.last
    assert not strict.refused


def test_ids_that_nobody_owns_pass_by_default(ben: Clients, strict: StrictUpstream) -> None:
    """Made at the provider itself, before there was a gateway: the provider decides."""
    strict.last.clear()
    _response(ben, "file-from-before")
    assert strict.last


def test_unknown_ids_can_be_refused(
    media: MediaUpstream, strict: StrictUpstream, tmp_path: Path
) -> None:
    """Then a key names what it has made, and what providers gave it in answers; lists are shut."""
    more = "files: {unknown_ids: refuse}"
    with _running(tmp_path, media, strict, more) as gateway, Clients(gateway, BEN) as ben:
        strict.last.clear()
        for ask in (_chat, _response, _item, _search, _conversation, _claude, _edit, _tune):
            with pytest.raises((openai.NotFoundError, anthropic.NotFoundError)):
                ask(ben, "file-from-before")
        with pytest.raises(gemini_errors.ClientError):
            _gemini(ben, "from-before")
        assert not strict.last
        assert ben.raw.get("/acme/vector_stores").status_code == 403
        assert ben.raw.get("/acme/vector_stores/vs_0").status_code == 404
        his = ben.openai.files.create(file=("b", b"x"), purpose="user_data").id
        _response(ben, his)
        _sandbox(ben, "cntr_given")
        answered = ben.openai.responses.create(model="resp", input="x")
        strict.last.clear()
        strict.refused.clear()
        with contextlib.suppress(openai.BadRequestError):
            _item(ben, answered.output[0].id or "")
        assert strict.last or strict.refused
