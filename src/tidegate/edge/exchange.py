"""The seam between the HTTP server and the pipeline: one request and its answer.

The pipeline sees only this protocol, so another front could carry it. `Exchange` is
implemented by `edge.connection`; tests implement it in memory.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Protocol


class ClientWatcher(Protocol):
    """What the pipeline wants to hear about the client while an answer is being written."""

    def client_gone(self) -> None:
        """The connection is closed or reset. Called once, from the loop."""

    def client_slow(self) -> None:
        """The client's write buffer is above its high-water mark: stop producing."""

    def client_ready(self) -> None:
        """The buffer has drained below its low-water mark: go on."""


class HeadMemo:
    """Shared by all requests of a process with equal heads (the body's length apart).

    Attributes:
        plan: Whatever the pipeline wants to find again; None at first.
    """

    __slots__ = ("plan",)

    def __init__(self) -> None:
        self.plan: Any = None


class Exchange(Protocol):
    """One request, already checked by every rule of the edge, and the way to answer it.

    Attributes:
        method: Upper-case bytes, `b"POST"`.
        path: Target's path as sent, without the query, `b"/v1/models"`.
        query: What followed `?`, without it; `b""` when absent.
        headers: Lower-case name → value. A repeated list header is joined with `, `; a
            repeated singleton never gets here, nor does content-length, which is framing.
        client_ip: Text form of the peer's address (forwarded ones only from trusted proxies).
        started_at: `time.monotonic()` when the first byte of the request was read (uvloop's own
            clock stands still within a turn of the loop and counts whole milliseconds).
        body: The whole body when it has already arrived (often), else None.
        disconnected: True as soon as the client is gone.
        watcher: Set by the pipeline while it streams; None otherwise.
        memo: What was worked out for an equal head before. `headers` may be shared likewise:
            nobody changes them.
        task: Runs the handler; the pipeline cancels it when the client is gone.
    """

    method: bytes
    path: bytes
    query: bytes
    headers: dict[bytes, bytes]
    client_ip: str
    started_at: float
    body: bytes | None
    disconnected: bool
    watcher: ClientWatcher | None
    memo: HeadMemo
    task: asyncio.Task[None] | None

    async def read_body(self, max_bytes: int) -> bytes:
        """Return the whole body, reading on if needed.

        Raises:
            BodyTooLarge: More than *max_bytes* were announced or sent.
            RequestTimeout: Sent more slowly than the minimum rate.
            BadRequest: Broken chunked framing.
            ClientGone: Closed before the end.
        """

    def answer(self, status: int, headers: bytes, body: bytes) -> None:
        """Send a whole answer. *headers* are ready lines, each ended by CRLF, without
        content-length, date, connection, which the edge adds. Call once, instead of `start`.
        """

    def start(self, status: int, headers: bytes) -> None:
        """Send the head of a streamed answer (chunked; close-delimited for HTTP/1.0)."""

    def write(self, data: bytes) -> None:
        """Send a piece of a streamed body. Never blocks; see `ClientWatcher.client_slow`."""

    def end(self) -> None:
        """End a streamed answer well: the client knows that it is whole."""

    def abort(self) -> None:
        """Close the connection so that the client knows that the answer is cut."""


Handler = Callable[[Exchange], Awaitable[None]]


class FreeExchange(Exchange, Protocol):
    """A request that no task works on yet."""

    @property
    def is_answered(self) -> bool:
        """Whether its answer was ended or aborted."""

    def run(self, handler: Handler) -> None:
        """Let *handler* serve this request in a task, from the loop's next turn on."""

    def done(self) -> None:
        """Say that this request was served, without any task."""

    def finish(self, status: int, headers: bytes, body: bytes) -> None:
        """The same as `answer` and `done`."""


class Front(Protocol):
    """Serves requests that need no task of their own, all of a loop's turn together."""

    def take(self, exchange: FreeExchange) -> None:
        """Serve *exchange* from the loop's next turn on, or let a task do it."""

    def let_go(self, exchange: FreeExchange) -> None:
        """Give one that was taken, and has no task yet, to a task."""
