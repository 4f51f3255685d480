"""A client of bare HTTP/1.1 that notes what it was sent, quick enough for thousands of requests."""

from __future__ import annotations

import asyncio
import json
from typing import NamedTuple

Headers = dict[str, str]


class Answer(NamedTuple):
    """What a client has seen: status 0 when it left before one."""

    status: int
    body: bytes


def request(
    path: str, body: object = None, *, key: str | None = None, method: str = "POST", more: str = ""
) -> bytes:
    """Write one request; *more* are further header lines, each with its CRLF."""
    data = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
    auth = "" if key is None else f"authorization: Bearer {key}\r\n"
    head = f"{method} {path} HTTP/1.1\r\nhost: gateway\r\n{auth}{more}content-length: {len(data)}"
    return head.encode("latin-1") + b"\r\n\r\n" + data


class PlainClient:
    """One connection, opened anew when it was closed.

    Args:
        port: Of the gateway, on 127.0.0.1.
        address: Where it comes from: another loopback address is another client to the gateway.
    """

    def __init__(self, port: int, address: str = "127.0.0.1") -> None:
        self._port = port
        self._address = address
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None

    async def send(self, data: bytes) -> Answer:
        """Send one request and read its answer to the end."""
        reader = await self._open(data)
        status, headers = await _head(reader)
        if headers.get("transfer-encoding") == "chunked":
            body = await _chunks(reader)
        else:
            body = await reader.readexactly(int(headers.get("content-length", "0")))
        if headers.get("connection") == "close":
            await self.close()
        return Answer(status, body)

    async def leave_after(self, data: bytes, seen: bytes) -> Answer:
        """Send one request and hang up once *seen* has come; empty: when it is on its way."""
        reader = await self._open(data)
        status = 0
        if seen:
            status, _ = await _head(reader)
            await reader.readuntil(seen)
        else:
            await asyncio.sleep(0.05)  # long enough to reach the provider, which never answers
        await self.close()
        return Answer(status, b"")

    async def close(self) -> None:
        """Hang up."""
        if self._writer is not None:
            self._writer.close()
            self._writer = self._reader = None

    async def _open(self, data: bytes) -> asyncio.StreamReader:
        if self._reader is None or self._writer is None:
            self._reader, self._writer = await asyncio.open_connection(
                "127.0.0.1", self._port, local_addr=(self._address, 0)
            )
        self._writer.write(data)
        return self._reader


async def _head(reader: asyncio.StreamReader) -> tuple[int, Headers]:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    pairs = (line.partition(": ") for line in head[1:] if line)
    return int(head[0].split(" ", 2)[1]), {name.lower(): value for name, _, value in pairs}


async def _chunks(reader: asyncio.StreamReader) -> bytes:
    body = b""
    while True:
        size = int(await reader.readline(), 16)
        piece = await reader.readexactly(size + 2)
        if not size:
            return body
        body += piece[:-2]
