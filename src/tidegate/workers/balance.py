"""Whether this worker should let another one accept the next connection.

All workers wait on one socket, and the kernel wakes whom it likes: 400 long streams
opened at once ended up 211 on one worker and 42 on another. A worker that has clearly
more than the mean steps aside once for a millisecond. Only workers that are ready count:
dead slots taken for idle workers would stop everybody.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable

from typing_extensions import override

from tidegate.config.snapshot import EdgeSnapshot
from tidegate.edge.connection import Connection
from tidegate.edge.exchange import Front, Handler
from tidegate.edge.server import Server
from tidegate.memory import Segment, SlotState, SlotWord
from tidegate.sweep import Sweep

FEW = 2
"""A worker with no more connections than this never steps aside."""


class AcceptBalance:
    """Publishes this worker's connections and compares them with its ready peers' (0.2 µs each)."""

    __slots__ = ("_mine", "_peers", "_words")

    def __init__(self, segment: Segment, slot: int) -> None:
        self._words = segment.words
        self._mine = segment.at(slot, SlotWord.CONNECTIONS)
        self._peers = [
            (segment.at(peer, SlotWord.STATE), segment.at(peer, SlotWord.CONNECTIONS))
            for peer in segment.worker_slots
        ]

    def publish(self, connections: int) -> None:
        """Store how many connections this worker holds."""
        self._words[self._mine] = connections

    def should_yield(self) -> bool:
        """Whether this worker holds more than 1.1 times the mean plus one connection.

        The caller steps aside once and then accepts whatever the counts are; a rule
        without the "once" could leave a connection unaccepted for ever.
        """
        words = self._words
        mine = words[self._mine]
        if mine <= FEW:
            return False
        total = 0
        ready = 0
        for state, connections in self._peers:
            if words[state] == SlotState.READY:
                ready += 1
                total += words[connections]
        return ready > 1 and mine > 1.1 * total / ready + 1


class BalancedServer(Server):
    """A server that keeps its count of connections in the shared memory."""

    def __init__(
        self,
        balance: AcceptBalance,
        listener: socket.socket,
        handler: Handler,
        caps: EdgeSnapshot,
        sweep: Sweep,
        *,
        loop: asyncio.AbstractEventLoop,
        front: Front | None,
        ssl_context: ssl.SSLContext | None,
        on_refusal: Callable[[str, int], None] | None = None,
        on_error: Callable[[BaseException], None] | None = None,
    ) -> None:
        self._balance = balance
        super().__init__(
            listener,
            handler,
            caps,
            sweep,
            loop=loop,
            front=front,
            ssl_context=ssl_context,
            should_yield=self._step_aside,
            on_refusal=on_refusal,
            on_error=on_error,
        )

    def _step_aside(self) -> bool:
        # Accepted sockets count from their first moment, before their protocol exists.
        self._balance.publish(len(self.connections))
        return self._balance.should_yield()

    @override
    def connection_opened(self, connection: Connection) -> None:
        """Count it."""
        super().connection_opened(connection)
        self._balance.publish(len(self.connections))

    @override
    def connection_closed(self, connection: Connection) -> None:
        """Count it no more."""
        super().connection_closed(connection)
        self._balance.publish(len(self.connections))
