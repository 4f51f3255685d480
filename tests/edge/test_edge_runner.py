"""Tasks that run handlers: used again, and never with what an earlier exchange left behind."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from tests.edge.cases import HOST, request
from tests.edge.wire import Edge

from tidegate.edge.runner import MAX_IDLE

GET = request(b"GET /x HTTP/1.1", HOST)


async def turns(count: int = 6) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


class Noting:
    """Answers, and notes the task that it runs in and whether that is marked as cancelled."""

    def __init__(self):
        self.tasks = []
        self.marks = []
        self.held = False

    async def __call__(self, exchange):
        task = asyncio.current_task()
        assert exchange.task is task
        self.tasks.append(task)
        self.marks.append(task.cancelling())
        # The pipeline swallows a cancellation likewise when its client has left.
        with suppress(asyncio.CancelledError):
            while self.held:
                await asyncio.sleep(0)
        exchange.answer(200, b"", b"")


async def test_requests_one_after_another_share_a_task():
    """Also those of different connections; requests at once have one each."""
    handler = Noting()
    edge = Edge(handler)
    for _ in range(3):
        client = edge.connect()
        for _ in range(2):
            client.send(GET)
            await turns()
    assert len(handler.tasks) == 6
    assert len(set(handler.tasks)) == 1

    handler.held = True
    edge.connect().send(GET)
    edge.connect().send(GET)
    await turns()
    assert len(set(handler.tasks[-2:])) == 2
    handler.held = False
    await turns()
    assert not edge.server.running


async def test_a_task_that_was_cancelled_runs_nothing_else():
    """Its mark would turn a later request's timeout into a cancellation."""
    handler = Noting()
    edge = Edge(handler)
    handler.held = True
    client = edge.connect()
    client.send(GET)
    await turns()
    handler.tasks[0].cancel()
    await turns()
    assert handler.tasks[0].done()
    handler.held = False
    client.send(GET)
    await turns()
    assert handler.tasks[1] is not handler.tasks[0]
    assert handler.marks == [0, 0]


async def test_an_answered_exchange_no_longer_holds_its_task():
    """Whoever cancels too late must not hit the next request."""
    kept = []

    async def handler(exchange):
        kept.append(exchange)
        exchange.answer(200, b"", b"")

    edge = Edge(handler)
    edge.connect().send(GET)
    await turns()
    assert kept[0].task is None


async def test_a_request_that_never_began_is_answered_when_the_server_stops():
    """The task was given it, and begins; it would be cancelled where it waits first."""
    handler = Noting()
    edge = Edge(handler)
    client = edge.connect()
    client.send(GET)
    await turns()
    client.send(GET)
    await edge.server.stop()
    assert client.answers[1].status == 200
    assert client.answers[1].headers["connection"] == "close"
    assert not edge.server.running


async def test_idle_tasks_end_with_the_server():
    """After a drain nothing waits any more, and no more are kept than may be."""
    handler = Noting()
    edge = Edge(handler)
    handler.held = True
    for _ in range(MAX_IDLE + 10):
        edge.connect().send(GET)
    await turns()
    handler.held = False
    await turns()
    assert len(edge.server.idle_runners) == MAX_IDLE
    await edge.server.drain(1.0)
    await turns()
    assert all(task.done() for task in handler.tasks)
