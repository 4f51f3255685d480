"""An edge without sockets: a transport in memory, a clock by hand, and a reader of answers."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field

from tidegate.config.snapshot import EdgeSnapshot
from tidegate.edge.connection import Connection
from tidegate.edge.exchange import Exchange
from tidegate.edge.ordinary import OrdinaryConnection
from tidegate.edge.server import Server
from tidegate.sweep import Sweep

BODY_CAP = 2 * 1024 * 1024
"""Both the edge's cap in tests and what the echo handler asks for."""


@dataclass
class Answer:
    """One answer as a client reads it. `whole` is False when its end did not come."""

    status: int
    headers: dict[str, str]
    body: bytes
    whole: bool = True

    @property
    def code(self) -> str | None:
        """The error's code, when the body is an error in OpenAI's shape."""
        try:
            error = json.loads(self.body)["error"]
        except (ValueError, KeyError, TypeError):
            return None
        assert set(error) == {"message", "type", "param", "code"}
        return error["code"]


def read_answers(received: bytes, methods: Iterable[str] = ()) -> list[Answer]:
    """Split what a client has received into answers; asserts that nothing is malformed.

    *methods* are those of the requests, in order, where they matter (HEAD has no body).
    """
    answers = []
    queue = list(methods)
    while received:
        head, separator, received = received.partition(b"\r\n\r\n")
        assert separator, f"unfinished head {head!r}"
        line, *lines = head.decode("latin-1").split("\r\n")
        version, status, _ = line.split(" ", 2)
        assert version == "HTTP/1.1"
        headers: dict[str, str] = {}
        for each in lines:
            name, colon, value = each.partition(": ")
            assert colon, f"bad header line {each!r}"
            assert name not in headers, f"{name} stands twice"
            headers[name] = value
        answer = Answer(int(status), headers, b"")
        answers.append(answer)
        if answer.status < 200:
            continue
        method = queue.pop(0) if queue else "GET"
        if method == "HEAD" or answer.status in (204, 304):
            continue
        if "content-length" in headers:
            length = int(headers["content-length"])
            answer.body, received = received[:length], received[length:]
            answer.whole = len(answer.body) == length
        elif headers.get("transfer-encoding") == "chunked":
            received = _read_chunks(answer, received)
        else:  # ends with the connection
            answer.body, received = received, b""
    return answers


def _read_chunks(answer: Answer, received: bytes) -> bytes:
    answer.whole = False
    while received:
        size, _, received = received.partition(b"\r\n")
        length = int(size, 16)
        if length == 0:
            assert received.startswith(b"\r\n")
            answer.whole = True
            return received[2:]
        answer.body += received[:length]
        assert received[length : length + 2] == b"\r\n"
        received = received[length + 2 :]
    return b""


class MemoryTransport(asyncio.Transport):
    """Keeps what the edge writes; `stuck` makes a client that reads nothing."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__()
        self.loop = loop
        self.protocol: Connection | None = None
        self.sent = bytearray()
        self.unsent = bytearray()
        self.stuck = False
        self.high = self.low = 0
        self.is_reading = True
        self.ended = False  # write_eof was called
        self.closed = False
        self.aborted = False
        self.lost = False
        self._was_paused = False

    def write(self, data):
        assert not self.ended, "written after the end of file"
        if self.closed:
            return
        (self.unsent if self.stuck else self.sent).extend(data)
        if len(self.unsent) > self.high and not self._was_paused:
            self._was_paused = True
            self.protocol.pause_writing()

    def writelines(self, lines):
        self.write(b"".join(lines))

    def read_on(self, size=None):
        """The stuck client reads *size* bytes, or everything from now on."""
        if size is None:
            self.stuck = False
            size = len(self.unsent)
        self.sent += self.unsent[:size]
        del self.unsent[:size]
        if self._was_paused and len(self.unsent) <= self.low:
            self._was_paused = False
            self.protocol.resume_writing()
        if self.closed:
            self._lose()

    def get_write_buffer_size(self):
        return len(self.unsent)

    def set_write_buffer_limits(self, high=None, low=None):
        self.high, self.low = high, low

    def can_write_eof(self):
        return True

    def write_eof(self):
        self.ended = True

    def pause_reading(self):
        assert self.is_reading, "paused twice"
        self.is_reading = False

    def resume_reading(self):
        assert not self.is_reading, "resumed twice"
        self.is_reading = True

    def is_closing(self):
        return self.closed

    def close(self):
        if not self.closed:
            self.closed = True
            if not self.unsent:
                self._lose()

    def abort(self):
        self.closed = self.aborted = True
        self.unsent.clear()
        self._lose()

    def _lose(self):
        if not self.lost:
            self.lost = True
            self.loop.call_soon(self.protocol.connection_lost, None)


@dataclass
class Seen:
    """A request as the handler saw it."""

    method: bytes
    path: bytes
    query: bytes
    body: bytes
    headers: dict[bytes, bytes] = field(repr=False)


class Edge:
    """A `Server` whose clients are in memory.

    Attributes:
        seen: Requests whose handler got the whole body, in order.
        refusals: `(rule, status)` told to `on_refusal`.
        errors: Exceptions told to `on_error`.
        now: The time that the timers go by; moved by `pass_time`.
    """

    def __init__(
        self, handler: Callable[[Exchange], Awaitable[None]] | None = None, **caps: object
    ) -> None:
        self.loop = asyncio.get_running_loop()
        self.seen: list[Seen] = []
        self.refusals: list[tuple[str, int]] = []
        self.errors: list[BaseException] = []
        self.clock = ClockedLoop(self.loop)
        self.sweep = Sweep(self.clock)
        self.listener = socket.socket()
        self.server = Server(
            self.listener,
            handler or self.echo,
            EdgeSnapshot(**{"max_body_bytes": BODY_CAP, **caps}),
            self.sweep,
            loop=self.clock,
            on_refusal=lambda rule, status: self.refusals.append((rule, status)),
            on_error=self.errors.append,
        )
        self.listener.close()

    async def echo(self, exchange: Exchange) -> None:
        """Read the body, note the request, answer 200 with the body."""
        body = await exchange.read_body(BODY_CAP)
        self.seen.append(
            Seen(exchange.method, exchange.path, exchange.query, body, exchange.headers)
        )
        exchange.answer(200, b"content-type: text/plain\r\n", body)

    def connect(self, client_ip: str = "192.0.2.1") -> Client:
        """Open a connection."""
        return Client(self, client_ip)

    async def pass_time(self, seconds: float, step: float = 0.1) -> None:
        """Let the clock go on, with a look of the sweep at each step."""
        end = self.clock.now + seconds
        while self.clock.now < end - 1e-9:
            self.clock.now = min(end, self.clock.now + step)
            for member in list(self.sweep._members):
                if member.deadline <= self.clock.now:
                    member.on_deadline(self.clock.now)
            await self.settle()

    async def settle(self) -> None:
        """Let the loop turn until every handler waits or has ended."""
        turns = 0
        while turns < 3:
            before = (len(self.server.running), self.server.requests_total, len(self.seen))
            await asyncio.sleep(0)
            after = (len(self.server.running), self.server.requests_total, len(self.seen))
            turns = turns + 1 if before == after else 0


class ClockedLoop:
    """The running loop, but for its clock and its timers."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self.now = 1000.0

    def time(self) -> float:
        return self.now

    def call_later(self, delay, callback, *args):
        """Timers are run by `Edge.pass_time` only."""

    def __getattr__(self, name):
        return getattr(self._loop, name)


class Client:
    """The other end of one connection."""

    def __init__(self, edge: Edge, client_ip: str) -> None:
        self.edge = edge
        self.connection = OrdinaryConnection(edge.server, None, client_ip)
        edge.server.connections.add(self.connection)
        self.transport = MemoryTransport(edge.loop)
        self.transport.protocol = self.connection
        self.connection.connection_made(self.transport)
        self._queue: list[bytes] = []

    def send(self, data: bytes) -> None:
        """Hand *data* to the edge, or keep it while the edge does not read."""
        self._queue.append(data)
        self._deliver()

    def _deliver(self) -> None:
        while self._queue and self.transport.is_reading and not self.transport.closed:
            self.connection.data_received(self._queue.pop(0))

    async def settle(self) -> None:
        """Let everything happen that follows from what was sent."""
        await self.edge.settle()
        while self._queue and self.transport.is_reading and not self.transport.closed:
            self._deliver()
            await self.edge.settle()

    def end_sending(self) -> None:
        """Send the end of file; a transport closes unless the edge asks to keep it."""
        if not self.transport.closed and not self.connection.eof_received():
            self.transport.close()

    def vanish(self) -> None:
        """The connection is reset."""
        self.transport.abort()

    @property
    def unread_bytes(self) -> int:
        """Bytes that the edge did not want to read yet."""
        return sum(map(len, self._queue))

    @property
    def received(self) -> bytes:
        return bytes(self.transport.sent)

    @property
    def answers(self) -> list[Answer]:
        return read_answers(self.received)

    @property
    def has_ended(self) -> bool:
        """Whether the client has seen the end: a close, or the end of file."""
        return self.transport.ended or self.transport.closed


async def talk(edge: Edge, *pieces: bytes) -> Client:
    """Send *pieces* one after the other on a new connection, the loop turning in between."""
    client = edge.connect()
    for piece in pieces:
        if client.has_ended:
            break
        client.send(piece)
        await client.settle()
    return client
