"""Where the numbers come from when a provider tells nothing: header, log, ledger, metric."""

from __future__ import annotations

import json
import socket
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx2 as httpx
import pytest
from tests.contract.raw_requests import until
from tests.running import RunningGateway, counters

pytestmark = pytest.mark.process

SECRET = "tg-sources-0123456789abcdef"
PROMPT = "word " * 200


class SilentUpstream:
    """Answers chats without a word on usage; the model `waits` is never answered.

    Attributes:
        waiting: Set once such a request has arrived whole.
    """

    def __init__(self) -> None:
        self.waiting = threading.Event()
        self.release = threading.Event()
        upstream = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, format: str, *arguments: object) -> None:
                return

            def do_POST(self) -> None:
                asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
                if asked["model"] == "waits":
                    upstream.waiting.set()
                    upstream.release.wait(20)
                    self.close_connection = True
                    return
                kind, data = _answer(asked)
                self.send_response(200)
                self.send_header("content-type", kind)
                self.send_header("content-length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.thread = threading.Thread(target=self.server.serve_forever, daemon=True)


def _answer(asked: dict[str, Any]) -> tuple[str, bytes]:
    text = "tide " * 100
    if not asked.get("stream"):
        choice = {"index": 0, "message": {"role": "assistant", "content": text},
                  "finish_reason": "stop"}  # fmt: skip
        whole = {"id": "x", "object": "chat.completion", "created": 1, "model": "m",
                 "choices": [choice]}  # fmt: skip
        return "application/json", json.dumps(whole).encode()
    common = {"id": "x", "object": "chat.completion.chunk", "created": 1, "model": "m"}
    events = [
        {**common, "choices": [{"index": 0, "delta": {"content": text}, "finish_reason": None}]},
        {**common, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]},
    ]
    data = b"".join(b"data: " + json.dumps(event).encode() + b"\n\n" for event in events)
    return "text/event-stream", data + b"data: [DONE]\n\n"


@pytest.fixture(scope="module")
def upstream() -> Iterator[SilentUpstream]:
    running = SilentUpstream()
    running.thread.start()
    yield running
    running.release.set()
    running.server.shutdown()
    running.server.server_close()
    running.thread.join(10)


@pytest.fixture(scope="module")
def gateway(
    upstream: SilentUpstream, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningGateway]:
    port = upstream.server.server_address[1]
    config = f"""
providers:
  acme: {{kind: openai-compatible, base_url: "http://127.0.0.1:{port}/v1", api_key: env:ACME_KEY}}
keys:
  sources: {{secret: env:SOURCES_KEY}}
"""
    folder = tmp_path_factory.mktemp("sources")
    environment = {"ACME_KEY": "x", "SOURCES_KEY": SECRET}
    with RunningGateway(folder, config, environment=environment) as running:
        yield running


def _chat(model: str, **more: object) -> dict[str, object]:
    return {"model": f"acme/{model}", "messages": [{"role": "user", "content": PROMPT}], **more}


def _row(gateway: RunningGateway, where: str, value: str) -> sqlite3.Row:
    """Return the newest settled row."""
    found: list[sqlite3.Row] = []

    def folded() -> bool:
        with closing(sqlite3.connect(gateway.data_dir / "tidegate.db")) as database:
            database.row_factory = sqlite3.Row
            found[:] = database.execute(
                f"SELECT * FROM ledger_attempts WHERE {where} LIKE ? AND outcome IS NOT NULL",
                (value,),
            ).fetchall()
        return bool(found)

    until(folded, f"a row with {where} {value}")
    return found[-1]


@pytest.mark.parametrize("stream", [False, True])
def test_an_answer_without_usage_is_estimated_and_says_so(
    gateway: RunningGateway, stream: bool
) -> None:
    """Ledger, log and metric name the source; the header does on whole answers."""
    before = counters(gateway.page())
    answer = httpx.post(
        f"{gateway.url}/v1/chat/completions",
        json=_chat("m", stream=stream),
        headers={"authorization": f"Bearer {SECRET}"},
    )
    assert answer.status_code == 200
    assert answer.headers.get("x-tidegate-usage") == (None if stream else "estimated")
    after = counters(gateway.page())
    sources = {"source": "estimated"}
    grown = after("tidegate_usage_source_total", **sources)
    assert grown == before("tidegate_usage_source_total", **sources) + 1
    request_id = answer.headers["x-request-id"]
    row = _row(gateway, "attempt_id", f"{request_id}:%")
    assert row["usage_source"] == "estimated"
    assert 150 < row["input_tokens"] < 400
    assert row["output_tokens"] > 0
    until(lambda: request_id in gateway.log.read_text(), "the line is written")
    (line,) = [one for one in gateway.log.read_text().splitlines() if request_id in one]
    assert json.loads(line)["usage_source"] == "estimated"


def test_a_client_that_leaves_before_the_first_byte_has_its_input_estimated(
    gateway: RunningGateway, upstream: SilentUpstream
) -> None:
    """The provider has the request and reads it, whether anybody waits or not."""
    body = json.dumps(_chat("waits")).encode()
    with socket.create_connection(("127.0.0.1", gateway.port), timeout=10) as client:
        client.sendall(
            b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer "
            + SECRET.encode()
            + b"\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n" % len(body)
            + body
        )
        assert upstream.waiting.wait(10)
    row = _row(gateway, "outcome", "client_gone")
    assert row["usage_source"] == "partial"
    assert 150 < row["input_tokens"] < 400
    assert row["output_tokens"] == 0
    assert counters(gateway.page())("tidegate_usage_source_total", source="partial") == 1


def test_a_request_that_was_never_sent_used_nothing(tmp_path: Any) -> None:
    """Nobody listens at the provider: no tokens are made up."""
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    config = f"""
providers:
  acme: {{kind: openai-compatible, base_url: "http://127.0.0.1:{port}/v1", api_key: env:ACME_KEY}}
routing: {{retries: 0}}
keys:
  sources: {{secret: env:SOURCES_KEY}}
"""
    environment = {"ACME_KEY": "x", "SOURCES_KEY": SECRET}
    with RunningGateway(tmp_path, config, environment=environment) as gateway:
        answer = httpx.post(
            f"{gateway.url}/v1/chat/completions",
            json=_chat("m"),
            headers={"authorization": f"Bearer {SECRET}"},
        )
        assert answer.status_code == 502
        row = _row(gateway, "outcome", "connect_error")
        assert (row["usage_source"], row["input_tokens"]) == ("none", 0)
