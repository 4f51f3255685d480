"""One client connection: bytes to exchanges in order, timers, and a bounded memory.

The states, each with the one deadline that the sweep watches:

    HEAD       waiting for a request, or in the middle of its head   idle, or header timer
    BODY       the head was good, the handler runs, its body comes   minimum rate
    ANSWERING  the request is whole, its answer is being made        none, or client checks
    BLOCKED    answered, the client has not read it; next one waits  client checks
    LINGERING  refused and half closed; input is thrown away         LINGER_S
    CLOSING    the transport flushes what was written and closes     CLOSE_S
    CLOSED     connection_lost was called                            none

A request that is pipelined behind another waits in the buffer until the answer before
it has been written; above one head's size the socket is not read any more.
"""

from __future__ import annotations

import asyncio
import math
import socket
from time import monotonic
from typing import TYPE_CHECKING, cast

from tidegate.edge.body import ChunkedBody, LengthBody
from tidegate.edge.exchange import HeadMemo
from tidegate.edge.head import CHUNKED, check_partial
from tidegate.edge.head_cache import KnownHead
from tidegate.edge.http_exchange import HttpExchange, body_too_large
from tidegate.edge.peer import has_unread_input, is_peer_closed, reset_on_close
from tidegate.edge.responses import CONTINUE, refusal_answer
from tidegate.edge.rules import RULES, Refusal, Rule
from tidegate.errors import BadRequest, BodyTooLarge, GatewayError, RequestTimeout

if TYPE_CHECKING:
    from typing_extensions import override

    from tidegate.edge.server import Server
else:

    def override(method):  # noqa: ANN001, ANN201, D103 (a worker does without the package)
        return method


HIGH_WATER_BYTES = 256 * 1024
LOW_WATER_BYTES = 64 * 1024

LINGER_S = 2.0
"""Time a refused client has to read its answer before the connection is reset."""

CLOSE_S = 10.0
"""Time a client has to take the rest of an answer from a connection being closed."""

STALL_S = 30.0
"""Time after which a client that takes less than the minimum rate is given up."""

HALF_CLOSE_S = 0.5
"""Time an answer may still take once the client has sent its end of file.

A client that closes and one that only ends its sending side look the same from here.
Short answers therefore reach the second kind, and a long one is cancelled well within the
second that a client that has left may cost at its upstream.
"""

CHECK_S = 0.25
"""Time between two looks at a client that is not being read, or does not read."""

_NO_MEMO = HeadMemo()

HEAD, BODY, ANSWERING, BLOCKED, LINGERING, CLOSING, CLOSED = range(7)


class Connection(asyncio.Protocol):
    """Server side of one accepted socket.

    Attributes:
        server: Caps, handler, counters, and who is told of the end.
        loop: The server's loop.
        client_ip: The peer's address in text.
        transport: Where answers are written; set by `connection_made`.
        state: One of the states above.
        deadline: Watched by the sweep.
        is_write_paused: The write buffer is above its high-water mark.
        known: The head of the request before, if the next one may well have the same; None as
            soon as anything about this connection is out of the ordinary.
    """

    __slots__ = (
        "_body",
        "_body_limit_bytes",
        "_body_since",
        "_buffer",
        "_eof_at",
        "_exchange",
        "_head_since",
        "_input_lost",
        "_is_reading_paused",
        "_offset",
        "_paused_at",
        "_peer_trusted",
        "_scanned",
        "_served",
        "_skipped_blank_line",
        "_sock",
        "_stall_at",
        "_stall_bytes",
        "client_ip",
        "deadline",
        "is_write_paused",
        "known",
        "loop",
        "server",
        "state",
        "transport",
    )

    transport: asyncio.Transport

    def __init__(self, server: Server, sock: socket.socket | None, client_ip: str) -> None:
        self.server = server
        self.loop = server.loop
        self.client_ip = client_ip
        self.state = HEAD
        self.deadline = math.inf
        self.is_write_paused = False
        self._sock = sock
        self._peer_trusted = server.proxies.trusts(client_ip)
        self._exchange: HttpExchange | None = None
        self._served = 0
        self.known: KnownHead | None = None
        # Input that no request has taken yet: _buffer[_offset:].
        self._buffer = b""
        self._offset = 0
        self._scanned = 0
        self._skipped_blank_line = False
        self._head_since = 0.0
        self._is_reading_paused = False
        self._eof_at: float | None = None
        # A body that did not come whole with its head. _body_limit_bytes is set by read_body.
        self._body: LengthBody | ChunkedBody | None = None
        self._body_limit_bytes: int | None = None
        self._body_since = 0.0
        self._paused_at = 0.0
        self._input_lost = False
        self._stall_at = 0.0
        self._stall_bytes = 0

    # Called by the loop

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the transport; the client has the header timer's time to say something."""
        self.transport = cast(asyncio.Transport, transport)
        self.transport.set_write_buffer_limits(high=HIGH_WATER_BYTES, low=LOW_WATER_BYTES)
        self.deadline = self.loop.time() + self.server.caps.header_timeout_s
        self.server.connection_opened(self)

    @override
    def data_received(self, data: bytes) -> None:
        """Take bytes from the client, whatever they are a part of."""
        state = self.state
        if state == HEAD:
            if self._buffer:
                self._buffer += data
            else:
                self._buffer = data
                self._head_since = self.loop.time()
            self._next_request()
        elif state == BODY:
            self._feed_body(data)
        elif state in (ANSWERING, BLOCKED) and not self._input_lost:
            self._buffer = self._buffer[self._offset :] + data
            self._offset = 0
            self._pause_if_full()

    @override
    def eof_received(self) -> bool:
        """Give an answer that is nearly done `HALF_CLOSE_S`; close in every other state."""
        self.known = None
        self._eof_at = self.loop.time()
        if self.state in (ANSWERING, BLOCKED) and self.transport.can_write_eof():
            self.deadline = min(self.deadline, self._eof_at + CHECK_S)
            return True
        if self.state != CLOSED:
            self._set_closing()
        return False

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        """Tell whoever waits for this client that it is gone."""
        self.state = CLOSED
        self.deadline = math.inf
        exchange, self._exchange = self._exchange, None
        self._buffer = b""
        self._body = None
        self.server.connection_closed(self)
        if exchange is not None:
            try:
                exchange.client_left()
            except Exception as error:  # noqa: BLE001 (a watcher's fault is reported, not ours)
                self.server.report(error)

    @override
    def pause_writing(self) -> None:
        """Pass on that the client reads too slowly, and watch that it reads at all."""
        self.is_write_paused = True
        self.known = None
        now = self.loop.time()
        self._stall_at = now + STALL_S
        self._stall_bytes = self.transport.get_write_buffer_size()
        if self.state in (ANSWERING, BLOCKED):
            self.deadline = min(self.deadline, now + CHECK_S)
        if self._exchange is not None and self._exchange.watcher is not None:
            self._exchange.watcher.client_slow()

    @override
    def resume_writing(self) -> None:
        """Pass on that the client has caught up."""
        self.is_write_paused = False
        if self.state == BLOCKED:
            self._await_next()
        elif self._exchange is not None and self._exchange.watcher is not None:
            self._exchange.watcher.client_ready()

    # Heads

    def _next_request(self) -> None:
        """Parse the next head of the buffer, if it is whole, and start its handler."""
        data, start = self._buffer, self._offset
        if data[start] == 0x0D and not self._skipped_blank_line:
            # RFC 9112 2.2: one empty line before a request line, left by old clients.
            if len(data) == start + 1:
                self._await_head()
                return
            if data[start + 1] == 0x0A:
                self._skipped_blank_line = True
                self.known = None
                self._offset = start = start + 2
                if len(data) == start:
                    self._buffer, self._offset = b"", 0
                    self.deadline = self._head_since + self.server.caps.header_timeout_s
                    return
        end = data.find(b"\r\n\r\n", max(start, self._scanned - 3))
        caps = self.server.caps
        # Precise, as it is measured from: the loop's clock counts whole milliseconds.
        started_at = monotonic()
        if self._scanned:
            started_at -= self.loop.time() - self._head_since
        exchange = HttpExchange(
            connection=self, started_at=started_at, client_ip=self.client_ip, memo=_NO_MEMO
        )
        try:
            if end < 0:
                check_partial(data, start, max(start, self._scanned), caps)
                # Requests before this one are dropped: they would be copied with every piece.
                self._buffer, self._offset = data[start:], 0
                self._scanned = len(self._buffer)
                self._await_head()
                return
            known = self.server.heads.read(data, start, end, exchange)
        except Refusal as refused:
            self.refuse(refused.rule)
            return
        if isinstance(known, HeadMemo):
            exchange.memo = known
            self.known = None
        else:
            exchange.memo = known.memo
            self.known = known if self._is_ordinary(known) else None
        if self._peer_trusted and b"x-forwarded-for" in exchange.headers:
            exchange.client_ip = self.server.proxies.client(
                self.client_ip, exchange.headers[b"x-forwarded-for"]
            )
        self._scanned = 0
        self._skipped_blank_line = False
        self._served += 1
        self._exchange = exchange
        start = end + 4
        if len(data) - start == exchange.content_length and not (
            self._is_reading_paused or self.is_write_paused or self._eof_at is not None
        ):
            # The usual case, a whole request and nothing behind it, without three calls (0.4 µs).
            exchange.body = data[start:]
            self._buffer, self._offset = b"", 0
            self.state = ANSWERING
            self.deadline = math.inf
        else:
            self._take_body(exchange, data, start)
        self.server.exchange_started(exchange)

    def _is_ordinary(self, known: KnownHead) -> bool:
        """Whether another request with this head may take a short way; there is none here."""
        return False

    def _await_head(self) -> None:
        """Wait for the rest of a head, unless nothing can come any more."""
        self.state = HEAD
        self._resume_reading()
        self.deadline = self._head_since + self.server.caps.header_timeout_s
        if self._eof_at is not None:
            self._close()

    def _await_next(self) -> None:
        """Go on to the next request after an answer, or wait for one."""
        self._head_since = now = self.loop.time()
        if self._offset < len(self._buffer):
            if self._is_reading_paused and len(self._buffer) - self._offset < self._pause_bytes():
                self._resume_reading()
            self.state = HEAD
            self._next_request()
            return
        self._buffer, self._offset = b"", 0
        if self._eof_at is not None:
            self._close()
            return
        self._resume_reading()
        self.state = HEAD
        self.deadline = now + self.server.caps.keep_alive_s

    # Bodies

    def _take_body(self, exchange: HttpExchange, data: bytes, start: int) -> None:
        """Hand over the body that begins at `data[start]`, or wait for the rest of it."""
        length = exchange.content_length
        if length == 0:
            exchange.body = b""
        elif length != CHUNKED and len(data) - start >= length:
            exchange.body = data[start : start + length]
            start += length
        else:
            self.state = BODY
            self._buffer, self._offset = b"", 0
            self._body_limit_bytes = None
            self._body_since = now = self.loop.time()
            self._resume_reading()
            if length == CHUNKED:
                self._body = ChunkedBody(self.server.caps.max_body_bytes)
            else:
                self._body = LengthBody(length)
            self.deadline = now + self.server.caps.body_grace_s
            if start < len(data):
                exchange.expects_continue = False
                self._feed_body(data[start:])
            elif self._eof_at is not None:
                self._close()
            return
        self._set_answering(data, start)

    def _set_answering(self, data: bytes, offset: int) -> None:
        """The request is whole; what stands behind it is the next one's."""
        self.state = ANSWERING
        if offset < len(data):
            self._buffer, self._offset = data, offset
        else:
            self._buffer, self._offset = b"", 0
        self.deadline = math.inf
        if self._eof_at is not None or self.is_write_paused or self._is_reading_paused:
            self.deadline = self.loop.time() + CHECK_S
        if self._offset < len(self._buffer):
            self._pause_if_full()

    def _feed_body(self, data: bytes) -> None:
        """Give *data* to the body that is being read."""
        body = self._body
        if body is None:
            return
        try:
            rest = body.feed(data)
        except Refusal as refused:
            self._fail_body(_body_error(refused.rule))
            return
        limit = self._body_limit_bytes
        if limit is not None and body.received > limit:
            self._fail_body(body_too_large(limit))
        elif rest is not None:
            self._finish_body(body, rest)
        elif body.unfinished_turn:
            self._pause_reading()
            self.loop.call_soon(self._feed_on, body)
        elif limit is None and body.received >= self.server.caps.max_body_before_auth_bytes:
            self._pause_reading()
            self.deadline = self.loop.time() + CHECK_S

    def _feed_on(self, body: LengthBody | ChunkedBody) -> None:
        """Go on with a body whose chunks were too many for one turn of the loop."""
        if self._body is body and self.state == BODY:
            self._resume_reading()
            self._feed_body(b"")

    def _finish_body(self, body: LengthBody | ChunkedBody, rest: bytes) -> None:
        self._body = None
        self._resume_reading()
        self._set_answering(rest, 0)
        if self._exchange is not None:
            self._exchange.body_arrived(bytes(body.data))
        else:  # it was answered before its body had come
            self._exchange_over()

    def _fail_body(self, error: GatewayError) -> None:
        """Read no more: where this body ends, and the next request begins, is unknown."""
        self._body = None
        self._input_lost = True
        self.known = None
        exchange = self._exchange
        if exchange is None:
            self._linger()
            return
        self._pause_reading()
        self._set_answering(b"", 0)
        exchange.body_failed(error)

    def read_on(self, max_bytes: int) -> None:
        """The handler wants the whole body, at most *max_bytes*."""
        exchange, body = self._exchange, self._body
        if exchange is None or body is None:
            return
        self._body_limit_bytes = max_bytes
        now = self.loop.time()
        if exchange.expects_continue:
            exchange.expects_continue = False
            self.transport.write(CONTINUE)
            self._body_since = now
        if body.received > max_bytes:
            self._fail_body(body_too_large(max_bytes))
            return
        if self._is_reading_paused and not body.unfinished_turn:
            # Time in which we did not want to read is not the client's.
            self._body_since += now - self._paused_at
            self._resume_reading()
        self.deadline = self._body_due(body)

    def _body_due(self, body: LengthBody | ChunkedBody) -> float:
        """Return the time at which *body* falls below its minimum rate if nothing comes."""
        caps = self.server.caps
        return self._body_since + caps.body_grace_s + body.received / caps.body_min_bytes_per_s

    # Answers

    def may_stay(self, exchange: HttpExchange) -> bool:
        """Whether another request may follow *exchange*, whose answer begins now.

        A body that is still under way is read and thrown away if it is announced and small
        (a client refused by a limit keeps its connection); others end the connection.
        """
        if not exchange.keep_alive or self.server.is_draining or self._input_lost:
            return False
        if self.state != BODY:
            return True
        length = exchange.content_length
        return (
            length <= self.server.caps.max_body_before_auth_bytes
            and length != CHUNKED
            and not exchange.expects_continue
        )

    def send_whole(self, status: int, headers: bytes, body: bytes) -> bool:
        """Do all that `HttpExchange.answer` does, in one step; False where it is to do it."""
        return False

    def exchange_ended(self, exchange: HttpExchange) -> None:
        """The answer of *exchange* has been written whole."""
        self._exchange = None
        if not exchange.keep_alive:
            self._close_readable()
        elif self.state == ANSWERING and not (
            self._buffer
            or self.server.is_draining
            or self.is_write_paused
            or self._is_reading_paused
            or self._eof_at is not None
        ):
            # The usual case, nothing to look after, without two calls: wait for what comes.
            self.state = HEAD
            self.deadline = self.loop.time() + self.server.caps.keep_alive_s
        elif self.state != BODY:
            self._exchange_over()

    def _exchange_over(self) -> None:
        """Answer and body are done with: go on, once the client reads its answers."""
        if self.server.is_draining:
            self._close_readable()
        elif self.is_write_paused:
            self.state = BLOCKED
            self.deadline = self.loop.time() + CHECK_S
        else:
            self._await_next()

    def cut(self, exchange: HttpExchange) -> None:
        """Close in the middle of the answer, in a way that the client can tell from its end."""
        self._exchange = None
        if exchange.http_1_0 and self._sock is not None:
            # Nothing but a reset tells a cut answer from one that ends with the connection.
            reset_on_close(self._sock)
            self._close()
        else:
            self._close_readable()

    def refuse(self, rule: Rule) -> None:
        """Answer with the rule that was broken and end the connection."""
        self.server.request_refused(rule)
        self.transport.write(refusal_answer(rule, self.server.date.now()))
        self._linger()

    # The end

    def _close_readable(self) -> None:
        """Close so that the client can read what was written, whatever it is still sending."""
        if self.state == BODY or self._input_lost or self._offset < len(self._buffer):
            self._linger()
        else:
            self._close()

    def _linger(self) -> None:
        """Let the client read the last answer: closing on unread input would reset it away."""
        if self._eof_at is not None or not self.transport.can_write_eof():
            self._close()
            return
        self.state = LINGERING
        self._buffer, self._offset = b"", 0
        self._body = None
        self.transport.write_eof()
        self._resume_reading()
        self.deadline = self.loop.time() + LINGER_S

    def _close(self) -> None:
        """Close once what was written has been sent."""
        self._set_closing()
        self.transport.close()

    def _set_closing(self) -> None:
        self.state = CLOSING
        self.deadline = self.loop.time() + CLOSE_S

    def close_idle(self, fresh_until: float) -> None:
        """Close if no request is under way (drain).

        Args:
            fresh_until: Loop time up to which a connection that has not been used yet may
                still send its first request, which its client was promised to be served.
        """
        self.known = None
        if self.state == BLOCKED:
            self._close()
        if self.state != HEAD or self._buffer:
            return
        if self._served == 0:
            self.deadline = min(self.deadline, fresh_until)
        elif not has_unread_input(self._sock):
            self._close()
        # Else a request is already here and is served with `connection: close`.

    def abort(self) -> None:
        """Close at once; whatever was being answered is cut."""
        if self.state != CLOSED:
            self._set_closing()
            self.transport.abort()

    # Time

    def on_deadline(self, now: float) -> None:
        """Called by the sweep when `deadline` has passed."""
        state = self.state
        if state == HEAD:
            if self._buffer:
                self.refuse(RULES["header_timeout"])
            else:
                self._close()
        elif state == BODY:
            self._check_body(now)
        elif state in (ANSWERING, BLOCKED):
            self._check_client(now)
        else:
            self.abort()

    def _check_body(self, now: float) -> None:
        """Give up on a body below its minimum rate; look after a client that is not read."""
        body, exchange = self._body, self._exchange
        if body is None:
            return
        if self._is_reading_paused:
            if is_peer_closed(self._sock):
                self.abort()
            self.deadline = now + CHECK_S
        elif exchange is not None and exchange.expects_continue:
            self.deadline = now + CHECK_S  # the client waits for us, not we for it
        elif (due := self._body_due(body)) > now:
            self.deadline = due
        else:
            self._fail_body(_body_error(RULES["body_timeout"]))

    def _check_client(self, now: float) -> None:
        """Give up on a client that has left without a sign, or that does not read."""
        gone = self._eof_at is not None and now >= self._eof_at + HALF_CLOSE_S
        if self._is_reading_paused and is_peer_closed(self._sock):
            gone = True
        if self.is_write_paused and now >= self._stall_at:
            unsent = self.transport.get_write_buffer_size()
            wanted = STALL_S * self.server.caps.body_min_bytes_per_s
            gone = gone or self._stall_bytes - unsent < min(wanted, self._stall_bytes)
            self._stall_at = now + STALL_S
            self._stall_bytes = unsent
        if gone:
            self.abort()
        elif self._eof_at is not None or self.is_write_paused or self._is_reading_paused:
            self.deadline = now + CHECK_S
        else:
            self.deadline = math.inf

    # Reading on and off

    def _pause_bytes(self) -> int:
        return self.server.caps.max_header_bytes

    def _pause_if_full(self) -> None:
        """Stop reading while pipelined input is larger than a head may be."""
        if len(self._buffer) - self._offset >= self._pause_bytes():
            self._pause_reading()
            self.deadline = min(self.deadline, self.loop.time() + CHECK_S)

    def _pause_reading(self) -> None:
        if not self._is_reading_paused and self._eof_at is None:
            self._is_reading_paused = True
            self.known = None
            self._paused_at = self.loop.time()
            self.transport.pause_reading()

    def _resume_reading(self) -> None:
        if self._is_reading_paused:
            self._is_reading_paused = False
            if self._eof_at is None and not self.transport.is_closing():
                self.transport.resume_reading()


def _body_error(rule: Rule) -> GatewayError:
    """Return what `read_body` raises for a body that breaks *rule*."""
    kind = {408: RequestTimeout, 413: BodyTooLarge}.get(rule.status, BadRequest)
    error = kind(rule.refuses)
    error.status, error.code = rule.status, rule.name
    return error
