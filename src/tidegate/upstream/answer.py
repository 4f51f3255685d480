"""The seam between the pipeline and the HTTP client: an upstream's answer, and its faults."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Literal, Protocol

FaultKind = Literal[
    "connect",  # name, route, refused, or no connection in time
    "tls",  # handshake or certificate
    "first_byte",  # nothing in time after the request was sent
    "idle",  # silence in the middle of the answer
    "total",  # the request's own deadline
    "protocol",  # not HTTP/1.x as it should be, or over a cap
    "truncated",  # closed or reset before the answer's end
    "busy",  # no free connection within the wait allowed
]


class UpstreamFault(Exception):
    """The exchange with an upstream failed below HTTP semantics.

    Attributes:
        kind: Closed set, a metric label.
        sent: True when at least one byte of the request may have reached the upstream.
        answered: True when the head of an answer had been received.
    """

    def __init__(self, kind: FaultKind, message: str, *, sent: bool, answered: bool) -> None:
        super().__init__(message)
        self.kind = kind
        self.sent = sent
        self.answered = answered


class Abandoned(asyncio.CancelledError):
    """Whoever waited for an answer's head was cancelled after the request had been sent."""


class UpstreamAnswer(Protocol):
    """An answer whose head has arrived.

    Attributes:
        status: 200 … 599; 1xx are swallowed within their cap.
        headers: Lower-case name → value, repeated ones joined with `, `.
        framing: How its end is known. `close` cannot prove that it is whole.
    """

    status: int
    headers: dict[bytes, bytes]
    framing: Literal["length", "chunked", "close", "none"]

    async def read(self, max_bytes: int) -> bytes:
        """Return the whole body; does not suspend when it came with the head.

        Raises `UpstreamFault`: `truncated`, `idle`, `total`, `protocol` (over *max_bytes*).
        """

    async def relay(self, sink: Callable[[bytes], None]) -> None:
        """Call *sink* with each piece of the body as it arrives, until its end.

        The sink runs inside the read callback (no task switch per piece). An exception
        of the sink cancels the answer and is raised here. Raises `UpstreamFault` as `read`.
        """

    def pause(self) -> None:
        """Read nothing more from the upstream until `resume` (back-pressure)."""

    def resume(self) -> None:
        """Undo `pause`."""

    def cancel(self) -> None:
        """Give the answer up. Its connection is closed unless the answer was complete."""


class UpstreamClient(Protocol):
    """Sends requests to one origin with one credential."""

    async def send(
        self, head: bytes, body: bytes, *, deadline: float, first_byte_s: float | None = None
    ) -> UpstreamAnswer:
        """Send one request and wait for the head of its answer.

        Args:
            head: Request line and headers with the closing blank line, framing included.
            body: Bytes after the head; may be empty.
            deadline: Loop time in seconds after which the whole exchange is over.
            first_byte_s: Overrides the pool's own time to the first byte.

        A connection that turns out stale is replaced without a word, as long as no byte of
        the request was sent on it. Raises `UpstreamFault`.
        """
