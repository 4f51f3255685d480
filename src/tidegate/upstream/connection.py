"""One connection to an upstream: one exchange at a time, read strictly.

The rule that everything here serves: a byte that arrives while no exchange is open, or
behind the end of one, belongs to nobody. It ends the connection and is never delivered.
"""

from __future__ import annotations

import asyncio
import math
import select
import socket
from collections.abc import Callable, Container
from typing import TYPE_CHECKING, Any, Final, Protocol, cast

from tidegate.sweep import Sweep
from tidegate.upstream.answer import FaultKind, UpstreamFault
from tidegate.upstream.body import Body, OpenBody, body_of
from tidegate.upstream.head import (
    MAX_HEAD_BYTES,
    Head,
    HeadParser,
    ProtocolError,
    announced_keep_alive_s,
    as_fault,
    check_partial_head,
)
from tidegate.upstream.idle_watch import IdleWatch
from tidegate.upstream.inflate import Inflater
from tidegate.upstream.reply import Reply

if TYPE_CHECKING:
    from typing_extensions import override
else:

    def override(method):  # noqa: ANN001, ANN201, D103 (saves a worker a megabyte)
        return method


MAX_INTERIM_ANSWERS: Final = 8
#: Up to here head and body are copied together into one write: cheaper than two buffers.
_JOIN_BYTES: Final = 16 * 1024

_NEW, _IDLE, _HEAD, _BODY, _CLOSED = range(5)


class Owner(Protocol):
    """What a connection tells the pool it belongs to."""

    def release(self, connection: Connection) -> None:
        """The exchange ended well and the connection may carry another one."""

    def forget(self, connection: Connection) -> None:
        """An adopted connection is over. Called once."""


class Connection(asyncio.Protocol):
    """A connected socket, TLS included.

    Attributes:
        deadline: See `sweep.Expiring`: of the exchange while one is open, else of the idleness.
        announced_bytes: `content-length` of the answer being read; 0 when there is none.
        keep_alive_s: Longest idleness allowed: ours, or less if the upstream has announced less.
    """

    __slots__ = (
        "_body",
        "_descriptor",
        "_first_byte_s",
        "_idle_s",
        "_inflater",
        "_interim",
        "_keep_alive",
        "_loop",
        "_owner",
        "_parser",
        "_partial",
        "_paused",
        "_phase",
        "_readable",
        "_reply",
        "_sweep",
        "_to_head_request",
        "_total",
        "_transport",
        "_watch",
        "announced_bytes",
        "deadline",
        "keep_alive_s",
    )

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        owner: Owner,
        sweep: Sweep,
        parser: HeadParser,
        sock: socket.socket,
        *,
        idle_s: float,
        keep_alive_s: float,
        watch: IdleWatch | None = None,
    ) -> None:
        self.deadline = math.inf
        self.announced_bytes = 0
        self.keep_alive_s = keep_alive_s
        self._loop = loop
        self._owner = owner
        self._sweep = sweep
        self._parser = parser
        self._idle_s = idle_s
        self._total = math.inf
        self._phase = _NEW
        self._reply: Reply | None = None
        self._partial: bytearray | None = None
        self._body: Body | None = None
        self._inflater: Inflater | None = None
        self._interim = 0
        self._keep_alive = False
        self._paused = False
        self._to_head_request = False
        # Tells of bytes or an end that the loop has not delivered yet: 0.4 µs a look.
        self._readable = select.poll()
        self._readable.register(sock, select.POLLIN | select.POLLRDHUP)
        self._watch = watch
        self._descriptor = -1 if watch is None else watch.add(sock)

    # One exchange.

    def start(
        self,
        head: bytes,
        body: bytes,
        now: float,
        total: float,
        first_byte_s: float,
        listener: Callable[[Any], None] | None = None,
        subject: object = None,
    ) -> Reply:
        """Send a request. The connection must be `usable`.

        *now* and *total* (its end) are loop times; of *listener* and *subject* see `Reply.listen`.
        """
        reply = self._reply = Reply(self._loop, self, listener, subject)
        self._phase = _HEAD
        self._interim = 0
        self._to_head_request = head.startswith(b"HEAD ")
        self._total = total
        self.deadline = min(now + first_byte_s, total)
        if len(body) <= _JOIN_BYTES:
            self._transport.write(head + body)
        else:
            self._transport.writelines((head, body))
        return reply

    def adopt(self) -> bool:
        """Begin to belong to the owner, who hears of the end from now on.

        False if the upstream has closed, or spoken, since the connection was made.
        """
        transport = self._transport
        # Under TLS, what waits in the socket may be the handshake's rest (session tickets).
        plain = transport.get_extra_info("sslcontext") is None
        if self._phase != _NEW or transport.is_closing() or (plain and self._readable.poll(0)):
            self.discard()
            return False
        self._phase = _IDLE
        self._sweep.add(self)
        return True

    def usable(self) -> bool:
        """Whether a request may be sent: idle, open, and nothing waits in the socket."""
        return self.silent(()) and not self._readable.poll(0)

    def silent(self, speaking: Container[int]) -> bool:
        """The same as `usable`, where an `IdleWatch` has just said who speaks."""
        return (
            self._phase == _IDLE
            and self._descriptor not in speaking
            and not self._transport.is_closing()
        )

    def hold(self, paused: bool) -> None:
        """Stop or go on reading. Time spent held does not count as the upstream's silence."""
        if paused is not self._paused and self._reply is not None:
            self._paused = paused
            if paused:
                self._transport.pause_reading()
                self.deadline = self._total
            else:
                self._transport.resume_reading()
                self._expect_more()

    def discard(self) -> None:
        """Close at once; what was not yet sent or read is dropped.

        TLS says no good-bye: waiting for its answer would keep descriptors that no pool counts.
        """
        if self._phase != _CLOSED:
            self._leave()
            self._transport.abort()

    def _leave(self) -> None:
        adopted = self._phase != _NEW
        self._phase = _CLOSED
        self._reply = None
        if self._watch is not None:
            self._watch.discard(self._descriptor)
        if adopted:
            self._sweep.discard(self)
            self._owner.forget(self)

    def _fail(self, kind: FaultKind, message: str) -> None:
        """End the exchange in a fault; there must be one."""
        reply = self._reply
        assert reply is not None
        self.discard()
        reply.fail(UpstreamFault(kind, message, sent=True, answered=reply.status != 0))

    def _break(self, error: ProtocolError) -> None:
        reply = self._reply
        assert reply is not None
        self.discard()
        reply.fail(as_fault(error, answered=reply.status != 0))

    # What the loop calls.

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport; `adopt` and `start` follow."""
        self._transport = cast("asyncio.Transport", transport)

    @override
    def data_received(self, data: bytes) -> None:
        """Read on in the open exchange."""
        reply = self._reply
        if reply is None:
            self.discard()
            return
        try:
            if self._phase != _HEAD:
                self._read_body(reply, data)
            elif self._partial is not None:
                self._read_head(reply, data)
            else:
                self._read_answer(reply, data)
        except ProtocolError as error:
            self._break(error)

    @override
    def eof_received(self) -> None:
        """End a body that has no other end; anything else is cut."""
        if self._reply is None:
            self.discard()
        elif self._phase == _BODY and isinstance(self._body, OpenBody):
            try:
                self._finish(self._reply, clean=False)
            except ProtocolError as error:
                self._break(error)
        else:
            self._fail("truncated", "the upstream closed before the answer's end")

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection; an open exchange is cut."""
        if self._reply is not None:
            self._fail("truncated", "the connection to the upstream was lost")
        elif self._phase != _CLOSED:
            self._leave()

    def on_deadline(self, now: float) -> None:
        """Close an idle connection, or end the exchange in the fault that fits."""
        if self._reply is None:
            self.discard()
        elif now >= self._total:
            self._fail("total", "the request's time was over")
        elif self._phase == _HEAD:
            self._fail("first_byte", "the upstream did not answer in time")
        else:
            self._fail("idle", "the upstream went silent in the middle of its answer")

    # Reading.

    def _read_answer(self, reply: Reply, data: bytes) -> None:
        """Read an answer from its beginning; most are whole in one piece and say nothing else."""
        end = data.find(b"\r\n\r\n")
        if not 0 < end <= MAX_HEAD_BYTES:
            self._read_head(reply, data)
            return
        head = self._parser.parse(data[:end], to_head_request=self._to_head_request)
        end += 4
        if (
            head.is_plain
            and head.length == len(data) - end
            and not self._paused
            # An answer that came before the whole request was sent leaves the rest of it behind.
            and not self._transport.get_write_buffer_size()
            and self.keep_alive_s > 0
        ):
            self._reply = None
            self._phase = _IDLE
            self.deadline = self._loop.time() + self.keep_alive_s
            self._owner.release(self)
            reply.take_whole(head, data[end:])
        else:
            self._take_head(reply, head, data[end:])

    def _read_head(self, reply: Reply, data: bytes) -> None:
        """Read on in a head, or in those of the interim answers before it."""
        partial = self._partial
        if partial is not None:
            seen = len(partial)
            partial += data
            if partial.find(b"\r\n\r\n", max(0, seen - 3)) < 0:
                check_partial_head(partial, seen)
                return
            data = bytes(partial)
            self._partial = None
        end = data.find(b"\r\n\r\n")
        if end < 0:
            if data:
                check_partial_head(data, 0)
                self._partial = bytearray(data)
            return
        if end > MAX_HEAD_BYTES:
            raise ProtocolError("head over the cap")
        head = self._parser.parse(data[:end], to_head_request=self._to_head_request)
        self._take_head(reply, head, data[end + 4 :])

    def _take_head(self, reply: Reply, head: Head, data: bytes) -> None:
        """Go on behind a head, with the *data* that came behind it."""
        if head.status < 200:
            self._interim += 1
            if head.status == 101 or self._interim > MAX_INTERIM_ANSWERS:
                raise ProtocolError("unasked upgrade or too many interim answers")
            self._read_head(reply, data)
            return
        self._begin_body(reply, head)
        if head.framing == "none":
            self._finish(reply, clean=not data)
            return
        if data or head.framing == "length":
            # A body of length 0 ends here as well.
            self._read_body(reply, data)
            if self._reply is not reply:
                return
        self._expect_more()
        reply.wake()

    def _begin_body(self, reply: Reply, head: Head) -> None:
        """Set up for the body that *head* announces."""
        reply.take_head(head)
        self._keep_alive = head.keep_alive
        self._phase = _BODY
        self._body = body_of(head)
        self.announced_bytes = head.length
        if head.coding:
            # The reader sees the plain body, so the headers must not speak of the other.
            del head.headers[b"content-encoding"]
            head.headers.pop(b"content-length", None)
            self._inflater = Inflater(head.coding)
            self.announced_bytes = 0
        # A second less than announced: its close must not cross our next request.
        self.keep_alive_s = min(self.keep_alive_s, announced_keep_alive_s(head.headers) - 1)

    def _read_body(self, reply: Reply, data: bytes) -> None:
        body = self._body
        assert body is not None
        data = body.feed(data)
        if self._inflater is not None:
            data = self._inflater.feed(data)
        if data:
            reply.deliver(data)
            if self._reply is not reply:
                return
        if body.done:
            self._finish(reply, clean=not body.rest)
        else:
            self._expect_more()

    def _expect_more(self) -> None:
        """Restart the clock of the upstream's silence, unless we are the reason for it."""
        idle = self._loop.time() + self._idle_s
        self.deadline = self._total if self._paused or idle > self._total else idle

    def _finish(self, reply: Reply, *, clean: bool) -> None:
        """End the exchange well; *clean* when no byte came behind its end.

        Raises:
            ProtocolError: The body's own coding is not at its end.
        """
        inflater = self._inflater
        if inflater is not None:
            if not inflater.whole:
                raise ProtocolError("compressed body is cut")
            self._inflater = None
        self._body = None
        self._reply = None
        self._phase = _IDLE
        transport = self._transport
        if self._paused:
            self._paused = False
            transport.resume_reading()
        if (
            clean
            and self._keep_alive
            and self.keep_alive_s > 0
            # An answer that came before the whole request was sent leaves the rest of it behind.
            and not transport.get_write_buffer_size()
            and not transport.is_closing()
        ):
            self.deadline = self._loop.time() + self.keep_alive_s
            self._owner.release(self)
        else:
            self.discard()
        reply.finish()
