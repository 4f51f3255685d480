"""Responses in the background that never end: they take no more room than there is for them."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import openai
import pytest
from openai.types.responses import Response
from tests.running import RunningGateway

pytestmark = pytest.mark.process

KEY = "provider-secret-3"
SECRET = "tg-runaway-0123456789"
MIB = 1024 * 1024
ONE = MIB // 8
ALL = MIB // 2


class Endless:
    """A provider of chat completions: `runaway` speaks until nobody listens, `full` says 90,000
    characters and then nothing, `large` answers with 300,000 at once, any other with a word.

    Attributes:
        url: Base URL with `/v1`.
        left: How many streams were broken off.
        go_on: Set for `full` to end.
    """

    def __init__(self) -> None:
        self.left = 0
        self.go_on = threading.Event()
        owner = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                try:
                    owner._answer(self, body["model"])
                except (BrokenPipeError, ConnectionResetError):
                    owner.left += 1
                self.close_connection = True

            def log_message(self, *args: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/v1"

    def close(self) -> None:
        self.go_on.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(10)

    def _answer(self, request: BaseHTTPRequestHandler, model: str) -> None:
        request.send_response(200)
        if model == "large":
            message = {"role": "assistant", "content": "x" * 300_000}
            choice: Any = {"index": 0, "message": message, "finish_reason": "stop"}
            whole = {"id": "c", "object": "chat.completion", "created": 1, "model": "m",
                     "choices": [choice]}  # fmt: skip
            request.send_header("content-type", "application/json")
            request.send_header("connection", "close")
            request.end_headers()
            request.wfile.write(json.dumps(whole).encode())
            return
        request.send_header("content-type", "text/event-stream")
        request.send_header("connection", "close")
        request.end_headers()
        if model == "runaway":
            for _ in range(20_000):
                request.wfile.write(_chunk("on and " * 100))
        elif model == "full":
            request.wfile.write(_chunk("x" * 90_000))
            request.wfile.flush()
            self.go_on.wait(20)
        request.wfile.write(_chunk("word") + _chunk("", "stop") + b"data: [DONE]\n\n")


def _chunk(text: str, reason: str | None = None) -> bytes:
    choice = {"index": 0, "delta": {"content": text}, "finish_reason": reason}
    chunk = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m",
             "choices": [choice]}  # fmt: skip
    return b"data: %b\n\n" % json.dumps(chunk).encode()


@pytest.fixture(scope="module")
def endless() -> Iterator[Endless]:
    running = Endless()
    yield running
    running.close()


@pytest.fixture(scope="module")
def gateway(endless: Endless, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningGateway]:
    models = "\n".join(
        f"  {name}: {{targets: [up/{name}], retries: 0}}"
        for name in ("runaway", "full", "large", "word")
    )
    config = f"""
providers:
  up: {{kind: openai, dialects: [openai], base_url: "{endless.url}", api_key: env:UP_KEY}}
models:
{models}
responses: {{max_bytes: 1MiB}}
keys:
  one: {{secret: env:ONE_KEY}}
"""
    environment = {"UP_KEY": KEY, "ONE_KEY": SECRET}
    folder = tmp_path_factory.mktemp("runaway")
    with RunningGateway(folder, config, workers=2, environment=environment) as running:
        yield running


@pytest.fixture
def client(gateway: RunningGateway) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(
        base_url=f"{gateway.url}/v1", api_key=SECRET, max_retries=0,
        default_headers={"connection": "close"},
    ) as made:  # fmt: skip
        yield made


def _begin(client: openai.OpenAI, model: str) -> Response:
    return client.responses.create(model=model, input="hi", background=True)


def _final(client: openai.OpenAI, made: Response) -> Response:
    deadline = time.monotonic() + 15
    while made.status in ("queued", "in_progress"):
        assert time.monotonic() < deadline
        time.sleep(0.02)
        made = client.responses.retrieve(made.id)
    return made


def _bytes_of_logs(gateway: RunningGateway) -> list[int]:
    return [path.stat().st_size for path in gateway.data_dir.rglob("*.events")]


def test_a_response_that_never_ends_is_ended(
    client: openai.OpenAI, gateway: RunningGateway, endless: Endless
) -> None:
    """It fails by a cap that it names, and its provider is left."""
    made = _begin(client, "runaway")
    done = _final(client, made)
    assert done.status == "failed"
    assert done.error is not None
    assert f"{ONE} bytes, an eighth of 'responses.max_bytes'" in done.error.message
    events = list(client.responses.retrieve(made.id, stream=True))
    assert [event.type for event in events[-2:]] == ["error", "response.failed"]
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert sum(event.type == "response.output_text.delta" for event in events) > 10
    assert max(_bytes_of_logs(gateway)) < ONE + 10_000
    deadline = time.monotonic() + 5
    while not endless.left:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert _final(client, _begin(client, "word")).output_text == "word"


def test_a_whole_answer_over_the_cap_is_not_kept(
    client: openai.OpenAI, gateway: RunningGateway
) -> None:
    """A provider that streams nothing is bounded, too."""
    done = _final(client, _begin(client, "large"))
    assert done.status == "failed"
    assert done.error is not None
    assert "an eighth of 'responses.max_bytes'" in done.error.message
    kept = [path.stat().st_size for path in gateway.data_dir.rglob("responses/??/*")]
    assert max(kept) < ONE + 10_000


def test_all_of_them_together_have_an_end(client: openai.OpenAI) -> None:
    """At both workers: the one that has no room fails; a place that is free again is used."""
    held: list[str] = []
    while True:
        kind, identifier, told = _first_words(client)
        if kind == "response.failed":
            break
        held.append(identifier)
        assert len(held) < 10
    assert len(held) == 5
    assert f"{ALL} bytes, half of 'responses.max_bytes'" in told
    for identifier in held:
        assert client.responses.retrieve(identifier).status == "in_progress"
        assert client.responses.cancel(identifier).status == "cancelled"
    kind, identifier, _ = _first_words(client)
    assert kind == "response.output_text.delta"
    client.responses.cancel(identifier)


def _first_words(client: openai.OpenAI) -> tuple[str, str, str]:
    """Begin a response; return its first piece of text, or its end: `(type, its id, error)`."""
    identifier = ""
    with client.responses.create(model="full", input="hi", background=True, stream=True) as stream:
        for event in stream:
            if event.type == "response.created":
                identifier = event.response.id
            elif event.type == "response.output_text.delta":
                return event.type, identifier, ""
            elif event.type == "response.failed":
                assert event.response.error is not None
                return event.type, identifier, event.response.error.message
    raise AssertionError("a stream without an end")
