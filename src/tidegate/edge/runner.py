"""Tasks that run handlers, one exchange after another.

A new task for each request would cost 1.5 µs more than one that waits for the next, and the
turn of the loop before it starts another 1 to 3 µs: a runner begins inside the callback that
has brought the request.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from tidegate.errors import ClientGone, GatewayError, Unavailable
from tidegate.wake import Sleeper

if TYPE_CHECKING:
    from tidegate.edge.http_exchange import HttpExchange
    from tidegate.edge.server import Server

MAX_IDLE = 256
"""Runners kept for later; more than this many at once are rare, and end after one exchange."""


class Runner(Sleeper):
    """One task, and the exchange that it is running.

    Attributes:
        task: Runs the handler. It is cancelled to end one exchange, and ends with it.
    """

    __slots__ = ("_exchange", "_server", "task")

    def __init__(self, server: Server) -> None:
        super().__init__(asyncio.get_running_loop())
        self._server = server
        self._exchange: HttpExchange | None = None
        self.task = self._loop.create_task(self._run())

    def start(self, exchange: HttpExchange) -> None:
        """Run the handler for *exchange*, now if that is possible."""
        self._exchange = exchange
        exchange.task = self.task
        self.wake()

    async def _run(self) -> None:
        """Run handlers until one was cancelled, or nobody needs this runner any more."""
        server = self._server
        idle = server.idle_runners
        while True:
            exchange, self._exchange = self._exchange, None
            if exchange is None:  # cancelled while idle, or stopped
                return
            try:
                await server.handler(exchange)
                if not exchange.is_answered and not exchange.disconnected:
                    server.report(RuntimeError("the handler returned without a whole answer"))
                    exchange.fail()
            except GatewayError as error:
                exchange.answer_error(error)
            except ClientGone:
                exchange.abort()
            except asyncio.CancelledError:
                exchange.answer_error(Unavailable("The gateway is stopping.", retry_after_s=1.0))
                raise
            except Exception as error:  # noqa: BLE001 (whatever it is, the client gets an answer)
                server.report(error)
                exchange.fail()
            finally:
                exchange.task = None
                server.exchange_done(exchange)
            # A task that was cancelled once stays marked, which would mislead later timeouts.
            if self.task.cancelling() or server.is_draining or len(idle) >= MAX_IDLE:
                return
            idle.append(self)
            del exchange
            try:
                await self
            except asyncio.CancelledError:
                if self in idle:
                    idle.remove(self)
                raise
