"""The short way of plain requests: all of one turn of the loop, stage by stage, without tasks.

    requests that came   → who, what, where → limits, one lock ┐
    answers that came    → usage, counted, logged, settled     ├→ one write to the journal
                                                               ┘→ requests and answers leave

A busy loop finds a dozen requests and a dozen answers at each turn. Served one by one, each pays
for a task, a lock, two writes to the journal and a look at its connection, and runs through code
that the processor has forgotten since the one before it.

Plain is a request that has come whole, with a good key, for a whole answer of one call, to a
provider with a free connection. Whatever is else, or becomes so, goes the long way (`handle`,
`attempt`) from the place where it stands: nothing is decided here that is not decided there.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Container, Sequence
from time import monotonic, time_ns
from typing import TYPE_CHECKING

from tidegate.dialects.openai.request import ModelRequest
from tidegate.errors import GatewayError
from tidegate.ids import FIRST_ATTEMPT, request_id
from tidegate.ledger.journal import JournalFull
from tidegate.pipeline.attempt import (
    prepare,
    run_attempts,
)
from tidegate.pipeline.attempt_record import WRITE_SAMPLE
from tidegate.pipeline.call import Call
from tidegate.pipeline.endpoint import RouteTable
from tidegate.pipeline.flight import Flight
from tidegate.pipeline.gateway import Gateway, State
from tidegate.pipeline.handle import Pipeline, identify, note_decision
from tidegate.pipeline.head_plan import HeadPlan
from tidegate.pipeline.landing import Ended, Landing
from tidegate.pipeline.lane import MAX_LANES, Lane
from tidegate.pipeline.rescue import Batch, rescue
from tidegate.pipeline.settle import refuse

if TYPE_CHECKING:
    from tidegate.edge.exchange import Exchange, FreeExchange
    from tidegate.routing.target import Target

log = logging.getLogger("tidegate.pipeline")

MAX_TOGETHER = 16
"""Requests that are served together: their limits are decided under one hold of the lock."""


class Turns:
    """Serves plain requests; the edge's `Front`.

    Args:
        gateway: Services.
        routes: Endpoints; those that are `plain` are served here.
        pipeline: Serves all others, and what stops being plain.
        look: Says which connections to providers are not silent.
    """

    def __init__(
        self,
        gateway: Gateway,
        routes: RouteTable,
        pipeline: Pipeline,
        look: Callable[[], Container[int]],
    ) -> None:
        self.gateway = gateway
        self._routes = routes
        self._pipeline = pipeline
        self._look = look
        self._arrived: list[FreeExchange] = []
        self._answered: list[Flight] = []
        self._is_due = False
        self._counting: set[Lane] = set()
        #: Keys and configuration; the same object as long as both are the same.
        self._era: tuple[State, int] = (gateway.state, -1)
        self._landing = Landing(gateway, self._counting)

    # What the edge and the upstream call.

    def take(self, exchange: FreeExchange) -> None:
        """See `edge.exchange.Front.take`."""
        self._arrived.append(exchange)
        if not self._is_due:
            self._is_due = True
            self.gateway.loop.call_soon(self._turn)

    def let_go(self, exchange: FreeExchange) -> None:
        """See `edge.exchange.Front.let_go`."""
        flight = exchange.watcher
        if isinstance(flight, Flight):
            if not flight.has_task:
                self.hand_over(flight)
        elif exchange in self._arrived:
            self._arrived.remove(exchange)
            exchange.run(self._pipeline)

    def note_answer(self, flight: Flight) -> None:
        """Look at the answer to *flight* in the loop's next turn, together with others."""
        if flight.has_task:
            return
        self._answered.append(flight)
        if not self._is_due:
            self._is_due = True
            self.gateway.loop.call_soon(self._turn)

    def hand_over(self, flight: Flight) -> None:
        """Let a task go on with a request that was sent."""
        flight.has_task = True

        async def go_on(exchange: Exchange) -> None:
            call = flight.record.call
            route = flight.lane.route
            work = run_attempts(self.gateway, call, flight.request, route, sent=flight)
            await self._pipeline.conclude(call, work)

        flight.exchange.run(go_on)

    # One turn of the loop.

    def _turn(self) -> None:
        """End what was answered, begin what has come."""
        self._is_due = False
        answered, self._answered = self._answered, []
        arrived, self._arrived = self._arrived, []
        if len(arrived) > MAX_TOGETHER:
            self._arrived = arrived[MAX_TOGETHER:]
            arrived = arrived[:MAX_TOGETHER]
            self._is_due = True
            self.gateway.loop.call_soon(self._turn)
        batch = Batch(answered, arrived)
        try:
            self._serve(batch)
        except Exception:
            log.exception("a turn of the short way failed")
            rescue(self.gateway, self._pipeline, batch, self._counting)

    def _serve(self, batch: Batch) -> None:
        """Serve a turn's answers and requests."""
        ended: list[Ended] = []
        settles = batch.settles
        if batch.answered:
            for flight in self._landing.land(batch.answered, ended, settles):
                self.hand_over(flight)
        leaving: list[Flight] = []
        if batch.arrived:
            self._begin(batch.arrived, batch.begun)
            self._admit(batch.begun, batch.admitted)
            leaving = batch.admitted
        if leaving or settles:
            leaving = self._record(leaving, settles)
        for lane in self._counting:
            lane.flush()
        self._counting.clear()
        for exchange, status, lines, whole in ended:
            exchange.finish(status, lines, whole)
        # Nothing leaves before the loop's turn is over, so no client can see it sooner.
        self.gateway.meters.in_flight.dec(len(ended))
        batch.answered.clear()
        if leaving:
            self._send(leaving)

    def _begin(self, exchanges: Sequence[FreeExchange], begun: list[Flight]) -> None:
        """Find out who asks for what, and where it may go; nothing is used or counted yet.

        What is not plain goes to a task.
        """
        gateway = self.gateway
        if gateway.tracer is not None or gateway.watches_objects(gateway.state):
            for exchange in exchanges:
                exchange.run(self._pipeline)
            return
        now = (gateway.state, gateway.directory.changes)
        if now != self._era:
            self._era = now
        speaking = self._look()
        for exchange in exchanges:
            flight = None
            try:
                flight = self._plan(exchange, speaking)
            except GatewayError:
                pass  # is raised again on the long way, which answers it
            except Exception:
                log.exception("the short way failed")
            if flight is None:
                exchange.run(self._pipeline)
            else:
                begun.append(flight)

    def _plan(self, exchange: FreeExchange, speaking: Container[int]) -> Flight | None:
        """Return the request, ready to be admitted and sent; None if it is not plain."""
        gateway = self.gateway
        plan: HeadPlan = exchange.memo.plan
        if plan is None:
            plan = exchange.memo.plan = HeadPlan(self._routes, exchange)
        endpoint, body = plan.endpoint, exchange.body
        if endpoint is None or not endpoint.plain or body is None or exchange.disconnected:
            return None
        request = ModelRequest(body, streams=endpoint.streams)
        if request.stream:
            return None
        lane = plan.lanes.get(request.model)
        if lane is None or lane.era is not self._era or (lane.expires and lane.has_expired):
            found = self._find_lane(exchange, plan, request)
            if found is None:
                return None
            lane, order = found
        else:
            order = lane.route.targets
        checks = lane.checks
        if checks is None:
            checks = lane.state.checks(gateway.limiter, lane.principal, exchange, lane.route)
        target, name, translation, call = lane.target, request_id(), None, None
        if lane.head is None:
            call = lane.call_of(exchange, name)
            path, lines, body, translation = prepare(gateway, call, request, lane.route, target)
            head = lane.head_before(path, lines) + b"%d\r\n\r\n" % len(body)
        else:
            if lane.foreign is not None and lane.foreign in body:
                return None
            body = request.body_for(target.model, target.raw_model, False)
            if target.reshape is not None:
                body = target.reshape(lane.operation, body)
            head = b"%b%d\r\n\r\n" % (lane.head, len(body))
        connection = lane.pool.take(speaking)
        if connection is None:
            return None
        return Flight(
            self, exchange, lane, request, name, order, checks, connection, head, body,
            translation, call,
        )  # fmt: skip

    def _find_lane(
        self, exchange: FreeExchange, plan: HeadPlan, request: ModelRequest
    ) -> tuple[Lane, Sequence[Target]] | None:
        """Return the lane of a request and its targets in their order; None if it has none."""
        gateway, state, endpoint = self.gateway, self.gateway.state, plan.endpoint
        if endpoint is None or endpoint.operation is None:
            return None
        call = Call(exchange, endpoint, plan, state, "")
        principal = identify(gateway, call)
        route = state.route(request.model, principal)
        order = route.order(gateway.chance)
        target = order[0]
        only = len(order) == 1
        lanes = plan.lanes
        key = request.model if only else (request.model, target)
        lane = lanes.get(key)
        if lane is None or lane.era is not self._era:
            if target.pool is None or target.signer is not None:
                return None
            if len(lanes) >= MAX_LANES:
                lanes.clear()
            lane = lanes[key] = Lane(
                gateway, self._era, exchange, plan, endpoint, principal, route, target
            )
        return lane, order

    def _admit(self, begun: list[Flight], admitted: list[Flight]) -> None:
        """Pass all limits of all requests, or answer 429; *admitted* gets those that may leave."""
        limited = [flight for flight in begun if flight.checks]
        if limited:
            decisions = self.gateway.limiter.admit_all([flight.checks for flight in limited])
            if decisions is None:  # another worker has the lock: their tasks will wait for it
                for flight in begun:
                    flight.has_task = True
                    flight.lane.pool.release(flight.connection)
                    flight.exchange.run(self._pipeline)
                return
            for flight, decision in zip(limited, decisions, strict=True):
                flight.decision = decision
        counting, in_flight = self._counting, self.gateway.meters.in_flight
        for flight in begun:
            lane, verdict = flight.lane, flight.decision
            if verdict is None or (
                verdict.allowed
                and lane.checks is not None
                and not verdict.near
                and not verdict.shadow_refused
            ):
                lane.admitted += 1
                counting.add(lane)
            else:
                try:
                    note_decision(self.gateway, flight.call, verdict)
                except GatewayError as error:
                    self._refuse(flight, error)
                    continue
                lane.route.budget.note_request()
            admitted.append(flight)
        in_flight.inc(len(admitted))

    def _refuse(self, flight: Flight, error: GatewayError) -> None:
        flight.has_task = True
        flight.lane.pool.release(flight.connection)
        refuse(self.gateway, flight.call, error)
        flight.exchange.done()

    def _record(self, begun: list[Flight], settles: list[bytes]) -> list[Flight]:
        """Write what begins and what has ended; return what may be sent."""
        began_ns = time_ns()
        now_ms = began_ns // 1_000_000
        opens = [
            flight.lane.openings.frame(flight.request_id + FIRST_ATTEMPT, now_ms)
            for flight in begun
        ]
        meters = self.gateway.meters
        meters.ledger_settles.inc(len(settles))
        try:
            recorded = self.gateway.journal.append(opens, settles)
        except JournalFull as error:
            for flight in begun:
                meters.in_flight.dec()
                flight.call.attempts, flight.call.target = 1, flight.lane.target
                self._refuse(flight, error)
            return []
        meters.ledger_opens.inc(len(opens))
        if began_ns & WRITE_SAMPLE == 0:
            meters.ledger_write.observe((time_ns() - began_ns) / 1e9)
        for flight in begun:
            flight.recorded = recorded
            flight.opened_ms = now_ms
        return begun

    def _send(self, begun: list[Flight]) -> None:
        now = self.gateway.loop.time()
        sent_at = monotonic()
        note = self.note_answer
        for flight in begun:
            flight.exchange.watcher = flight
            lane = flight.lane
            flight.deadline = deadline = now + lane.route.total_s
            flight.sent_at = sent_at
            flight.reply = lane.pool.start(
                flight.connection, flight.head, flight.body, now, deadline, None, note, flight
            )
