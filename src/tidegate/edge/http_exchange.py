"""The `Exchange` of one HTTP/1.x request: its parts, its body, and its answer's framing."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import msgspec

from tidegate.edge.exchange import ClientWatcher, Handler, HeadMemo
from tidegate.edge.head import RequestHead
from tidegate.edge.responses import (
    CLOSE,
    JSON_TYPE,
    KEEP_ALIVE,
    STATUS_LINES,
    error_body,
    gateway_error_answer,
    request_id_line,
)
from tidegate.errors import BodyTooLarge, ClientGone, GatewayError

if TYPE_CHECKING:
    from tidegate.edge.connection import Connection

_UNANSWERED, _STREAMING, _ANSWERED = 0, 1, 2

JOIN_BELOW_BYTES = 8 * 1024
"""Pieces below this are copied into one buffer: cheaper than three entries of a writev."""


MAX_UNSENT_BYTES = 16 * 1024
"""What a stream may keep back, within one turn of the loop, to send it in one system call."""


class HttpExchange(RequestHead, eq=False, kw_only=True):
    """See `edge.exchange.Exchange`, which this implements.

    A struct, for making one costs 0.3 µs, not 0.9.

    Attributes:
        connection: Where the answer goes.
        task: Runs the handler, and others after it; None once this one has returned.
        has_begun: Whether it has taken its first step.
        memo: What equal heads share; set by the connection.
    """

    connection: Connection
    started_at: float
    client_ip: str
    memo: HeadMemo
    body: bytes | None = None
    disconnected: bool = False
    task: asyncio.Task[None] | None = None
    has_begun: bool = False
    _phase: int = _UNANSWERED
    _bodyless: bool = False
    _watcher: ClientWatcher | None = None
    _body_waiter: asyncio.Future[bytes] | None = None
    _fault: GatewayError | None = None
    _out_bytes: int = 0
    # Of a stream: written, and not yet given to the transport.
    _out: list[bytes] = msgspec.field(default_factory=list)

    # What the client does

    @property
    def watcher(self) -> ClientWatcher | None:
        """Who hears of the client; one that is set too late is told at once (by the loop)."""
        return self._watcher

    @watcher.setter
    def watcher(self, watcher: ClientWatcher | None) -> None:
        self._watcher = watcher
        if watcher is not None and (self.disconnected or self.connection.is_write_paused):
            self.connection.loop.call_soon(self._tell_late, watcher)

    def _tell_late(self, watcher: ClientWatcher) -> None:
        if watcher is self._watcher:
            if self.disconnected:
                self._watcher = None
                watcher.client_gone()
            elif self.connection.is_write_paused:
                watcher.client_slow()

    def client_left(self) -> None:
        """Note that the connection is closed; called by it, once."""
        self.disconnected = True
        waiter, watcher = self._body_waiter, self._watcher
        if waiter is not None and not waiter.done():
            waiter.set_exception(ClientGone())
        if watcher is not None:
            self._watcher = None
            watcher.client_gone()

    # The body

    async def read_body(self, max_bytes: int) -> bytes:
        """See `Exchange.read_body`."""
        body = self.body if self.body is not None else await self._await_body(max_bytes)
        if len(body) > max_bytes:
            raise body_too_large(max_bytes)
        return body

    async def _await_body(self, max_bytes: int) -> bytes:
        if self._fault is not None:
            raise self._fault
        if self.content_length > max_bytes:
            raise body_too_large(max_bytes)
        if self.disconnected:
            raise ClientGone
        waiter: asyncio.Future[bytes] = self.connection.loop.create_future()
        self._body_waiter = waiter
        self.connection.read_on(max_bytes)
        try:
            return await waiter
        finally:
            self._body_waiter = None

    def body_arrived(self, body: bytes) -> None:
        """Hand over the whole body; called by the connection."""
        self.body = body
        if self._body_waiter is not None and not self._body_waiter.done():
            self._body_waiter.set_result(body)

    def body_failed(self, fault: GatewayError) -> None:
        """Note that the body will never be whole; called by the connection."""
        self._fault = fault
        if self._body_waiter is not None and not self._body_waiter.done():
            self._body_waiter.set_exception(fault)

    # Who works on it

    def run(self, handler: Handler) -> None:
        """See `FreeExchange.run`."""
        self.connection.server.run(self, handler)

    def done(self) -> None:
        """See `FreeExchange.done`."""
        self._watcher = None
        self.connection.server.exchange_done(self)

    def finish(self, status: int, headers: bytes, body: bytes) -> None:
        """See `FreeExchange.finish`."""
        self._watcher = None
        connection = self.connection
        if (
            self._phase == _UNANSWERED
            and not self.disconnected
            and connection.send_whole(status, headers, body)
        ):
            self._phase = _ANSWERED
        else:
            self.answer(status, headers, body)
        connection.server.exchange_done(self)

    # The answer

    @property
    def is_answered(self) -> bool:
        """Whether the answer was ended or aborted."""
        return self._phase == _ANSWERED

    def answer(self, status: int, headers: bytes, body: bytes) -> None:
        """See `Exchange.answer`."""
        if self._phase != _UNANSWERED:
            raise RuntimeError("the request already has an answer")
        self._phase = _ANSWERED
        if self.disconnected:
            return
        connection = self.connection
        if connection.send_whole(status, headers, body):
            return
        self.keep_alive = keep = connection.may_stay(self)
        option = b"" if keep and not self.http_1_0 else KEEP_ALIVE if keep else CLOSE
        lines = (STATUS_LINES[status], connection.server.date.now(), headers, option)
        if status == 204 or status == 304:
            head = b"%b%b%b%b\r\n" % lines
            body = b""
        else:
            head = b"%b%b%b%bcontent-length: %d\r\n\r\n" % (*lines, len(body))
            if self.method == b"HEAD":
                body = b""
        if len(body) < JOIN_BELOW_BYTES:
            connection.transport.write(head + body)
        else:
            connection.transport.writelines((head, body))
        connection.exchange_ended(self)

    def start(self, status: int, headers: bytes) -> None:
        """See `Exchange.start`."""
        if self._phase != _UNANSWERED:
            raise RuntimeError("the request already has an answer")
        self._phase = _STREAMING
        if self.disconnected:
            return
        connection = self.connection
        self._bodyless = self.method == b"HEAD" or status == 204 or status == 304
        if self.http_1_0 and not self._bodyless:
            self.keep_alive = False
        self.keep_alive = keep = connection.may_stay(self)
        option = CLOSE if not keep else KEEP_ALIVE if self.http_1_0 else b""
        chunked = not self.http_1_0 and status != 204 and status != 304
        self._out.append(
            b"%b%b%b%b%b\r\n"
            % (
                STATUS_LINES[status],
                connection.server.date.now(),
                headers,
                option,
                b"transfer-encoding: chunked\r\n" if chunked else b"",
            )
        )
        connection.loop.call_soon(self._send_out)

    def write(self, data: bytes) -> None:
        """See `Exchange.write`."""
        if self._phase != _STREAMING:
            raise RuntimeError("write outside a streamed answer")
        if self.disconnected or self._bodyless or not data:
            return
        out = self._out
        if not out:
            self.connection.loop.call_soon(self._send_out)
        if self.http_1_0:
            out.append(data)
        else:
            size = len(data)
            if size < JOIN_BELOW_BYTES:
                out.append(b"%x\r\n%b\r\n" % (size, data))
            else:
                out += (b"%x\r\n" % size, data, b"\r\n")
        self._out_bytes += len(data)
        if self._out_bytes >= MAX_UNSENT_BYTES:
            # The transport has to see it to say that the client is slow.
            self._send_out()

    def _send_out(self) -> None:
        """Send what was written since the last time.

        Each `transport.write` is a system call, 6 µs and more: head, pieces and end of a
        stream that came in one read leave in one, instead of four.
        """
        out = self._out
        if not out:
            return
        self._out = []
        self._out_bytes = 0
        if self.disconnected:
            return
        transport = self.connection.transport
        if len(out) == 1:
            transport.write(out[0])
        elif sum(map(len, out)) <= MAX_UNSENT_BYTES:
            transport.write(b"".join(out))
        else:
            transport.writelines(out)

    def end(self) -> None:
        """See `Exchange.end`."""
        if self._phase != _STREAMING:
            raise RuntimeError("end outside a streamed answer")
        self._phase = _ANSWERED
        if self.disconnected:
            return
        if not (self.http_1_0 or self._bodyless):
            self._out.append(b"0\r\n\r\n")
        self._send_out()
        self.connection.exchange_ended(self)

    def abort(self) -> None:
        """See `Exchange.abort`. What was written before is still sent."""
        if self._phase == _ANSWERED:
            return
        self._phase = _ANSWERED
        if not self.disconnected:
            self._send_out()
            self.connection.cut(self)

    # For a handler that did not answer

    def answer_error(self, error: GatewayError) -> None:
        """Answer with *error*, or cut the answer that has already begun."""
        if self._phase == _UNANSWERED:
            self.answer(error.status, *gateway_error_answer(error))
        else:
            self.abort()

    def fail(self) -> None:
        """Answer 500 without any detail, or cut the answer that has already begun."""
        if self._phase == _UNANSWERED:
            message = "The gateway failed to handle this request."
            body = error_body(message, "api_error", "internal_error")
            self.answer(500, JSON_TYPE + request_id_line(), body)
        else:
            self.abort()


def body_too_large(max_bytes: int) -> BodyTooLarge:
    """Return the error for a body over *max_bytes*."""
    return BodyTooLarge(f"The request body is larger than {max_bytes} bytes.")
