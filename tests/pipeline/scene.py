"""A gateway in memory: everything real but the client's socket and the upstream."""

from __future__ import annotations

import asyncio
import json
import shutil
import tempfile
import time
import weakref
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Literal

from tidegate.config.snapshot import (
    EdgeSnapshot,
    KeySnapshot,
    LimitSnapshot,
    MetricsSnapshot,
    ModelSnapshot,
    Snapshot,
    TargetSnapshot,
)
from tidegate.edge.exchange import ClientWatcher, HeadMemo
from tidegate.endpoints.table import route_table
from tidegate.keys import secrets
from tidegate.keys.directory import KeyDirectory
from tidegate.keys.throttle import GuessThrottle
from tidegate.ledger.journal import Journal
from tidegate.limits.concurrency import ConcurrencyTable
from tidegate.limits.limiter import Limiter
from tidegate.memory import FIRST_WORKER_SLOT, Segment
from tidegate.metrics.registry import Registry
from tidegate.pipeline.access_log import AccessLog
from tidegate.pipeline.estimate import TokenEstimator
from tidegate.pipeline.gateway import Gateway, State
from tidegate.pipeline.handle import Pipeline
from tidegate.pipeline.meters import Meters
from tidegate.routing.plan import ModelRoute, link_fallbacks
from tidegate.routing.target import Target
from tidegate.sweep import Sweep
from tidegate.upstream.answer import UpstreamFault

PEPPER = b"p" * 32
SECRET = "tg-test-secret"


class FakeExchange:
    """A client: its request, and what it has been sent."""

    def __init__(
        self,
        method: str = "POST",
        path: str = "/v1/chat/completions",
        body: object = None,
        headers: dict[str, str] | None = None,
        secret: str | None = SECRET,
    ) -> None:
        self.method = method.encode()
        self.path = path.encode()
        self.query = b""
        self.headers = {name.encode(): value.encode() for name, value in (headers or {}).items()}
        if secret is not None:
            self.headers[b"authorization"] = b"Bearer " + secret.encode()
        self.client_ip = "192.0.2.1"
        self.started_at = time.monotonic()
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.body: bytes | None = raw if body is not None else b""
        self.disconnected = False
        self.watcher: ClientWatcher | None = None
        self.task: asyncio.Task[None] | None = None
        self.memo = HeadMemo()
        self.status = 0
        self.answer_headers: dict[str, str] = {}
        self.sent = b""
        self.ended = False
        self.aborted = False

    async def read_body(self, max_bytes: int) -> bytes:
        return self.body or b""

    def answer(self, status: int, headers: bytes, body: bytes) -> None:
        assert not self.status, "answered twice"
        self.status = status
        self._read(headers)
        self.sent = body
        self.ended = True

    def start(self, status: int, headers: bytes) -> None:
        assert not self.status, "answered twice"
        self.status = status
        self._read(headers)

    def write(self, data: bytes) -> None:
        assert self.status
        assert not self.ended
        self.sent += data

    def end(self) -> None:
        assert not self.ended
        self.ended = True

    def abort(self) -> None:
        self.aborted = True

    def leave(self) -> None:
        """The client closes its connection."""
        self.disconnected = True
        if self.watcher is not None:
            self.watcher.client_gone()

    def _read(self, lines: bytes) -> None:
        for line in lines.decode().split("\r\n")[:-1]:
            name, _, value = line.partition(": ")
            assert name not in self.answer_headers, f"{name} sent twice"
            self.answer_headers[name] = value

    @property
    def json(self) -> Any:
        return json.loads(self.sent)


class FakeAnswer:
    """An upstream's answer, in pieces; a piece may be a fault or something to wait for."""

    def __init__(
        self,
        status: int = 200,
        body: bytes = b"",
        pieces: list[bytes | UpstreamFault | asyncio.Event] | None = None,
        headers: dict[bytes, bytes] | None = None,
    ) -> None:
        self.status = status
        kind = b"application/json" if pieces is None else b"text/event-stream"
        self.headers = {b"content-type": kind, **(headers or {})}
        self.framing: Literal["length", "chunked", "close", "none"] = "chunked"
        self.body = body
        self.pieces = pieces or []
        self.cancelled = False
        self.paused = False

    async def read(self, max_bytes: int) -> bytes:
        return self.body

    async def relay(self, sink: Callable[[bytes], None]) -> None:
        for piece in self.pieces:
            if isinstance(piece, UpstreamFault):
                raise piece
            if isinstance(piece, asyncio.Event):
                await piece.wait()
            else:
                sink(piece)

    def pause(self) -> None:
        self.paused = True

    def resume(self) -> None:
        self.paused = False

    def cancel(self) -> None:
        self.cancelled = True


class FakeUpstream:
    """Answers with what it was given, in order; keeps what it was sent."""

    def __init__(self, *script: FakeAnswer | UpstreamFault) -> None:
        self.script = list(script)
        self.sent: list[tuple[bytes, bytes]] = []
        self.waiting: asyncio.Event | None = None

    async def send(
        self, head: bytes, body: bytes, *, deadline: float, first_byte_s: float | None = None
    ) -> FakeAnswer:
        self.sent.append((head, body))
        if self.waiting is not None:
            await self.waiting.wait()
        step = self.script.pop(0) if len(self.script) > 1 else self.script[0]
        if isinstance(step, UpstreamFault):
            raise step
        return step


class Scene:
    """A gateway with models, keys and limits of the test's choosing."""

    def __init__(
        self,
        models: dict[str, list[FakeUpstream]],
        *,
        fallbacks: dict[str, list[str]] | None = None,
        limits: tuple[LimitSnapshot, ...] = (),
        key_models: tuple[str, ...] | None = None,
        retries: int = 2,
        total_s: float = 30.0,
    ) -> None:
        loop = asyncio.get_running_loop()
        self.segment = Segment.create(worker_slots=2)
        registry = Registry(self.segment, FIRST_WORKER_SLOT)
        self.meters = Meters(registry)
        snapshot = Snapshot(
            generation=1,
            edge=EdgeSnapshot(),
            providers=(),
            models=tuple(
                ModelSnapshot(name, (TargetSnapshot("p", f"{name}-up"),)) for name in models
            ),
            limits=limits,
            default_limits=tuple(limit.name for limit in limits),
            metrics=MetricsSnapshot(),
            pepper=PEPPER,
            data_dir="",
        )
        routes = {
            name: ModelRoute(
                name,
                [self._target(name, index, upstream) for index, upstream in enumerate(upstreams)],
                retries=retries,
                total_s=total_s,
            )
            for name, upstreams in models.items()
        }
        link_fallbacks(routes, fallbacks or {})
        directory = KeyDirectory(PEPPER)
        digest = secrets.digest(SECRET.encode(), PEPPER)
        directory.replace((KeySnapshot("key_1", "tester", digest, models=key_models),), 1)
        self.sweep = Sweep(loop, tick_s=0.01)
        self.gateway = Gateway(
            loop=loop,
            sweep=self.sweep,
            state=State(snapshot, routes, lambda name: None),
            directory=directory,
            limiter=Limiter(
                self.segment.limiter,
                FreeLock(),
                b"k" * 32,
                concurrency=ConcurrencyTable(self.segment.holds, FIRST_WORKER_SLOT),
            ),
            throttle=GuessThrottle(),
            meters=self.meters,
            access_log=AccessLog(loop, None),
            journal=Journal(self._folder(), FIRST_WORKER_SLOT, 1),
            render_page=_no_page,
            is_ready=lambda: True,
            chance=lambda: 0.0,
        )
        self.pipeline = Pipeline(self.gateway, route_table())

    def _folder(self) -> Path:
        """Return a folder that goes when the scene does."""
        folder = tempfile.mkdtemp(prefix="tidegate-scene-")
        weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
        return Path(folder)

    def _target(self, name: str, index: int, upstream: FakeUpstream) -> Target:
        target = Target(
            provider=f"p{index}",
            model=f"{name}-up",
            label=f"{name}-up",
            weight=1,
            client=upstream,
            base_path=b"/base",
            origin_lines=b"host: up\r\nauthorization: Bearer provider-secret\r\n",
            stream_usage=True,
        )
        target.meters = self.meters.target(target.provider, target.label)
        target.estimator = TokenEstimator()
        return target

    async def run(self, exchange: FakeExchange) -> FakeExchange:
        """Serve one exchange to its end."""
        exchange.task = asyncio.create_task(self._serve(exchange))
        await exchange.task
        return exchange

    async def _serve(self, exchange: FakeExchange) -> None:
        await self.pipeline(exchange)

    def count(self, name: str, *labels: str) -> float:
        """A counter's value in this worker."""
        registry_counter = {
            "allowed": self.meters.allowed,
            "blocked": self.meters.blocked,
        }.get(name)
        if registry_counter is not None:
            return registry_counter.value
        return float(getattr(self.meters, name).labels(*labels).value)


class FreeLock:
    """A lock that nobody else wants."""

    def acquire(self) -> None:
        return None

    def release(self) -> None:
        return None


async def _no_page(accept: bytes | None, encoding: bytes | None) -> tuple[bytes, bytes]:
    return b"content-type: text/plain\r\n", b"page"


Serve = Callable[[FakeExchange], Awaitable[FakeExchange]]


def chat(model: str = "m", **more: object) -> dict[str, object]:
    """A chat request."""
    return {"model": model, "messages": [{"role": "user", "content": "hi"}], **more}


ANSWER = json.dumps(
    {
        "id": "x",
        "object": "chat.completion",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "yo"}}],
        "usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5},
    }
).encode()
