"""Load: wrk for CPU time, an own client for the times of single requests."""

from __future__ import annotations

import asyncio
import json
import socket
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from typing_extensions import override

from bench.systems import PATH, System, find_program

SCRIPT = Path(__file__).parent / "chat.lua"
_BATCH_DEADLINE_S = 120.0
_ANSWER_DEADLINE_S = 10.0


class LoadError(Exception):
    """An answer was not what it must be, or did not come: the figures would mean nothing."""


@dataclass(frozen=True, slots=True)
class WrkResult:
    """What wrk saw in one run; all its answers were 2xx and whole."""

    requests: int
    bytes: int
    duration_s: float
    p50_us: int
    p99_us: int


def run_wrk(
    system: System,
    port: int,
    body_file: Path,
    *,
    connections: int,
    duration_s: int,
    path: str = PATH,
) -> WrkResult:
    """Ask as fast as the answers come, on some connections, for some whole seconds.

    Raises:
        LoadError: One answer was missing, cut or not 2xx.
    """
    done = subprocess.run(
        [
            find_program("wrk"), "--threads", "1", "--connections", str(connections),
            "--duration", f"{duration_s}s", "--timeout", "10s", "--script", str(SCRIPT),
            f"http://127.0.0.1:{port}{path}",
        ],
        env={"BENCH_BODY": str(body_file), "BENCH_KEY": system.key},
        capture_output=True, text=True, timeout=duration_s + 60, check=True,
    )  # fmt: skip
    line = next(line for line in done.stdout.splitlines() if line.startswith("RESULT "))
    seen = json.loads(line.removeprefix("RESULT "))
    if seen["failed"] or not seen["requests"]:
        raise LoadError(f"{system.name}: {seen['failed']} of {seen['requests']} answers failed")
    return WrkResult(
        seen["requests"],
        seen["bytes"],
        seen["duration_us"] / 1e6,
        seen["p50_us"],
        seen["p99_us"],
    )


class Connection(asyncio.Protocol):
    """One kept connection: a request, its whole answer (no stream), the next request."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._received = bytearray()
        self._whole_bytes = 0
        self._answered: asyncio.Future[bytes] | None = None

    @classmethod
    async def open(cls, port: int) -> Connection:
        """Connect to a port of 127.0.0.1."""
        loop = asyncio.get_running_loop()
        _, connection = await loop.create_connection(cls, "127.0.0.1", port)
        return connection

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    @override
    def connection_lost(self, error: Exception | None) -> None:
        if self._answered is not None and not self._answered.done():
            self._answered.set_exception(LoadError(f"connection lost: {error}"))

    @override
    def data_received(self, data: bytes) -> None:
        received = self._received
        received += data
        if not self._whole_bytes:
            head_end = received.find(b"\r\n\r\n")
            if head_end < 0:
                return
            head = received[:head_end].lower()
            length = head.partition(b"\r\ncontent-length:")[2].partition(b"\r\n")[0]
            self._whole_bytes = head_end + 4 + int(length)
        is_whole = len(received) >= self._whole_bytes
        if is_whole and self._answered is not None and not self._answered.done():
            self._answered.set_result(bytes(received))

    async def ask(self, request: bytes) -> float:
        """Send a request; return the seconds until its answer was whole.

        Raises:
            LoadError: The answer is not a 200, or the connection was lost.
        """
        assert self._transport is not None
        self._received.clear()
        self._whole_bytes = 0
        self._answered = asyncio.get_running_loop().create_future()
        began = time.perf_counter()
        self._transport.write(request)
        answer = await self._answered
        took_s = time.perf_counter() - began
        if not answer.startswith(b"HTTP/1.1 200 "):
            raise LoadError(f"not a 200: {answer[:300]!r}")
        return took_s

    def close(self) -> None:
        """Close it."""
        if self._transport is not None:
            self._transport.close()


def request_bytes(system: System, body: bytes) -> bytes:
    """Return a whole request with a body."""
    head = (
        f"POST {PATH} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
        f"Authorization: Bearer {system.key}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def stream_content(answer: bytes) -> bytes:
    """Return the body of a chunked answer without its framing, which a proxy may have moved."""
    parts = []
    _, _, rest = answer.partition(b"\r\n\r\n")
    while rest:
        size, _, rest = rest.partition(b"\r\n")
        length = int(size, 16)
        if not length:
            break
        parts.append(rest[:length])
        rest = rest[length + 2 :]
    return b"".join(parts)


async def ask_at_rate(port: int, request: bytes, *, requests_per_s: int, count: int) -> list[float]:
    """Send requests at fixed times, whether or not earlier ones are answered.

    Returns:
        Seconds from sending to the whole answer, of each of `count` requests.
    """
    idle: list[Connection] = []

    async def ask() -> float:
        connection = idle.pop() if idle else await Connection.open(port)
        took_s = await connection.ask(request)
        idle.append(connection)
        return took_s

    asked: list[asyncio.Task[float]] = []
    began = time.perf_counter()
    async with asyncio.timeout(_BATCH_DEADLINE_S):
        for number in range(count):
            await asyncio.sleep(began + number / requests_per_s - time.perf_counter())
            asked.append(asyncio.create_task(ask()))
        took = await asyncio.gather(*asked)
    for connection in idle:
        connection.close()
    return list(took)


def ask_streams_in_turn(port: int, request: bytes, *, count: int) -> list[tuple[float, bytes]]:
    """Send stream requests on one connection, each when the one before was answered.

    A blocking socket, since an event loop takes longer for 52 small reads than what is measured.

    Returns:
        Seconds to the last byte, and the answer, of each.

    Raises:
        LoadError: An answer is not a 200, or it was cut.
    """
    answers = []
    with socket.create_connection(("127.0.0.1", port), timeout=_ANSWER_DEADLINE_S) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for _ in range(count):
            parts: list[bytes] = []
            began = time.perf_counter()
            connection.sendall(request)
            while not parts or not parts[-1].endswith(b"0\r\n\r\n"):
                part = connection.recv(65_536)
                if not part:
                    raise LoadError("a stream was cut")
                parts.append(part)
                if not parts[0].startswith(b"HTTP/1.1 200 "):
                    raise LoadError(f"not a 200: {parts[0][:300]!r}")
            took_s = time.perf_counter() - began
            answers.append((took_s, b"".join(parts)))
    return answers
