"""A server that stops at once tells every request so, however far it has come."""

from __future__ import annotations

import asyncio

import pytest
from tests.edge.wire import Edge

from tidegate.edge.exchange import Exchange

GOOD = b"POST /good HTTP/1.1\r\nHost: gate.test\r\nContent-Length: 4\r\n\r\ngood"


@pytest.mark.parametrize("turns", [0, 1, 2])
@pytest.mark.parametrize("known", [0, 3])
async def test_a_request_that_has_just_come_is_told_that_the_server_stops(
    turns: int, known: int
) -> None:
    """Its task may not have begun: then nobody else would ever answer it or let it go."""

    async def wait(exchange: Exchange) -> None:
        if edge.server.requests_total <= known:
            exchange.answer(200, b"", b"")
        else:
            await asyncio.Event().wait()

    edge = Edge(wait)
    client = edge.connect()
    for _ in range(known):
        client.send(GOOD)
        await client.settle()
    client.transport.sent.clear()
    client.send(GOOD)
    for _ in range(turns):
        await asyncio.sleep(0)
    await edge.server.stop()
    assert [answer.status for answer in client.answers] == [503]
    assert not edge.server.running
    assert client.transport.closed
    assert edge.errors == []


async def test_a_request_that_comes_while_a_server_stops_is_not_lost() -> None:
    """Others take their time to end; it is told so, or its connection was closed before."""
    may_end = asyncio.Event()

    async def end_late(exchange: Exchange) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await may_end.wait()

    edge = Edge(end_late)
    first, second = edge.connect(), edge.connect()
    first.send(GOOD)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    stopping = asyncio.ensure_future(edge.server.stop())
    await asyncio.sleep(0)
    second.send(GOOD)
    may_end.set()
    await stopping
    assert not edge.server.running
    assert [answer.status for answer in second.answers] in ([], [503])
    assert second.transport.closed
