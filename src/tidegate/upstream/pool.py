"""Connections to one origin with one credential, used again as long as that is safe.

A pool is made per origin and credential by its owner: what one tenant's credential has
opened never carries another's request.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections import deque
from collections.abc import Callable, Container
from contextlib import suppress
from typing import Any, Final

from tidegate.sweep import Sweep
from tidegate.upstream.answer import UpstreamFault
from tidegate.upstream.connect import Connector, fault
from tidegate.upstream.connection import Connection
from tidegate.upstream.head import HeadParser
from tidegate.upstream.idle_watch import IdleWatch
from tidegate.upstream.origin import Origin
from tidegate.upstream.proxy import Proxy
from tidegate.upstream.reply import Reply

#: Seconds an unused connection is kept. Load balancers close theirs after 60 s and more.
KEEP_ALIVE_S: Final = 30.0


class UpstreamPool:
    """Implements `answer.UpstreamClient` on pooled HTTP/1.1 connections.

    The connection used last is used next, so that the rest can grow old and be closed.
    Requests over `max_connections` wait in order.

    Attributes:
        name: The provider's name, for metrics and logs.
        origin: Where requests go.
        max_connections: Most connections open at once.
        open_connections: Open now or being opened.
        connects: Connections opened so far.
        waits: Requests that have had to wait for a connection so far.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        origin: Origin,
        *,
        sweep: Sweep,
        ssl_context: ssl.SSLContext | None,
        connect_s: float,
        first_byte_s: float,
        idle_s: float,
        max_connections: int,
        proxy: str | None = None,
        keep_alive_s: float = KEEP_ALIVE_S,
        name: str = "",
        allow_metadata: bool = False,
        watch: IdleWatch | None = None,
    ) -> None:
        """Make an empty pool.

        Args:
            loop: The worker's loop.
            origin: Where to.
            sweep: Keeps all deadlines.
            ssl_context: Given exactly when *origin* is https.
            connect_s: For name, route, tunnel and handshake together.
            first_byte_s: From the request to the answer's head.
            idle_s: Longest silence inside an answer.
            max_connections: At least 1.
            proxy: URL of an HTTP proxy, see `proxy.Proxy.parse`.
            keep_alive_s: How long an unused connection is kept.
            name: The provider's name.
            allow_metadata: Lift the policy against link-local and metadata addresses.
            watch: Looks at the connections of all pools at once; without it there is no `take`.

        Raises:
            ValueError: *proxy* is no proxy URL, or TLS context and scheme do not fit.
        """
        if max_connections < 1:
            raise ValueError("max_connections is at least 1")
        self.name = name
        self.origin = origin
        self.max_connections = max_connections
        self.open_connections = 0
        self.connects = 0
        self.waits = 0
        self._loop = loop
        self._sweep = sweep
        self._first_byte_s = first_byte_s
        self._idle_s = idle_s
        self._keep_alive_s = keep_alive_s
        self._parser = HeadParser()
        self._connector = Connector(
            loop,
            origin,
            ssl_context=ssl_context,
            connect_s=connect_s,
            proxy=None if proxy is None else Proxy.parse(proxy),
            allow_metadata=allow_metadata,
        )
        # Plain http through a proxy is asked for with the whole URL.
        self._forward_proxy = self._connector.proxy if ssl_context is None else None
        self._idle: dict[Connection, None] = {}
        self._waiters: deque[_Waiter] = deque()
        self._closed = False
        self._watch = watch

    @property
    def idle_connections(self) -> int:
        """Connections open and unused."""
        return len(self._idle)

    @property
    def connections_in_use(self) -> int:
        """Connections that carry an exchange or are being opened for one."""
        return self.open_connections - len(self._idle)

    async def send(
        self, head: bytes, body: bytes, *, deadline: float, first_byte_s: float | None = None
    ) -> Reply:
        """Send one request and return its answer (see `answer.UpstreamClient.send`)."""
        connection: Connection | None = None
        idle = self._idle
        while idle:
            connection, _ = idle.popitem()
            if connection.usable():
                break
            connection.discard()
            connection = None
        if connection is None:
            connection = await self._acquire(deadline)
        now = self._loop.time()
        if now >= deadline:
            connection.deadline = now + connection.keep_alive_s
            self.release(connection)
            raise fault("total", "the request's time was over before it was sent")
        reply = self.start(connection, head, body, now, deadline, first_byte_s)
        await reply.wait_for_head()
        return reply

    def take(self, speaking: Container[int]) -> Connection | None:
        """Return a connection that is free now, to be given to `start` or back to `release`.

        Args:
            speaking: What the `IdleWatch` has said in this turn of the loop.
        """
        idle = self._idle
        while idle and self._watch is not None:
            connection, _ = idle.popitem()
            if connection.silent(speaking):
                return connection
            connection.discard()
        return None

    def start(
        self,
        connection: Connection,
        head: bytes,
        body: bytes,
        now: float,
        deadline: float,
        first_byte_s: float | None = None,
        listener: Callable[[Any], None] | None = None,
        subject: object = None,
    ) -> Reply:
        """Send one request on a connection that was taken; see `send`, and `Reply.listen`.

        *now* is loop time.
        """
        if self._forward_proxy is not None:
            head = self._forward_proxy.absolute_head(self.origin, head)
        if first_byte_s is None:
            first_byte_s = self._first_byte_s
        return connection.start(head, body, now, deadline, first_byte_s, listener, subject)

    def close(self) -> None:
        """Keep no connection any longer.

        Unused ones are closed now, others when their exchange has ended. Requests that still
        come (from a configuration on its way out) are served, each on its own connection.
        """
        self._closed = True
        for connection in list(self._idle):
            connection.discard()

    # What connections call.

    def release(self, connection: Connection) -> None:
        """Take back a connection that is good for another exchange."""
        waiter = self._next_waiter() if self._waiters else None
        if waiter is not None:
            waiter.future.set_result(connection)
        elif self._closed:
            connection.discard()
        else:
            self._idle[connection] = None

    def forget(self, connection: Connection) -> None:
        """Strike out a connection that is over."""
        self._idle.pop(connection, None)
        self._free_place()

    # Places: each of `max_connections` is free, or held by a connection or a request.

    async def _acquire(self, deadline: float) -> Connection:
        """Return a usable connection: a new one, or one handed over by another request."""
        if self.open_connections < self.max_connections:
            self.open_connections += 1
            return await self._connect(deadline)
        self.waits += 1
        first_in_line = False
        while True:
            handed = await self._wait_in_line(deadline, first_in_line=first_in_line)
            if handed is None:
                return await self._connect(deadline)
            if handed.usable():
                return handed
            # It died on the way over; its place may go to the next, ours is the one after.
            handed.discard()
            first_in_line = True
            if self.open_connections < self.max_connections:
                self.open_connections += 1
                return await self._connect(deadline)

    async def _connect(self, deadline: float) -> Connection:
        """Open a connection in a place already taken; gives the place back on failure."""
        try:
            connection = await self._connector.connect(self._make, deadline)
            if not connection.adopt():
                raise fault("connect", "the upstream closed the connection as it was made")
        except BaseException:
            self._free_place()
            raise
        self.connects += 1
        return connection

    def _make(self, sock: socket.socket) -> Connection:
        return Connection(
            self._loop,
            self,
            self._sweep,
            self._parser,
            sock,
            idle_s=self._idle_s,
            keep_alive_s=self._keep_alive_s,
            watch=self._watch,
        )

    async def _wait_in_line(self, deadline: float, *, first_in_line: bool) -> Connection | None:
        """Wait for a connection, or (None) for a place to open one."""
        waiter = _Waiter(self._loop.create_future(), deadline)
        if first_in_line:
            self._waiters.appendleft(waiter)
        else:
            self._waiters.append(waiter)
        self._sweep.add(waiter)
        try:
            return await waiter.future
        except BaseException:
            self._leave_line(waiter)
            raise
        finally:
            self._sweep.discard(waiter)

    def _leave_line(self, waiter: _Waiter) -> None:
        """Strike out a request that gives up; what it had just been given goes to the next."""
        given = waiter.future
        if given.cancelled() or given.exception() is not None:
            with suppress(ValueError):
                self._waiters.remove(waiter)
            return
        connection = given.result()
        if connection is None:
            self._free_place()
        elif connection.usable():
            self.release(connection)
        else:
            connection.discard()

    def _free_place(self) -> None:
        waiter = self._next_waiter()
        if waiter is not None:
            waiter.future.set_result(None)
        else:
            self.open_connections -= 1

    def _next_waiter(self) -> _Waiter | None:
        waiters = self._waiters
        while waiters:
            waiter = waiters.popleft()
            if not waiter.future.done():
                return waiter
        return None


class _Waiter:
    """A request in line for a connection."""

    __slots__ = ("deadline", "future")

    def __init__(self, future: asyncio.Future[Connection | None], deadline: float) -> None:
        self.future = future
        self.deadline = deadline

    def on_deadline(self, now: float) -> None:
        """Give up: `UpstreamPool._leave_line` follows in the request's own task."""
        self.deadline = float("inf")
        if not self.future.done():
            self.future.set_exception(_busy())


def _busy() -> UpstreamFault:
    return fault("busy", "no connection to the upstream came free in time")
