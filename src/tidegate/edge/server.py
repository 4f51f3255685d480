"""Accepts connections from one inherited socket, counts them, and drains them."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Callable
from functools import partial

from tidegate.config.snapshot import EdgeSnapshot
from tidegate.edge.connection import Connection
from tidegate.edge.exchange import Front, Handler
from tidegate.edge.forwarded import TrustedProxies
from tidegate.edge.head_cache import HeadCache
from tidegate.edge.http_exchange import HttpExchange
from tidegate.edge.ordinary import OrdinaryConnection
from tidegate.edge.responses import DateLine
from tidegate.edge.rules import Rule
from tidegate.edge.runner import Runner
from tidegate.sweep import Sweep

YIELD_S = 0.001
"""Time for which a worker with more than its share leaves new connections to the others."""

EXHAUSTED_S = 0.25
"""Time without accepting after the process ran out of descriptors or memory."""

FRESH_S = 2.0
"""Time that a drain gives to a connection that has not sent its first request yet."""

STOP_S = 1.0
"""Time that cancelled handlers have to write their last words."""


class Server:
    """The data listener of one process.

    Attributes:
        caps: Limits and timers; replace them with `configure`.
        handler: Called once for each good head; may be replaced between two requests.
        front: Is given them first, and leaves to the handler what it does not serve.
        connections: All that were accepted and have not ended, handshakes included.
        running: Exchanges whose handler has not returned.
        idle_runners: Tasks that wait for the next exchange; the one used last is used next.
        is_draining: No connection outlives its current request any more.
        is_stopping: No handler waits for anything any more; those that begin do once.
        accepted_total: Connections accepted.
        requests_total: Good heads.
        refused_total: Requests refused by a rule of `edge.rules`, before any handler.
        handshakes_failed_total: TLS handshakes that failed or took too long.
        accepts_failed_total: `accept` calls that failed for want of descriptors or memory.
    """

    def __init__(
        self,
        listener: socket.socket,
        handler: Handler,
        caps: EdgeSnapshot,
        sweep: Sweep,
        *,
        loop: asyncio.AbstractEventLoop | None = None,
        front: Front | None = None,
        ssl_context: ssl.SSLContext | None = None,
        should_yield: Callable[[], bool] | None = None,
        on_refusal: Callable[[str, int], None] | None = None,
        on_error: Callable[[BaseException], None] | None = None,
    ) -> None:
        """Prepare; nothing is accepted before `start`.

        Args:
            listener: Bound and listening; shared with other processes and never closed here.
            handler: Answers requests.
            caps: Limits and timers.
            sweep: Watches the deadlines of all connections.
            loop: The running loop by default.
            front: Serves what needs no task of its own.
            ssl_context: Server context when the listener speaks TLS.
            should_yield: Whether this process has more than its share of connections; then
                it waits once for `YIELD_S` before it accepts one whatever the answer.
            on_refusal: Told `(rule name, status)` of each refused request.
            on_error: Told of each exception that a handler should not have raised.
        """
        self.loop = loop or asyncio.get_running_loop()
        self.handler = handler
        self.front = front
        self.date = DateLine()
        self.connections: set[Connection] = set()
        self.running: set[HttpExchange] = set()
        self.idle_runners: list[Runner] = []
        self.is_draining = False
        self.is_stopping = False
        self.accepted_total = 0
        self.requests_total = 0
        self.refused_total = 0
        self.handshakes_failed_total = 0
        self.accepts_failed_total = 0
        self._listener = listener
        self._sweep = sweep
        self._ssl_context = ssl_context
        self._should_yield = should_yield
        self._on_refusal = on_refusal
        self._on_error = on_error
        self._is_listening = False
        self._is_full = False
        self._has_yielded = False
        self._attaching: dict[asyncio.Task[None], Connection] = {}
        self._empty: asyncio.Event | None = None
        self.configure(caps)

    def configure(self, caps: EdgeSnapshot) -> None:
        """Put new *caps* in force, for open connections too.

        Raises `ValueError` when a trusted proxy is no network.
        """
        self.proxies = TrustedProxies(caps.trusted_proxies)
        self.heads = HeadCache(caps)
        self.caps = caps
        for connection in self.connections:
            connection.known = None
        self._listen_if_room()

    def use_tls(self, context: ssl.SSLContext | None) -> None:
        """Serve new connections with *context*; open ones keep theirs."""
        self._ssl_context = context

    def start(self) -> None:
        """Begin to accept."""
        self._listener.setblocking(False)
        self._listen()

    # Accepting

    def _listen(self) -> None:
        if not self._is_listening and not self.is_draining:
            self._is_listening = True
            self.loop.add_reader(self._listener.fileno(), self._on_readable)

    def _stop_listening(self) -> None:
        if self._is_listening:
            self._is_listening = False
            self.loop.remove_reader(self._listener.fileno())

    def _listen_if_room(self) -> None:
        if self._is_full and len(self.connections) < self.caps.max_connections:
            self._is_full = False
            self._listen()

    def _listen_later(self, delay_s: float) -> None:
        self._stop_listening()
        self.loop.call_later(delay_s, self._listen)

    def _on_readable(self) -> None:
        """Accept one connection a wake: the others are for whoever is less busy."""
        if len(self.connections) >= self.caps.max_connections:
            self._is_full = True
            self._stop_listening()  # until one ends; another worker may have room
        elif self._should_yield is not None and not self._has_yielded and self._should_yield():
            self._has_yielded = True
            self._listen_later(YIELD_S)
        else:
            self._has_yielded = False
            self._accept()

    def _accept(self) -> bool:
        """Accept one connection; return whether there was one."""
        try:
            sock, address = self._listener.accept()
        except (BlockingIOError, InterruptedError, ConnectionAbortedError):
            return False
        except OSError as error:
            self.accepts_failed_total += 1
            self.report(error)
            self._listen_later(EXHAUSTED_S)
            return False
        self.accepted_total += 1
        sock.setblocking(False)
        client_ip = ""
        if sock.family in (socket.AF_INET, socket.AF_INET6):
            client_ip = address[0].removeprefix("::ffff:")
            with contextlib.suppress(OSError):  # the client may already have reset it
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection = OrdinaryConnection(self, sock, client_ip)
        self.connections.add(connection)
        task = self.loop.create_task(self._attach(connection, sock))
        self._attaching[task] = connection
        task.add_done_callback(partial(self._attached, sock))
        return True

    async def _attach(self, connection: Connection, sock: socket.socket) -> None:
        """Give *sock* to the loop, after the handshake if there is one."""
        timeout_s = self.caps.header_timeout_s if self._ssl_context is not None else None
        try:
            await self.loop.connect_accepted_socket(
                lambda: connection, sock, ssl=self._ssl_context, ssl_handshake_timeout=timeout_s
            )
        except OSError:  # ssl.SSLError and TimeoutError too
            self._forget(connection, sock)

    def _attached(self, sock: socket.socket, task: asyncio.Task[None]) -> None:
        connection = self._attaching.pop(task)
        if task.cancelled():  # it may not even have begun
            self._forget(connection, sock)

    def _forget(self, connection: Connection, sock: socket.socket) -> None:
        """Give up a connection that the loop has not taken, or not kept."""
        self.handshakes_failed_total += 1
        if _is_open(connection):
            connection.connection_lost(None)  # the loop closes it, and says so to nobody
        else:
            self.connection_closed(connection)
        sock.close()

    # Called by connections and exchanges

    def connection_opened(self, connection: Connection) -> None:
        """Watch the deadlines of *connection*."""
        self._sweep.add(connection)
        if self.is_draining:
            connection.close_idle(self.loop.time() + FRESH_S)

    def connection_closed(self, connection: Connection) -> None:
        """Forget *connection*."""
        self._sweep.discard(connection)
        self.connections.discard(connection)
        self._listen_if_room()
        self._check_empty()

    def exchange_started(self, exchange: HttpExchange) -> None:
        """Serve it in the loop's next turn: then a small body is here, and others' heads too."""
        self.requests_total += 1
        self.running.add(exchange)
        if self.front is None:
            self.run(exchange, self.handler)
        else:
            self.front.take(exchange)

    def run(self, exchange: HttpExchange, handler: Handler) -> None:
        """Let a task run *handler* for *exchange*, from the loop's next turn on."""
        idle = self.idle_runners
        (idle.pop() if idle else Runner(self)).start(exchange, handler)

    def exchange_done(self, exchange: HttpExchange) -> None:
        """Nobody works on *exchange* any more."""
        self.running.discard(exchange)
        if self._empty is not None:
            self._check_empty()

    def request_refused(self, rule: Rule) -> None:
        """Count and tell a refusal."""
        self.refused_total += 1
        if self._on_refusal is not None:
            self._on_refusal(rule.name, rule.status)

    def report(self, error: BaseException) -> None:
        """Tell of an exception that nobody expected."""
        if self._on_error is not None:
            self._on_error(error)
        else:
            self.loop.call_exception_handler({"message": "edge failure", "exception": error})

    # The end

    async def drain(self, timeout_s: float, *, take_queue: bool = False) -> bool:
        """Stop accepting, let running requests finish, close everything else.

        Args:
            timeout_s: Time for running requests; what is left then is stopped.
            take_queue: Accept what already waits in the listener's queue. For the last
                process on a listener: the queue of a closed one is reset by the kernel.

        Returns:
            Whether every request finished by itself.
        """
        self._stop_listening()
        while take_queue and self._accept():
            pass
        self.is_draining = True
        self._stop_listening()
        self._empty = asyncio.Event()
        fresh_until = self.loop.time() + FRESH_S
        for connection in list(self.connections):
            connection.close_idle(fresh_until)
        self._dismiss_runners()
        self._check_empty()
        try:
            await asyncio.wait_for(self._empty.wait(), timeout_s)
        except TimeoutError:
            await self.stop()
            return False
        return True

    async def stop(self) -> None:
        """Stop now: handlers are cancelled and may write an error event, then all is closed."""
        self.is_draining = True
        for connection in self.connections:
            connection.known = None
        self._stop_listening()
        self._dismiss_runners()
        self.is_stopping = True
        front, self.front = self.front, None
        for exchange in list(self.running):
            if front is not None and exchange.task is None:
                front.let_go(exchange)
            elif exchange.task is not None and exchange.has_begun:
                exchange.task.cancel()
        for task, connection in self._attaching.items():
            if not _is_open(connection):  # others are closed below
                task.cancel()
        tasks = [exchange.task for exchange in self.running if exchange.task is not None]
        if tasks:
            await asyncio.wait(tasks, timeout=STOP_S)
        # One turn of the loop lets the transports send what the handlers have just written.
        await asyncio.sleep(0)
        for connection in list(filter(_is_open, self.connections)):
            connection.abort()
        if self.connections or self.running:
            self._empty = self._empty or asyncio.Event()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._empty.wait(), STOP_S)

    def _dismiss_runners(self) -> None:
        """Let idle tasks end; the busy ones end with their exchange, now that we drain."""
        while self.idle_runners:
            self.idle_runners.pop().dismiss()

    def _check_empty(self) -> None:
        if self._empty is not None and not self.connections and not self.running:
            self._empty.set()


def _is_open(connection: Connection) -> bool:
    """Whether it has its transport, and is not in the middle of a handshake."""
    return hasattr(connection, "transport")
