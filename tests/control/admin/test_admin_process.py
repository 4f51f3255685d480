"""The control port of a real gateway: what clients did is there, and costs them nothing."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import signal
import socket
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.fakes.openai_upstream import KEY, OpenAIUpstream
from tests.free_ports import free_port
from tests.running import RunningGateway

from tidegate.control.admin.port import MOST_CONNECTIONS
from tidegate.control.admin.security import BODY_S
from tidegate.control.live import answers

pytestmark = pytest.mark.process

CI_KEY, BOT_KEY = "tg-admin-ci-0123456789", "tg-admin-bot-0123456789"
CONFIG = """
providers:
  acme:  {{kind: openai-compatible, base_url: "{url}", api_key: env:ACME_KEY}}
  spare: {{kind: openai-compatible, base_url: "{url}", api_key: env:ACME_KEY}}
models:
  fast:  {{targets: [{{provider: spare, model: fast}}]}}
  shaky: {{targets: [{{provider: acme, model: fails}}], fallbacks: [fast]}}
limits:
  tight: {{per: key, requests: 60, window: 1h, burst: 3}}
keys:
  ci:  {{secret: env:CI_KEY, team: build}}
  bot: {{secret: env:BOT_KEY, limits: [tight]}}
"""
ENVIRONMENT = {"ACME_KEY": KEY, "CI_KEY": CI_KEY, "BOT_KEY": BOT_KEY}
TOKEN = re.compile(r"\btga_[A-Za-z0-9]{43}\b")


class Desk:
    """A gateway with two workers, and its control port."""

    def __init__(self, folder: Path, config: str | None, port: int | None = None) -> None:
        self.port = free_port() if port is None else port
        self.gateway = RunningGateway(
            folder,
            config,
            workers=2,
            environment=ENVIRONMENT,
            arguments=("--control-port", str(self.port)),
        )
        self.token = ""

    def __enter__(self) -> Desk:
        self.gateway.start()
        found = TOKEN.search("\n".join(self.gateway.output))
        self.token = found[0] if found else ""
        return self

    def __exit__(self, *_: object) -> None:
        self.gateway.stop()

    def get(self, path: str, token: str | None = None) -> tuple[int, bytes]:
        """Ask with the token; waits for a port that is not open yet."""
        headers = {"authorization": f"Bearer {self.token if token is None else token}"}
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", headers=headers)
        deadline = time.monotonic() + 10
        while True:
            try:
                with urllib.request.urlopen(request, timeout=10) as answer:
                    return answer.status, answer.read()
            except urllib.error.HTTPError as error:
                with error:
                    return error.code, error.read()
            except OSError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.05)

    def json(self, path: str) -> Any:
        status, body = self.get(path)
        assert status == 200, body
        return json.loads(body)

    def ask(self, key: str, model: str, *, stream: bool = False) -> int:
        """Send one chat request to the data port and read all of its answer."""
        body = {"model": model, "stream": stream, "messages": [{"role": "user", "content": "Hi"}]}
        request = urllib.request.Request(
            f"{self.gateway.url}/v1/chat/completions",
            json.dumps(body).encode(),
            {"authorization": f"Bearer {key}", "content-type": "application/json"},
        )
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                answer.read()
                return int(answer.status)
        except urllib.error.HTTPError as error:
            with error:
                error.read()
                return error.code

    def control_pid(self) -> int:
        for line in reversed(self.gateway.log.read_text().splitlines()):
            event = json.loads(line)
            if event.get("event") == "process ready" and event.get("child") == "control":
                return int(event["pid"])
        raise AssertionError("no control process")


def wait_until(holds: Callable[[], Any], what: str, timeout_s: float = 15.0) -> Any:
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        found = holds()
        if found:
            return found
        time.sleep(0.1)
    raise AssertionError(f"not in time: {what}")


@pytest.fixture(scope="module")
def upstream() -> Iterator[OpenAIUpstream]:
    with OpenAIUpstream() as running:
        yield running


@pytest.fixture(scope="module")
def desk(upstream: OpenAIUpstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    with Desk(tmp_path_factory.mktemp("admin"), CONFIG.format(url=upstream.url)) as running:
        yield running


def total(desk: Desk, by: str, name: str, **labels: str) -> float:
    """Add up what a line has shown: rates by the second, so a sum of what was counted."""
    series = desk.json(f"/api/series?range=15m&by={by}")["series"]
    return sum(
        value or 0.0
        for one in series
        if one["name"] == name and one["labels"] == labels
        for value in one["values"]
    )


def test_traffic_is_in_the_series_of_each_grouping(desk: Desk) -> None:
    """Every request once, whoever served it; both attempts of a rescued one."""
    before = total(desk, "total", "requests")
    statuses = [desk.ask(CI_KEY, "fast", stream=n % 2 == 0) for n in range(10)]
    statuses += [desk.ask(CI_KEY, "shaky") for _ in range(2)]
    statuses += [desk.ask(BOT_KEY, "fast") for _ in range(5)]
    assert statuses.count(200) == 15
    assert statuses.count(429) == 2
    wait_until(lambda: total(desk, "total", "requests") - before >= 17, "17 requests")
    assert total(desk, "total", "requests") - before == pytest.approx(17)
    assert total(desk, "provider", "requests", provider="spare") == pytest.approx(15)
    assert total(desk, "model", "errors", model="fails") >= 2
    assert total(desk, "limit", "blocked", limit="tight") == pytest.approx(2)
    for key, asked in (("ci", 12), ("bot", 3)):
        wait_until(lambda k=key, n=asked: total(desk, "key", "requests", key=k) >= n, key)
    assert total(desk, "key", "requests", key="bot") == pytest.approx(3)
    assert total(desk, "total", "tokens_output") > 0
    memory = desk.json("/api/series?range=15m&by=worker")["series"]
    assert {one["labels"]["worker"] for one in memory} == {"2", "3"}


def test_the_fullest_subject_of_a_limit_is_named(desk: Desk) -> None:
    """The key that was just blocked has nothing left."""
    answer = wait_until(
        lambda: (found := desk.json("/api/limits"))["subjects"] and found, "a subject"
    )
    (subject,) = answer["subjects"]
    assert (subject["limit"], subject["per"], subject["subject"]) == ("tight", "key", "bot")
    assert subject["remaining"] == 0
    assert subject["used_ratio"] > 0.9
    assert 60 < subject["full_in_s"] <= 180
    (limit,) = answer["limits"]
    assert (limit["requests"], limit["window_s"], limit["burst"]) == (60, 3600.0, 3)
    assert (limit["allowed_total"], limit["blocked_total"]) == (3, 2)


def test_requests_are_told_with_their_way_while_somebody_looks(desk: Desk) -> None:
    """Refused ones too, with the limit or the reason; newest first; no secret, no prompt."""
    desk.get("/api/requests")

    def rows() -> Any:
        desk.ask(CI_KEY, "shaky")
        desk.ask(BOT_KEY, "fast")
        desk.ask("tg-nobody-has-this-key", "fast")
        desk.ask(CI_KEY, "no-such-model")
        found = desk.json("/api/requests?limit=50")["requests"]
        return found if {200, 401, 404, 429} <= {row["status"] for row in found} else None

    found = wait_until(rows, "rows of every kind")
    assert [row["time_ms"] for row in found] == sorted((r["time_ms"] for r in found), reverse=True)
    by_status = {row["status"]: row for row in found}
    rescued = by_status[200]
    assert (rescued["key"], rescued["team"], rescued["model"]) == ("ci", "build", "shaky")
    assert [one["provider"] for one in rescued["attempts"]][-1] == "spare"
    assert rescued["attempts"][0]["outcome"] == "http_5xx"
    assert rescued["attempts"][0]["status"] == 500
    assert sum(one["duration_s"] for one in rescued["attempts"]) <= rescued["duration_s"]
    assert by_status[429]["limit"] == "tight"
    assert by_status[401]["key"] is None
    assert by_status[404]["model"] is None
    text = json.dumps(found)
    assert CI_KEY not in text
    assert "Hi" not in text


class Stream:
    """Reads `/api/live` in a thread of its own."""

    def __init__(self, desk: Desk) -> None:
        self.events: list[tuple[str, Any]] = []
        self.status = 0
        self.is_over = threading.Event()
        self._connection = http.client.HTTPConnection("127.0.0.1", desk.port, timeout=20)
        self._connection.request(
            "GET", "/api/live", headers={"authorization": f"Bearer {desk.token}"}
        )
        self._answer = self._connection.getresponse()
        self.status = self._answer.status
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        kind = ""
        try:
            for line in self._answer:
                name, _, value = line.decode().rstrip("\n").partition(": ")
                if name == "event":
                    kind = value
                elif name == "data":
                    self.events.append((kind, json.loads(value)))
        except (OSError, ValueError, AttributeError, http.client.HTTPException):
            pass
        self.is_over.set()

    def of(self, kind: str) -> list[Any]:
        return [data for name, data in self.events if name == kind]

    def close(self) -> None:
        if self._connection.sock is not None:
            self._connection.sock.shutdown(socket.SHUT_RDWR)
        self._thread.join(5)
        self._connection.close()


def test_the_stream_tells_each_second_and_each_request(desk: Desk) -> None:
    """Samples of all groupings; rows as they come; the whole at the start."""
    stream = Stream(desk)
    try:
        wait_until(lambda: len(stream.of("sample")) >= 2, "two samples")
        assert stream.of("instance")
        assert stream.of("alerts")

        def told() -> bool:
            desk.ask(CI_KEY, "fast")
            return bool(stream.of("requests"))

        wait_until(told, "a row")
        wait_until(
            lambda: any(
                one["name"] == "requests" and one["by"] == "provider" and (one["value"] or 0) > 0
                for sample in stream.of("sample")
                for one in sample["series"]
            ),
            "the requests in a sample",
        )
        times = [sample["time_ms"] for sample in stream.of("sample")]
        assert len(set(times)) == len(times)
        for sample in stream.of("sample"):
            assert {one["by"] for one in sample["series"]} >= {"total", "worker"}
    finally:
        stream.close()


def test_every_answer_is_as_the_document_says(desk: Desk) -> None:
    """Decoded strictly into its struct, and complete: written again it is the same."""
    paths = {
        "/api/session": answers.Session,
        "/api/instance": answers.InstanceAnswer,
        "/api/requests": answers.RequestsAnswer,
        "/api/limits": answers.LimitsAnswer,
        "/api/alerts": answers.AlertsAnswer,
        **{
            f"/api/series?range={span}&by={by}": answers.SeriesAnswer
            for span in ("15m", "24h")
            for by in ("total", "provider", "model", "key", "limit", "worker")
        },
    }
    document = desk.json("/api/openapi.json")
    assert document["openapi"] == "3.1.0"
    for path, kind in paths.items():
        status, body = desk.get(path)
        assert status == 200
        again = json.loads(msgspec.json.encode(msgspec.json.decode(body, type=kind)))
        assert again == json.loads(body), path
        described = document["paths"][path.partition("?")[0]]["get"]["responses"]["200"]
        reference = described["content"]["application/json"]["schema"]["$ref"]
        schema = document["components"]["schemas"][reference.rpartition("/")[2]]
        assert set(schema["properties"]) == set(json.loads(body))
    for span, count in (("15m", 900), ("24h", 1440)):
        answer = desk.json(f"/api/series?range={span}&by=total")
        assert answer["count"] == count
        assert all(len(one["values"]) == count for one in answer["series"])
    instance = desk.json("/api/instance")
    assert instance["ready"]
    assert instance["address"] == desk.gateway.url
    assert instance["keys"] == ["bot", "ci"]
    assert [worker["state"] for worker in instance["workers"]] == ["ready", "ready"]
    for bad in ("range=1h", "by=key_id", "range=15m&by=everything"):
        assert desk.get(f"/api/series?{bad}")[0] == 400


def test_a_killed_control_process_comes_back_with_its_history(desk: Desk) -> None:
    """SIGKILL: the readings before it are there, and counters do not jump."""
    wait_until(lambda: total(desk, "total", "requests") > 0, "something to lose")
    before = -1.0
    while total(desk, "total", "allowed") != before:  # until the last request was read
        before = total(desk, "total", "allowed")
        time.sleep(1.5)
    pid = desk.control_pid()
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: desk.control_pid() != pid, "another control process")
    first = desk.json("/api/instance")["started_ms"]
    wait_until(lambda: total(desk, "total", "allowed") >= before, "the history")
    desk.ask(CI_KEY, "fast")
    wait_until(lambda: total(desk, "total", "allowed") >= before + 1, "what came after")
    assert total(desk, "total", "allowed") == pytest.approx(before + 1)
    assert desk.json("/api/instance")["started_ms"] == first


def test_viewers_do_not_slow_requests(desk: Desk) -> None:
    """Twenty streams and a hundred readings of everything: the middle request stays as fast."""

    def median_s() -> float:
        taken = []
        for _ in range(60):
            began = time.perf_counter()
            assert desk.ask(CI_KEY, "fast") == 200
            taken.append(time.perf_counter() - began)
        return sorted(taken)[30]

    alone_s = median_s()
    streams = [Stream(desk) for _ in range(20)]
    try:
        assert {stream.status for stream in streams} == {200}
        assert desk.get("/api/live")[0] == 503

        def read() -> None:
            for _ in range(25):
                desk.get("/api/series?range=24h&by=total")

        readers = [threading.Thread(target=read) for _ in range(4)]
        for reader in readers:
            reader.start()
        watched_s = median_s()
        for reader in readers:
            reader.join()
        # The machine is shared with the readers themselves; the gateway's workers are not.
        assert watched_s < alone_s + 0.05
    finally:
        for stream in streams:
            stream.close()


def test_a_rotated_token_ends_the_old_one_and_its_streams(desk: Desk) -> None:
    """Within two seconds, in the running gateway; no log ever held either."""
    stream = Stream(desk)
    old = desk.token
    done = desk.gateway.run_cli("admin-token", "rotate")
    assert done.returncode == 0, done.stderr
    new = done.stdout.strip()
    assert TOKEN.fullmatch(new)
    assert desk.get("/api/instance", old)[0] == 401
    assert desk.get("/api/instance", new)[0] == 200
    desk.token = new
    assert stream.is_over.wait(5)
    stream.close()
    log = desk.gateway.log.read_text()
    assert old not in log
    assert new not in log
    assert CI_KEY not in log


def test_the_token_is_shown_once_and_a_taken_port_is_no_reason_to_stop(tmp_path: Path) -> None:
    """The gateway serves, says what is wrong, and opens the port as soon as it is free."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        desk = Desk(tmp_path, None, other.getsockname()[1])
        with desk:
            assert desk.token
            assert desk.gateway.page()
            wait_until(
                lambda: "the control port is not open" in desk.gateway.log.read_text(), "a warning"
            )
            other.close()
            assert desk.get("/api/session")[0] == 200
    again = Desk(tmp_path, None)
    with again:
        assert again.token == ""
        assert again.get("/api/session", desk.token)[0] == 200


def test_without_a_control_port_there_is_no_token_and_no_file(tmp_path: Path) -> None:
    """0 is off: nothing is read, nothing is kept."""
    config = tmp_path / "gateway.yaml"
    desk = Desk(tmp_path, "{}", 0)
    with desk:
        assert desk.token == ""
        assert desk.gateway.page()
        assert not (desk.gateway.data_dir / "live.ring").exists()
    assert config.exists()


_HALF_A_BODY = b"POST /api/session HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: 90\r\n\r\n{"
_UNREAD = b"GET / HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: 90\r\n\r\n{"


def test_a_connection_that_comes_to_no_end_is_closed(desk: Desk) -> None:
    """Silence, half a head, half a body, a body that nobody reads; others are served meanwhile."""
    half_a_head = b"GET / HTTP/1.1\r\nhost: 127.0.0.1\r\nx: "
    begun_s = time.monotonic()
    with contextlib.ExitStack() as opened:
        waiting = []
        for said in (b"", half_a_head, _HALF_A_BODY, _UNREAD):
            connection = socket.create_connection(("127.0.0.1", desk.port), 20)
            waiting.append(opened.enter_context(connection))
            connection.sendall(said)
        assert desk.get("/api/session")[0] == 200
        for connection in waiting:
            with contextlib.suppress(ConnectionError):
                while connection.recv(4096):
                    pass
        assert desk.get("/api/session")[0] == 200
    assert time.monotonic() - begun_s < BODY_S + 8.0


def test_nobody_keeps_others_out(desk: Desk) -> None:
    """More connections than there may be, each with a request that never comes to its end."""
    address = ("127.0.0.1", desk.port)
    with contextlib.ExitStack() as opened:
        crowd = [
            opened.enter_context(socket.create_connection(address, 20))
            for _ in range(2 * MOST_CONNECTIONS)
        ]
        for number, connection in enumerate(crowd):
            with contextlib.suppress(ConnectionError):  # closed by now, to make room
                connection.sendall((_HALF_A_BODY, _UNREAD, b"GET /")[number % 3])
            if number % 20 == 0:
                assert desk.get("/api/session")[0] == 200
        held = sum(
            b":%04X" % desk.port in line.split()[1].upper() and line.split()[3] == b"01"
            for line in Path("/proc/net/tcp").read_bytes().splitlines()[1:]
        )
        assert held <= MOST_CONNECTIONS
        assert desk.get("/api/session")[0] == 200
