"""Secrets planted in every field that a client or a provider controls are found nowhere."""

from __future__ import annotations

import contextlib
import http.client
import json
import re
import signal
import socket
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.free_ports import free_port
from tests.logs.rogue_upstream import ANSWERS, RogueUpstream
from tests.running import RunningGateway
from tests.tracing.collector import Collector

pytestmark = pytest.mark.process

#: Not like any credential: only by not writing it at all can it be kept out.
PLAIN = "Zq7plantedXv"
#: Like a credential, for the one place where a name is written: a model that a client names.
TOKEN = "sk-Zq7plantedXv-model-name"
CLIENT_KEY = "tg-Kw3clientNb-0123456789abcdef"
OTHER_KEY = "tg-Kw3otherNb-0123456789abcdef"
CONFIGURED = {
    "ACME": "Hd5providerJc secret"[:13] + "-1",
    "HEADER": "Hd5headerJc-1",
    "OTLP": "Hd5otlpJc-1",
    "PAGE": "Hd5pageJc-0123456789",
    "PROXY": "",
    "CI": CLIENT_KEY,
    "OTHER": OTHER_KEY,
}


_TABLES = "select name from sqlite_master where type = 'table'"


class Planted:
    """A gateway at debug level, whose provider and clients plant what they can."""

    def __init__(self, gateway: RunningGateway, collector: Collector, rogue: RogueUpstream) -> None:
        self.gateway = gateway
        self.collector = collector
        self.rogue = rogue
        self.answers: list[bytes] = []

    def raw(self, data: bytes) -> bytes:
        """Send bytes as they are; return what comes."""
        with socket.create_connection(("127.0.0.1", self.gateway.port), 10) as client:
            client.sendall(data)
            client.shutdown(socket.SHUT_WR)
            found = b""
            while piece := client.recv(65536):
                found += piece
        return found

    def ask(self, model: str, key: str = CLIENT_KEY, path: str = "/v1/chat/completions") -> bytes:
        """Ask, with secrets all over the request; return the answer with its head."""
        connection = http.client.HTTPConnection("127.0.0.1", self.gateway.port, timeout=20)
        body = {
            "model": model,
            "messages": [{"role": "user", "content": f"{PLAIN}-prompt"}],
            "user": f"{PLAIN}-user",
            "metadata": {f"{PLAIN}-name": f"{PLAIN}-value"},
            "temperature": f"{PLAIN}-temperature",
            "stream": model == "error-event",
        }
        headers = {
            "authorization": f"Bearer {key}",
            "content-type": "application/json",
            "user-agent": f"{PLAIN}-agent",
            "cookie": f"session={PLAIN}-cookie",
            "referer": f"http://x/?{PLAIN}-referer",
            "x-forwarded-for": f"{PLAIN}-forwarded",
            "traceparent": f"00-{PLAIN}-trace",
            "tracestate": f"a={PLAIN}-state",
            "x-request-id": f"{PLAIN}-request",
            "idempotency-key": f"{PLAIN}-idempotency",
            f"x-{PLAIN.lower()}-header": f"{PLAIN}-header",
        }
        connection.request("POST", f"{path}?key={PLAIN}-query", json.dumps(body), headers)
        answer = connection.getresponse()
        whole = str(answer.getheaders()).encode() + answer.read()
        connection.close()
        return whole


@pytest.fixture
def planted(tmp_path: Path) -> Iterator[Planted]:
    with RogueUpstream(f"{PLAIN}-up") as rogue, Collector() as collector:
        models = "".join(f"  {name}: {{targets: [acme/{name}], retries: 0}}\n" for name in ANSWERS)
        config = f"""
providers:
  acme:
    kind: openai-compatible
    base_url: "{rogue.url}"
    api_key: env:ACME
    headers: {{x-team: env:HEADER}}
  dead:
    kind: openai-compatible
    base_url: "http://127.0.0.1:{free_port()}/v1"
    api_key: env:ACME
  proxied:
    kind: openai-compatible
    base_url: "http://provider.invalid/v1"
    api_key: env:ACME
    proxy: "http://user:Hd5proxyJc-1@127.0.0.1:{free_port()}"
models:
{models}  dead: {{targets: [dead/x], retries: 0}}
  proxied: {{targets: [proxied/x], retries: 0}}
keys: {{ci: {{secret: env:CI}}, other: {{secret: env:OTHER}}}}
logging: {{level: debug}}
tracing: {{endpoint: "{collector.endpoint}", headers: {{x-auth: env:OTLP}}}}
"""
        with RunningGateway(tmp_path, config, environment=CONFIGURED) as gateway:
            yield Planted(gateway, collector, rogue)


def test_no_planted_secret_is_found_anywhere(planted: Planted) -> None:
    """Not in stdout, log, page, traces, ledger, or what another client is told."""
    gateway = planted.gateway
    for model in ANSWERS:
        planted.ask(model)
    for model in ("dead", "proxied", f"acme/{TOKEN}", f"{PLAIN}-unknown"):
        planted.ask(model)
    planted.ask("error-body", key=f"{PLAIN}-key")
    planted.ask("error-body", path=f"/v1/{PLAIN}-path")
    planted.ask("error-body", path=f"/v1beta/models/{PLAIN}-gemini:generateContent")
    planted.raw(f"GET /{PLAIN}-raw HTTP/1.1\r\n{PLAIN} bad: x\r\n\r\n".encode())
    planted.raw(f"{PLAIN}-method /x HTTP/9.9\r\nhost: {PLAIN}\r\n\r\n".encode())
    planted.raw(
        f"POST /v1/chat/completions HTTP/1.1\r\nhost: h\r\nauthorization: Bearer {CLIENT_KEY}\r\n"
        f"content-type: application/json\r\ncontent-length: 20\r\n\r\n{{{PLAIN}".encode()
    )
    told = planted.ask("error-body", key=OTHER_KEY)
    elsewhere = planted.ask(f"dead/{PLAIN}2-mine", key=OTHER_KEY)
    page = gateway.page()
    planted.collector.wait(lambda: len(planted.collector.servers()) >= len(ANSWERS) + 9)
    gateway.config.write_text(gateway.config.read_text() + f"\nproviders_{PLAIN}: 1\n")
    assert gateway.process is not None
    gateway.process.send_signal(signal.SIGHUP)
    _wait(lambda: "configuration refused" in gateway.log.read_text())
    gateway.stop()
    log = gateway.log.read_text()
    # The name of a setting that does not exist is the operator's own, and told to him.
    log = "\n".join(line for line in log.splitlines() if "configuration refused" not in line)
    # The gateway did talk: what follows would pass on silence as well.
    assert log.count('"event":"request"') >= len(ANSWERS) + 6
    assert log.count("provider failed") + log.count("provider fault") >= 6
    assert '"provider":"acme"' in log
    assert b"x-tidegate" in told or b"error" in told
    traces = b"".join(planted.collector.bodies).decode("latin-1")
    places = {"log": log, "output": "\n".join(gateway.output), "page": page, "traces": traces}
    for place, text in places.items():
        for secret in (PLAIN.lower(), "hd5", "kw3"):
            at = text.lower().find(secret)
            assert at < 0, f"{place}: {text[max(0, at - 200) : at + 100]!r}"
    # Another client is told the provider's words to it, but nobody else's.
    assert f"{PLAIN}-unknown".encode() not in told + elsewhere
    assert b"Hd5" not in told + elsewhere
    texts = _texts_of(gateway.data_dir)
    assert len([place for place, _ in texts if place.endswith(".outcome")]) >= len(ANSWERS)
    secret_text = re.compile(rf"{PLAIN}|Hd5|Kw3", re.IGNORECASE)
    assert [text for text in texts if secret_text.search(text[1])] == []


def test_a_provider_is_sent_no_secret_of_another(planted: Planted) -> None:
    """Neither the client's key nor its cookies; only what is configured for it."""
    planted.ask("model-echo")
    (request,) = planted.rogue.requests
    head = request.partition(b"{")[0].decode("latin-1")
    assert CONFIGURED["ACME"] in head
    for name in ("cookie", "agent", "referer", "forwarded", "trace", "state", "query", "header"):
        assert f"{PLAIN}-{name}" not in head
    for secret in (CLIENT_KEY, OTHER_KEY, CONFIGURED["OTLP"]):
        assert secret not in head


def _texts_of(data_dir: Path) -> list[tuple[str, str]]:
    """Return `(table.column, value)` of every text in the database but the names of models.

    The name of the model that was asked of a provider is part of a row, whoever chose it.
    """
    found = []
    (path,) = data_dir.glob("*.db")
    with contextlib.closing(sqlite3.connect(path)) as database:
        for (table,) in database.execute(_TABLES).fetchall():
            cursor = database.execute(f'select * from "{table}"')
            names = [column[0] for column in cursor.description]
            for row in cursor:
                pairs = zip(names, row, strict=True)
                found += [(f"{table}.{name}", str(value)) for name, value in pairs]
    return [(place, value) for place, value in found if not place.endswith("model")]


def _wait(happened: object, timeout_s: float = 10.0) -> None:
    assert callable(happened)
    until_s = time.monotonic() + timeout_s
    while not happened():
        assert time.monotonic() < until_s
        time.sleep(0.02)
