"""Requests written byte for byte, from any address of this machine."""

from __future__ import annotations

import re
import socket
import time
from collections.abc import Callable
from typing import NamedTuple

PATHS = ("/api/v1/metrics", "/metrics")


class RawAnswer(NamedTuple):
    """A whole answer; `headers` in lower case, each line of them kept."""

    status: int
    headers: list[tuple[str, str]]
    body: str

    def header(self, name: str) -> list[str]:
        """Return the values of all lines called *name*."""
        return [value for found, value in self.headers if found == name]


def read_answer(connection: socket.socket) -> RawAnswer:
    """Read until the peer closes."""
    data = b""
    while piece := connection.recv(65536):
        data += piece
    head, _, body = data.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    assert re.match(r"HTTP/1\.1 \d{3} ", first), data[:200]
    pairs = [(name.lower(), value.strip()) for name, _, value in (s.partition(":") for s in lines)]
    return RawAnswer(int(first.split()[1]), pairs, body.decode())


def get(
    port: int,
    path: str,
    *lines: str,
    method: str = "GET",
    host: str = "127.0.0.1",
    source: str | None = None,
) -> RawAnswer:
    """Send one request with the header *lines*, from the address *source*."""
    bound = None if source is None else (source, 0)
    with socket.create_connection((host, port), 10, source_address=bound) as connection:
        head = [f"{method} {path} HTTP/1.1", "host: gateway", "connection: close", *lines]
        connection.sendall("\r\n".join([*head, "", ""]).encode())
        return read_answer(connection)


def until(true: Callable[[], object], what: str, within_s: float = 15.0) -> None:
    """Wait for a condition."""
    deadline = time.monotonic() + within_s
    while not true():
        assert time.monotonic() < deadline, f"{what}: not within {within_s} s"
        time.sleep(0.02)
