"""A worker's data plane in this process, asked over sockets, with or without its short way.

Everything is real but the provider, which does what the test says. The long way is the same
plane behind a server without a front: what the two do differently is a defect.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec
from tests.edge.wire import Answer, read_answers
from tests.ledger.ledger_scene import Scene as Ledger
from tests.upstream.misbehaving import Peer, Upstream
from typing_extensions import override

from tidegate.config.compile import compile_snapshot, config_keys
from tidegate.config.load import load_settings
from tidegate.config.snapshot import KeySnapshot, Snapshot
from tidegate.edge.exchange import Handler
from tidegate.edge.http_exchange import HttpExchange
from tidegate.edge.server import Server
from tidegate.ledger import JOURNAL_FOLDER
from tidegate.ledger.prices import PricedModel, PriceTable, encode_price_table
from tidegate.ledger.records import HEADER_BYTES, Record, scan
from tidegate.memory import FIRST_WORKER_SLOT, Segment
from tidegate.metrics.registry import Registry
from tidegate.money import ModelPrice, Period, Price, Rates
from tidegate.providers.discover import providers_by_name
from tidegate.sweep import Sweep
from tidegate.workers.wiring import DataPlane

PEPPER = b"p" * 32
SECRET = "tg-turns-0123456789abcdef0123456789"
OTHER_SECRET = "tg-other-0123456789abcdef0123456789"
ENV = {"UP_KEY": "sk-upstream-0123456789", "CI_KEY": SECRET, "OTHER_KEY": OTHER_SECRET}
WITHIN_S = 10.0

#: Does one exchange as a provider; False ends the connection.
Behave = Callable[[Peer, bytes, bytes], Awaitable[bool]]

CHAT_ANSWER = json.dumps(
    {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1_700_000_000,
        "model": "fast-up",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "Good day."},
                "finish_reason": "stop",
            }
        ],
        "usage": {"prompt_tokens": 30, "completion_tokens": 20, "total_tokens": 50},
    }
).encode()


MESSAGE_ANSWER = json.dumps(
    {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "wise-up",
        "content": [{"type": "text", "text": "Good day."}],
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": {
            "input_tokens": 25,
            "output_tokens": 7,
            "cache_read_input_tokens": 4,
            "cache_creation_input_tokens": 3,
        },
    }
).encode()


class Provider(Upstream):
    """A provider on a port of its own.

    Args:
        answer: What it answers as long as it behaves as `usual`.

    Attributes:
        usual: What it does unless told otherwise.
        behave: What it does with each request.
        asked: `(head, body)` of each request so far, in order.
    """

    def __init__(self, answer: bytes) -> None:
        super().__init__()
        self.script = self._serve
        self.usual = self.behave = answering(answer)
        self.asked: list[tuple[bytes, bytes]] = []

    async def _serve(self, peer: Peer) -> None:
        while (request := await peer.request()) is not None:
            self.asked.append(request)
            if not await self.behave(peer, *request):
                return


def answering(body: bytes, *lines: bytes, status: bytes = b"200 OK") -> Behave:
    """Answer every request with *body*, in one piece."""
    if not any(line.lower().startswith(b"content-type") for line in lines):
        lines = (b"content-type: application/json", *lines)
    head = b"HTTP/1.1 %b\r\n%bcontent-length: %d\r\n\r\n" % (
        status,
        b"".join(line + b"\r\n" for line in lines),
        len(body),
    )
    return sending(head + body)


def sending(*pieces: bytes, then: str = "stay") -> Behave:
    """Send *pieces* in writes of their own, then `stay`, `close` or `reset`."""

    async def behave(peer: Peer, head: bytes, body: bytes) -> bool:
        for number, piece in enumerate(pieces):
            if number:
                await asyncio.sleep(0.001)  # the loop reads what is here before it wakes anybody
            await peer.send(piece)
        if then == "reset":
            peer.reset()
        return then == "stay"

    return behave


def in_turn(*steps: Behave) -> Behave:
    """Do each of *steps* once, and the last one for ever."""
    left = list(steps)

    async def behave(peer: Peer, head: bytes, body: bytes) -> bool:
        step = left.pop(0) if len(left) > 1 else left[0]
        return await step(peer, head, body)

    return behave


class Gate:
    """A provider's work that ends when the test says so.

    Attributes:
        waiting: Requests that wait for an answer.
        ended: Connections that the gateway has ended meanwhile.
    """

    def __init__(self, body: bytes = CHAT_ANSWER) -> None:
        self.waiting = 0
        self.ended = 0
        self._open = asyncio.Event()
        self._answer = answering(body)

    def open(self) -> None:
        """Let all answers leave."""
        self._open.set()

    async def __call__(self, peer: Peer, head: bytes, body: bytes) -> bool:
        """See `Behave`."""
        self.waiting += 1
        opened = asyncio.ensure_future(self._open.wait())
        ended = asyncio.ensure_future(peer.wait_closed())
        try:
            await asyncio.wait((opened, ended), return_when=asyncio.FIRST_COMPLETED)
            if ended.done():
                self.ended += 1
                return False
        finally:
            for each in (opened, ended):
                each.cancel()
            await asyncio.gather(opened, ended, return_exceptions=True)
            self.waiting -= 1
        return await self._answer(peer, head, body)


class CountedServer(Server):
    """A server that counts the requests which a task was needed for."""

    tasks = 0

    @override
    def run(self, exchange: HttpExchange, handler: Handler) -> None:
        """See `Server.run`."""
        self.tasks += 1
        super().run(exchange, handler)


class Connection:
    """A client's connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    def send(self, data: bytes) -> None:
        """Send *data*."""
        self.writer.write(data)

    async def answer(self) -> Answer:
        """Read one answer."""
        async with asyncio.timeout(WITHIN_S):
            head = await self.reader.readuntil(b"\r\n\r\n")
            length = 0
            for line in head.lower().split(b"\r\n"):
                if line.startswith(b"content-length: "):
                    length = int(line[16:])
            (answer,) = read_answers(head + await self.reader.readexactly(length))
        return answer

    async def ask(self, data: bytes) -> Answer:
        """Send one request and read its answer."""
        self.send(data)
        return await self.answer()

    async def rest(self) -> bytes:
        """Read until the end."""
        async with asyncio.timeout(WITHIN_S):
            return await self.reader.read()

    def leave(self) -> None:
        """Close without reading on."""
        self.writer.close()


class Stand:
    """One worker.

    Attributes:
        errors: What handlers should not have raised.
    """

    def __init__(self, folder: Path, text: str, *, short: bool) -> None:
        loop = asyncio.get_running_loop()
        folder.mkdir(exist_ok=True)
        self.folder = folder
        self.segment = Segment.create(worker_slots=2)
        self.errors: list[BaseException] = []
        self._log_path = folder / "access.log"
        self._log = os.open(self._log_path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self._generation = 0
        snapshot, self.keys = self.compile(text)
        sweep = Sweep(loop, tick_s=0.02)
        self.plane = DataPlane(
            loop,
            self.segment,
            FIRST_WORKER_SLOT,
            sweep,
            snapshot,
            self.keys,
            registry=Registry(self.segment, FIRST_WORKER_SLOT),
            access_log_fd=self._log,
        )
        self._keys_generation = 0
        self.set_keys(self.keys)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.server = CountedServer(
            self._listener,
            self.plane.handler,
            snapshot.edge,
            sweep,
            front=self.plane.front if short else None,
            on_refusal=self.plane.note_refusal,
            on_error=self.errors.append,
        )
        self.server.start()
        self._connections: list[Connection] = []
        self._is_closed = False

    def compile(self, text: str) -> tuple[Snapshot, tuple[KeySnapshot, ...]]:
        """Return the next configuration, and the keys that it names."""
        self._generation += 1
        path = self.folder / "tidegate.yaml"
        path.write_text(text)
        kinds = providers_by_name()
        settings = load_settings(path, ENV, self.folder, kinds=kinds).settings
        snapshot = compile_snapshot(
            settings, kinds=kinds, generation=self._generation, pepper=PEPPER, data_dir=self.folder
        )
        table = encode_price_table(PRICES)
        return msgspec.structs.replace(snapshot, prices=table), config_keys(settings, PEPPER)

    def reload(self, text: str) -> None:
        """Put another configuration in force, as a worker does."""
        snapshot, self.keys = self.compile(text)
        self.plane.apply(snapshot)
        self.server.configure(snapshot.edge)
        self.set_keys(self.keys)

    def set_keys(self, keys: tuple[KeySnapshot, ...]) -> None:
        """Put another table of keys in force."""
        self._keys_generation += 1
        self.plane.set_keys(keys, self._keys_generation)

    @property
    def tasks(self) -> int:
        """Requests that a task was needed for so far."""
        return self.server.tasks

    async def connect(self, address: str = "127.0.0.1") -> Connection:
        """Open a connection from a loopback *address*."""
        connection = Connection(
            *await asyncio.open_connection("127.0.0.1", self.port, local_addr=(address, 0))
        )
        self._connections.append(connection)
        return connection

    async def page(self) -> dict[str, float]:
        """Return the metrics page: sample → value."""
        connection = await self.connect()
        answer = await connection.ask(b"GET /metrics HTTP/1.1\r\nhost: gateway\r\n\r\n")
        connection.leave()
        assert answer.status == 200
        samples = {}
        for line in answer.body.decode().splitlines():
            if line and not line.startswith("#"):
                name, _, value = line.rpartition(" ")
                samples[name] = float(value)
        return samples

    async def in_flight(self) -> float:
        """Return what the page says of requests in flight, its own left out."""
        return (await self.page())["tidegate_requests_in_flight"] - 1

    async def close(self) -> None:
        """Stop all, and write all."""
        if self._is_closed:
            return
        self._is_closed = True
        for connection in self._connections:
            connection.leave()
        await self.server.stop()
        self._listener.close()
        self.plane.close()
        os.close(self._log)
        os.close(self.segment.fd)  # its memory goes with those who look into it

    def lines(self) -> list[dict[str, Any]]:
        """Return the access log's lines, once closed."""
        assert self._is_closed
        return [json.loads(line) for line in self._log_path.read_text().splitlines()]

    def records(self) -> list[Record]:
        """Return all whole records of the journals, in order."""
        files = sorted(
            (self.folder / JOURNAL_FOLDER).glob("*.journal"),
            key=lambda path: int(path.name.split(".")[3]),
        )
        return [
            record for path in files for record, _ in scan(path.read_bytes(), HEADER_BYTES).records
        ]

    def rows(self) -> list[dict[str, Any]]:
        """Return the ledger's rows in the order of their attempts' beginnings, once closed."""
        assert self._is_closed
        ledger = Ledger(self.folder)
        try:
            ledger.fold()
            rows = [row._asdict() for row in ledger.rows().values()]
        finally:
            ledger.store.close()
        return sorted(rows, key=lambda row: (row["opened_at_ms"], row["attempt_id"]))


_PRICE = Price(
    Rates(
        input=10**9,
        cached_input=5 * 10**8,
        cache_write=125 * 10**7,
        output=3 * 10**9,
        reasoning=4 * 10**9,
    )
)
_PRICED = (PricedModel(["$", "-up"], ModelPrice((Period(_PRICE),))),)
PRICES = PriceTable("turns 1", {}, {"up": _PRICED, "claude": _PRICED})
"""What models whose name ends in `-up` cost; others have no price."""


def request(
    path: str, body: object, *more: str, secret: str = SECRET, version: str = "HTTP/1.1"
) -> bytes:
    """Write one request; *more* are further header lines."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    lines = [
        f"POST {path} {version}",
        "host: gateway",
        f"authorization: Bearer {secret}",
        "content-type: application/json",
        *more,
        f"content-length: {len(data)}",
    ]
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + data


def chat(model: str = "fast", *more: str, secret: str = SECRET, **fields: object) -> bytes:
    """Write a request for a chat completion."""
    body = {"model": model, "messages": [{"role": "user", "content": "Good day"}], **fields}
    return request("/v1/chat/completions", body, *more, secret=secret)


async def until(condition: Callable[[], bool]) -> None:
    """Wait for *condition*; an error if it does not come true in time."""
    end = time.monotonic() + WITHIN_S
    while not condition():
        assert time.monotonic() < end, "the condition did not come true"
        await asyncio.sleep(0.002)


def config(
    up: Provider,
    claude: Provider | None = None,
    *,
    models: str = "",
    limits: str = "",
    default: str = "",
    key: str = "",
    more: str = "",
) -> str:
    """Write a configuration.

    Args:
        up: Speaks OpenAI's dialect: models `fast`, `same` (called the same there) and `free`
            (without a price).
        claude: Speaks Anthropic's: model `wise`.
        models: Further lines of `models`.
        limits: Lines of `limits`.
        default: Names of the default ones.
        key: Further settings of the key `ci`.
        more: Further sections, after the keys `ci` and `other`.
    """
    lines = [
        "providers:",
        "  up: {kind: openai-compatible, api_key: 'env:UP_KEY',"
        f" base_url: 'http://127.0.0.1:{up.port}/v1'}}",
    ]
    if claude is not None:
        lines.append(
            "  claude: {kind: anthropic, api_key: 'env:UP_KEY',"
            f" base_url: 'http://127.0.0.1:{claude.port}'}}"
        )
    lines += [
        "models:",
        "  warm: {targets: [up/warm-up]}",
        "  fast: {targets: [up/fast-up], retries: 0}",
        "  same-up: {targets: [up/same-up], retries: 0}",
        "  free: {targets: [up/gratis], retries: 0}",
    ]
    if claude is not None:
        lines += [
            "  warm-claude: {targets: [claude/warm-up]}",
            "  wise: {targets: [claude/wise-up], retries: 0}",
        ]
    lines.append(models)
    if limits:
        lines += ["limits:", limits]
    if default:
        lines.append(f"default_limits: [{default}]")
    lines += [
        "keys:",
        f"  ci: {{secret: 'env:CI_KEY', team: build{key}}}",
        "  other: {secret: 'env:OTHER_KEY'}",
        more,
    ]
    return "\n".join(line for line in lines if line) + "\n"
