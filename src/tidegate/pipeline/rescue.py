"""What becomes of the requests of a turn that a defect of ours has cut short.

None of them may wait for ever, and nothing of them may stay: no place under a limit, no count of
requests in flight, no connection, no open row. They are answered 500, logged and counted.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from tidegate.pipeline.flight import Flight
from tidegate.pipeline.handle import InternalError

if TYPE_CHECKING:
    from tidegate.edge.exchange import Exchange, FreeExchange
    from tidegate.pipeline.gateway import Gateway
    from tidegate.pipeline.handle import Pipeline
    from tidegate.pipeline.lane import Lane


class Batch(msgspec.Struct, eq=False):
    """What one turn works on.

    Attributes:
        answered: Requests whose providers have answered.
        arrived: Requests that came; they become `begun`, or a task's.
        begun: Those of them that have a connection.
        admitted: Those of them that have passed their limits, and count as in flight.
        settles: The ledger's records of `answered`; not yet written.
    """

    answered: list[Flight]
    arrived: list[FreeExchange]
    begun: list[Flight] = []
    admitted: list[Flight] = []
    settles: list[bytes] = []


def rescue(gateway: Gateway, pipeline: Pipeline, batch: Batch, counting: set[Lane]) -> None:
    """End all of *batch* that is neither answered, nor on its way, nor a task's."""
    for lane in counting:
        lane.ended.clear()  # they are counted by their tasks
    counting.clear()
    for flight in batch.answered:
        if not flight.has_task:
            if flight.exchange.is_answered:
                gateway.meters.in_flight.dec()
            else:
                _fail(gateway, pipeline, flight)
    admitted = set(map(id, batch.admitted))
    for flight in batch.begun:
        if not flight.has_task and not flight.is_sent:
            if id(flight) not in admitted:
                gateway.meters.in_flight.inc()
            flight.connection.discard()
            _fail(gateway, pipeline, flight)
    begun = {id(flight.exchange) for flight in batch.begun}
    for exchange in batch.arrived:
        if id(exchange) not in begun and exchange.task is None and not exchange.is_answered:
            exchange.run(pipeline)


def _fail(gateway: Gateway, pipeline: Pipeline, flight: Flight) -> None:
    """Let a task answer 500."""
    flight.has_task = True
    if flight.recorded:
        flight.record.close("cancelled", flight.reply.status if flight.is_sent else 0, None)

    async def raise_it() -> None:
        raise InternalError("The gateway failed to serve this request.")

    async def go_on(exchange: Exchange) -> None:
        await pipeline.conclude(flight.call, raise_it())

    flight.exchange.run(go_on)
