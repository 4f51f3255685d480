"""An upstream that does what a script says, on raw sockets, and what tests ask of a client."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import time
from collections.abc import Awaitable, Callable

from tidegate.upstream.answer import UpstreamFault
from tidegate.upstream.pool import UpstreamPool
from tidegate.upstream.reply import Reply

Script = Callable[["Peer"], Awaitable[None]]


class Peer:
    """The upstream's side of one connection.

    Attributes:
        number: 0 for the first connection of the server, and so on.
    """

    def __init__(self, sock: socket.socket, number: int) -> None:
        self.number = number
        self.sock = sock
        self._loop = asyncio.get_running_loop()
        self._buffer = b""

    async def request(self) -> tuple[bytes, bytes] | None:
        """Read one request: head and body; None when the client has closed."""
        while b"\r\n\r\n" not in self._buffer:
            if not await self._more():
                return None
        head, _, rest = self._buffer.partition(b"\r\n\r\n")
        length = 0
        for line in head.split(b"\r\n"):
            if line.lower().startswith(b"content-length:"):
                length = int(line[15:])
        self._buffer = rest
        while len(self._buffer) < length:
            if not await self._more():
                return None
        body, self._buffer = self._buffer[:length], self._buffer[length:]
        return head, body

    async def send(self, data: bytes) -> None:
        """Send all of *data*; a client that has left is no error."""
        with contextlib.suppress(ConnectionError):
            await self._loop.sock_sendall(self.sock, data)

    async def wait_closed(self) -> None:
        """Return when the client has closed or reset."""
        while await self._more():
            pass

    def reset(self) -> None:
        """Close with a RST."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()

    def close(self) -> None:
        """Close with a FIN."""
        self.sock.close()

    async def _more(self) -> bool:
        try:
            data = await self._loop.sock_recv(self.sock, 65536)
        except ConnectionError:
            return False
        self._buffer += data
        return bool(data)


class Upstream:
    """Runs `script` once for each connection.

    Attributes:
        script: Set by the test before it sends.
        connections: Number of connections accepted so far.
        errors: What scripts raised, which a test never expects.
    """

    def __init__(self) -> None:
        self.script: Script = serve_ok
        self.connections = 0
        self.errors: list[BaseException] = []
        self.port = 0
        self._listener = socket.socket()
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        """Base URL."""
        return f"http://127.0.0.1:{self.port}"

    async def start(self) -> None:
        """Listen on a free port of the loopback."""
        self._listener.bind(("127.0.0.1", 0))
        self._listener.listen(512)
        self._listener.setblocking(False)
        self.port = self._listener.getsockname()[1]
        self._spawn(self._accept())

    async def stop(self) -> None:
        """Stop all scripts; a script that failed fails the test."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._listener.close()
        if self.errors:
            raise self.errors[0]

    def _spawn(self, work: Awaitable[None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)  # type: ignore[arg-type]
        task.add_done_callback(self._tasks.discard)  # type: ignore[arg-type]

    async def _accept(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            sock, _ = await loop.sock_accept(self._listener)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._spawn(self._run(Peer(sock, self.connections)))
            self.connections += 1

    async def _run(self, peer: Peer) -> None:
        try:
            await self.script(peer)
        except Exception as error:
            self.errors.append(error)
        finally:
            peer.sock.close()


def ok(body: bytes, *lines: bytes) -> bytes:
    """Return a whole answer with *body*."""
    extra = b"".join(line + b"\r\n" for line in lines)
    return b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n%b\r\n%b" % (len(body), extra, body)


async def serve_ok(peer: Peer) -> None:
    """Answer each request with its own body, as a good server does."""
    while (request := await peer.request()) is not None:
        await peer.send(ok(request[1]))


def answering(*parts: bytes, then: str = "close") -> Script:
    """Return a script: read a request, send *parts*, then `close`, `reset` or `stay`."""

    async def script(peer: Peer) -> None:
        if await peer.request() is None:
            return
        for part in parts:
            await peer.send(part)
            await asyncio.sleep(0)
        if then == "reset":
            peer.reset()
        elif then == "stay":
            await peer.wait_closed()

    return script


def head_for(body: bytes, method: bytes = b"POST", path: bytes = b"/v1/x") -> bytes:
    """Return a good request head."""
    return b"%b %b HTTP/1.1\r\nhost: test\r\ncontent-length: %d\r\n\r\n" % (
        method,
        path,
        len(body),
    )


async def send(pool: UpstreamPool, body: bytes = b"", *, total_s: float = 20.0) -> Reply:
    """Send one request."""
    deadline = asyncio.get_running_loop().time() + total_s
    return await pool.send(head_for(body), body, deadline=deadline)


async def fetch(
    pool: UpstreamPool, body: bytes = b"", *, max_bytes: int = 1 << 20, total_s: float = 20.0
) -> tuple[int, bytes]:
    """Send one request and read its whole answer."""
    reply = await send(pool, body, total_s=total_s)
    return reply.status, await reply.read(max_bytes)


async def fault_of(work: Awaitable[object]) -> UpstreamFault:
    """Return the fault that *work* must end in."""
    try:
        result = await work
    except UpstreamFault as fault:
        return fault
    raise AssertionError(f"no fault but {result!r:.200}")


async def until(condition: Callable[[], bool], within_s: float = 10.0) -> None:
    """Wait for *condition*; an error if it does not come true in time."""
    end = time.monotonic() + within_s
    while not condition():
        if time.monotonic() > end:
            raise AssertionError("the condition did not come true")
        await asyncio.sleep(0.002)


def resident_bytes() -> int:
    """Return this process's resident memory."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096
