"""Answers of a control port, and a small one that gives them, for the tests of `tidegate top`."""

from __future__ import annotations

import json
import queue
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any

from tidegate.cli.top.board import History, News, Recent, Status
from tidegate.control.live.answers import (
    AlertRow,
    AlertsAnswer,
    AttemptRow,
    InstanceAnswer,
    LimitsAnswer,
    LimitTotals,
    RequestRow,
    RuleRow,
    SampleEvent,
    SampleSeries,
    Series,
    SeriesAnswer,
    Subject,
    WorkerState,
)

NOW_MS = 1_800_000_000_000
TOKEN = "tga_0123456789abcdef"


def instance(**changes: Any) -> InstanceAnswer:
    """Return a gateway with two workers."""
    workers = [
        WorkerState(
            worker=slot, state="ready", connections=3, in_flight=1, cpu_ratio=0.12,
            memory_bytes=40_000_000, loop_lag_s=0.0004, restarts=slot - 2,
        )
        for slot in (2, 3)
    ]  # fmt: skip
    values: dict[str, Any] = {
        "name": "gate-1", "version": "0.1.0", "started_ms": NOW_MS - 3_600_000,
        "uptime_s": 3600.0, "generation": 2, "address": "http://127.0.0.1:8000", "ready": True,
        "workers": workers, "providers": ["acme"], "models": ["fast"], "limits": [],
        "keys": ["ci"], **changes,
    }  # fmt: skip
    return InstanceAnswer(**values)


def line(by: str, name: str, value: float | None, label: str = "") -> Series:
    """Return a line that had *value* in its last ten seconds, and was not read before that."""
    values = [None] * 890 + [value] * 10
    return Series(name, "per_s", {by: label} if label else {}, values)


def history() -> History:
    """Return lines of every grouping."""
    lines = {
        "total": [
            line("total", "requests", 12.0), line("total", "allowed", 11.0),
            line("total", "blocked", 1.0), line("total", "success_ratio", 0.9999),
            line("total", "latency_p50_s", 0.34), line("total", "latency_p95_s", 1.2),
            line("total", "ttft_p95_s", 0.21), line("total", "in_flight", 7.0),
            line("total", "overhead_p50_s", 0.0004), line("total", "tokens_input", 1234.0),
            line("total", "tokens_output", 5678.0), line("total", "cost_usd", 1.25),
        ],
        "provider": [
            line("provider", "requests", 3.0, "acme"), line("provider", "errors", 0.5, "acme"),
            line("provider", "latency_p95_s", 2.0, "acme"),
            line("provider", "requests", 9.0, "busy"),
        ],
        "model": [line("model", "requests", 3.0, "acme-large")],
        "key": [line("key", "requests", 4.0, "ci"), line("key", "cost_usd", 0.5, "ci")],
        "limit": [line("limit", "allowed", 11.0, "per-key"),
                  line("limit", "blocked", 1.0, "per-key")],
        "worker": [line("worker", "cpu_ratio", 0.5, "2"), line("worker", "connections", 3.0, "2")],
    }  # fmt: skip
    return History(
        tuple(SeriesAnswer("15m", 1, NOW_MS - 899_000, 900, found) for found in lines.values())
    )


def sample(seconds_later: int, **totals: float) -> SampleEvent:
    """Return a reading of totals."""
    series = [SampleSeries(name, {}, "total", value) for name, value in totals.items()]
    return SampleEvent(NOW_MS + 1000 * seconds_later, series)


def request(number: int, **changes: Any) -> RequestRow:
    """Return a request that was answered."""
    values: dict[str, Any] = {
        "request_id": f"req_{number}", "time_ms": NOW_MS + number, "endpoint": "chat_completions",
        "status": 200, "outcome": "ok", "stream": True, "key": "ci", "team": None, "model": "fast",
        "duration_s": 1.5, "ttft_s": 0.2, "input_tokens": 11, "output_tokens": 22,
        "cost_usd": 0.001, "limit": None,
        "attempts": [AttemptRow("acme", "acme-large", "ok", 200, 1.4)], **changes,
    }  # fmt: skip
    return RequestRow(**values)


LIMITS = LimitsAnswer(
    [LimitTotals("per-key", "key", 60, 60.0, 10, "enforce", 1100, 17, 5, 0),
     LimitTotals("at-once", "global", None, None, 4, "shadow", 9, 0, 0, 3)],
    [Subject("per-key", "key", "ci", 0.93, 4, 12.3),
     Subject("at-once", "global", "global", 0.25, 3, None)],
)  # fmt: skip
ALERTS = AlertsAnswer(
    [AlertRow("TidegateProviderDown", "critical", "firing", NOW_MS - 180_000, "acme is down",
              "…", "docs/runbooks/provider.md", {"provider": "acme"}, 1.0)],
    [RuleRow("TidegateProviderDown", "critical", 60.0, "acme is down", "firing")],
)  # fmt: skip


def everything() -> list[News]:
    """Return what a feed tells at its start."""
    rows = [
        request(1),
        request(2, status=429, outcome="rate_limit_exceeded", limit="per-key", attempts=[]),
        request(
            3,
            attempts=[
                AttemptRow("acme", "acme-large", "connect", 0, 0.1),
                AttemptRow("acme", "acme-large", "connect", 0, 0.1),
                AttemptRow("spare", "other", "ok", 200, 1.0),
            ],
        ),
        request(4, status=401, outcome="invalid_api_key", key=None, model=None, attempts=[]),
    ]
    return [
        instance(), history(), LIMITS, ALERTS, Recent(rows, is_whole=True),
        Status("live", is_live=True),
    ]  # fmt: skip


class ToldSource:
    """A source that tells what a test puts in."""

    def __init__(self, *news: News) -> None:
        self.news: queue.SimpleQueue[News] = queue.SimpleQueue()
        self.is_running = False
        for one in news:
            self.news.put(one)

    def start(self) -> None:
        """Begin."""
        self.is_running = True

    def stop(self) -> None:
        """End."""
        self.is_running = False


class ControlPort:
    """A control port of canned answers; use as a context manager.

    Attributes:
        answers: Path → JSON; missing paths are 404.
        events: Bytes of the event stream, told to each who follows it; then it ends, or stays
            open while `stays_open`.
        refusal: `(status, body)` for every request instead.
        seen: Paths that were asked for, with the Authorization header of each.
    """

    def __init__(self, answers: dict[str, Any], events: list[bytes], *, stays_open: bool) -> None:
        self.answers = answers
        self.events = events
        self.refusal: tuple[int, bytes] | None = None
        self.seen: list[tuple[str, str]] = []
        self._end = threading.Event()
        port = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                port.seen.append((self.path, self.headers.get("Authorization", "")))
                if port.refusal is not None:
                    self._send(*port.refusal)
                elif self.path == "/api/live":
                    self.send_response(200)
                    self.end_headers()
                    for event in port.events:
                        self.wfile.write(event)
                        self.wfile.flush()
                    if stays_open:
                        port._end.wait(20)
                elif self.path in port.answers:
                    self._send(200, json.dumps(port.answers[self.path]).encode())
                else:
                    self._send(404, b'{"error": {"code": "not_found", "message": "No such path"}}')

            def _send(self, status: int, body: bytes) -> None:
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))

    def __enter__(self) -> ControlPort:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._end.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(10)
