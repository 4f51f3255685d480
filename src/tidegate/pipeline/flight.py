"""A plain request on its way: what is known of it between its sending and its answer.

Nearly all plain requests are answered well, and then a few numbers are all that is needed of
them. The objects that the long way works with are made only when one has to take it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol, cast

import msgspec

from tidegate.pipeline.attempt_record import AttemptRecord
from tidegate.pipeline.call import Call
from tidegate.upstream.answer import Abandoned

if TYPE_CHECKING:
    from tidegate.dialects.openai.request import ModelRequest
    from tidegate.edge.exchange import FreeExchange
    from tidegate.limits.limiter import Check, Decision
    from tidegate.pipeline.gateway import Gateway
    from tidegate.pipeline.lane import Lane
    from tidegate.pipeline.translation import Translation
    from tidegate.routing.target import Target
    from tidegate.upstream.connection import Connection
    from tidegate.upstream.reply import Reply


class Home(Protocol):
    """Where flights begin and end; implemented by `turn.Turns`."""

    gateway: Gateway

    def hand_over(self, flight: Flight) -> None:
        """Let a task go on with *flight*, which was sent."""


class Flight(msgspec.Struct, eq=False):
    """One plain request. Implements `attempt.Sent` and `edge.exchange.ClientWatcher`.

    Attributes:
        home: Who began it.
        exchange: The client's.
        lane: What it has in common with others.
        request: What it says.
        request_id: Ours.
        order: All targets of its model; the first is the lane's.
        checks: The limits that it has to pass.
        decision: The limiter's; None where it has no limit.
        connection: On which it goes to the provider.
        head: What it is sent with.
        body: What it is sent.
        translation: How its answer is read, where the provider speaks another dialect.
        reply: The provider's answer.
        opened_ms: Unix time of its row in the ledger.
        recorded: Whether it has one.
        sent_at: `time.monotonic()`.
        deadline: Loop time at which it is over.
        has_task: Whether it has left the short way: a task has it, or it was refused.
    """

    home: Home
    exchange: FreeExchange
    lane: Lane
    request: ModelRequest
    request_id: str
    order: Sequence[Target]
    checks: Sequence[Check]
    connection: Connection
    head: bytes
    body: bytes
    translation: Translation | None
    _call: Call | None
    decision: Decision | None = None
    reply: Reply = cast("Reply", None)  # until it is sent, nobody can ask for it
    opened_ms: int = 0
    recorded: bool = False
    sent_at: float = 0.0
    deadline: float = 0.0
    has_task: bool = False
    _record: AttemptRecord | None = None

    @property
    def is_sent(self) -> bool:
        """Whether its connection carries it."""
        return self.sent_at > 0.0

    @property
    def call(self) -> Call:
        """The same request as the long way knows it."""
        call = self._call
        if call is None:
            call = self._call = self.lane.call_of(self.exchange, self.request_id)
        call.decision = self.decision
        return call

    @property
    def record(self) -> AttemptRecord:
        """Its attempt, which has been sent; see `attempt.Sent`."""
        record = self._record
        if record is None:
            call = self.call
            call.attempts, call.target = 1, self.lane.target
            record = AttemptRecord(self.home.gateway, call, self.lane.target, len(self.body))
            record.resume(self.opened_ms, self.sent_at, self.recorded)
            self._record = record
        return record

    async def answer(self) -> Reply:
        """See `attempt.Sent`."""
        reply = self.reply
        if self.exchange.disconnected:
            reply.cancel()
            raise Abandoned
        await reply.wait_for_head()
        return reply

    def client_gone(self) -> None:
        """Let a task give the answer up and settle what it cost."""
        if not self.has_task:
            self.home.hand_over(self)

    def client_slow(self) -> None:
        """Nothing is being written yet that the client could be too slow for."""

    def client_ready(self) -> None:
        """See `client_slow`."""
