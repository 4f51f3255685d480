"""Slow and silent clients, by a clock that the test moves."""

from __future__ import annotations

import asyncio
import math

import pytest
from tests.edge.cases import GOOD, HOST, request
from tests.edge.wire import Client, Edge, talk

from tidegate.edge.connection import CLOSE_S, HALF_CLOSE_S, HIGH_WATER_BYTES, LINGER_S, STALL_S
from tidegate.errors import RequestTimeout

GET = request(b"GET /x HTTP/1.1", HOST)
POST_9 = request(b"POST /x HTTP/1.1", HOST, b"Content-Length: 9000")


async def trickle(client: Client, data: bytes, seconds_a_byte: float) -> float:
    """Send *data* byte by byte until the client sees the end; return the seconds it took."""
    started = client.edge.clock.now
    for byte in data:
        if client.has_ended:
            break
        client.send(bytes([byte]))
        await client.edge.pass_time(seconds_a_byte, step=seconds_a_byte)
    return client.edge.clock.now - started


async def test_a_trickled_head_is_refused_15_seconds_after_its_first_byte():
    """Each further byte does not earn more time."""
    edge = Edge()
    client = edge.connect()
    took = await trickle(client, b"GET /x HTTP/1.1\r\nHost: gate.test\r\nX-A: " + b"b" * 500, 0.5)
    (answer,) = client.answers
    assert (answer.status, answer.code) == (408, "header_timeout")
    assert 15.0 <= took <= 15.6
    assert edge.refusals == [("header_timeout", 408)]


async def test_a_trickled_second_head_has_its_own_15_seconds():
    """The time of the answer before it is not held against it."""
    edge = Edge()
    client = edge.connect()
    client.send(GOOD)
    await client.settle()
    await edge.pass_time(60)
    assert not client.has_ended
    took = await trickle(client, GET[:-2] + b"X-A: " + b"b" * 500, 0.5)
    assert 15.0 <= took <= 15.6
    assert [answer.status for answer in client.answers] == [200, 408]


async def test_a_head_pipelined_behind_a_long_answer_keeps_its_time():
    """Half a head that waited for ten minutes is not refused the moment it is looked at."""
    release = asyncio.Event()

    async def handler(exchange):
        if exchange.path == b"/x":
            await release.wait()
        exchange.answer(200, b"", b"")

    edge = Edge(handler)
    client = edge.connect()
    client.send(GET + GOOD[:-6])
    await edge.pass_time(600, step=10)
    release.set()
    await edge.settle()
    await edge.pass_time(14)
    client.send(GOOD[-6:])
    await client.settle()
    assert [answer.status for answer in client.answers] == [200, 200]


async def test_a_silent_connection_is_closed_after_the_header_time():
    """No byte, no answer."""
    edge = Edge()
    client = edge.connect()
    await edge.pass_time(14.8)
    assert not client.has_ended
    await edge.pass_time(0.5)
    assert client.transport.closed
    assert client.received == b""


async def test_an_empty_line_alone_does_not_earn_more_time():
    """CRLF is skipped, not served."""
    edge = Edge()
    client = edge.connect()
    await edge.pass_time(10)
    client.send(b"\r\n")
    await edge.pass_time(15.2)
    assert client.has_ended


async def test_an_idle_connection_is_closed_after_its_keep_alive():
    """Counted from the answer."""
    edge = Edge(keep_alive_s=30.0)
    client = await talk(edge, GET)
    await edge.pass_time(29.8, step=0.2)
    assert not client.has_ended
    await edge.pass_time(0.4)
    assert client.transport.closed


async def test_a_body_below_the_minimum_rate_is_408_after_its_grace():
    """Ten seconds of grace, then 1 KiB for each second; the mean counts."""
    edge = Edge()
    client = edge.connect()
    client.send(POST_9)
    took = await trickle(client, b"z" * 500, 0.5)
    (answer,) = client.answers
    assert (answer.status, answer.code) == (408, "body_timeout")
    assert 10.0 <= took <= 11.0
    assert client.has_ended
    assert edge.seen == []


async def test_a_trickled_chunked_body_is_408_too():
    """Framing bytes count for nothing."""
    edge = Edge()
    client = edge.connect()
    client.send(request(b"POST /x HTTP/1.1", HOST, b"Transfer-Encoding: chunked"))
    took = await trickle(client, b"1;" + b"e" * 200 + b"\r\nz\r\n" * 100, 0.1)
    assert client.answers[0].code == "body_timeout"
    assert took <= 10.6


async def test_a_body_at_the_minimum_rate_may_take_its_time():
    """60 KB at 2 KiB a second is slow, and allowed."""
    edge = Edge()
    client = edge.connect()
    client.send(request(b"POST /x HTTP/1.1", HOST, b"Content-Length: 61440"))
    for _ in range(30):
        client.send(b"z" * 2048)
        await edge.pass_time(1)
    assert len(edge.seen[0].body) == 61_440
    assert client.answers[0].status == 200


async def test_time_in_which_the_edge_does_not_read_is_not_the_clients():
    """A handler that is slow to ask for the body must not make its client late."""
    ask = asyncio.Event()

    async def handler(exchange):
        await ask.wait()
        exchange.answer(200, b"", await exchange.read_body(100_000))

    edge = Edge(handler, max_body_before_auth_bytes=1024)
    client = edge.connect()
    client.send(POST_9)
    client.send(b"z" * 5000)
    await edge.pass_time(100, step=1)
    ask.set()
    await edge.settle()
    await edge.pass_time(8)
    client.send(b"z" * 4000)
    await client.settle()
    assert client.answers[0].status == 200


async def test_a_body_too_slow_before_it_is_wanted_fails_when_it_is():
    """The handler learns of it from `read_body`."""
    faults = []
    ask = asyncio.Event()

    async def handler(exchange):
        await ask.wait()
        try:
            await exchange.read_body(100_000)
        except RequestTimeout as fault:
            faults.append(fault)
            raise

    edge = Edge(handler)
    client = edge.connect()
    client.send(POST_9)
    await edge.pass_time(12)
    ask.set()
    await edge.settle()
    assert len(faults) == 1
    assert client.answers[0].status == 408


async def test_a_client_that_waits_for_continue_is_not_late():
    """Its time begins when it is told to go on."""
    ask = asyncio.Event()

    async def handler(exchange):
        await ask.wait()
        exchange.answer(200, b"", await exchange.read_body(100))

    edge = Edge(handler)
    client = edge.connect()
    client.send(request(b"POST /x HTTP/1.1", HOST, b"Expect: 100-continue", b"Content-Length: 2"))
    await edge.pass_time(60)
    assert not client.has_ended
    ask.set()
    await edge.settle()
    await edge.pass_time(5)
    client.send(b"ab")
    await client.settle()
    assert [answer.status for answer in client.answers] == [100, 200]


async def test_a_thrown_away_body_that_does_not_come_ends_the_connection():
    """The rate holds for a body that nobody wants, too."""

    async def handler(exchange):
        exchange.answer(429, b"", b"")

    edge = Edge(handler)
    client = edge.connect()
    client.send(POST_9)
    await client.settle()
    assert not client.has_ended
    await edge.pass_time(10.3)
    assert client.has_ended


async def test_a_refused_client_is_reset_when_it_does_not_close():
    """Lingering is bounded, however much it goes on sending."""
    edge = Edge()
    client = await talk(edge, b"nonsense\r\n\r\n")
    for _ in range(int(LINGER_S / 0.1) + 2):
        client.send(b"z" * 1000)
        await edge.pass_time(0.1)
    assert client.transport.aborted
    assert not edge.server.connections


async def test_a_client_that_never_takes_its_last_answer_is_reset():
    """`close` waits for the client; the wait is bounded."""
    edge = Edge()
    client = edge.connect()
    client.transport.stuck = True
    client.send(request(b"GET /x HTTP/1.1", HOST, b"Connection: close"))
    await client.settle()
    await edge.pass_time(CLOSE_S - 0.3)
    assert not client.transport.lost
    await edge.pass_time(0.6)
    assert client.transport.aborted
    assert not edge.server.connections


class Gone:
    """A watcher that notes the end."""

    def __init__(self, heard):
        self.heard = heard

    def client_gone(self):
        self.heard.append("gone")

    def client_slow(self):
        pass

    def client_ready(self):
        pass


def stream_into_the_void(heard):
    """Return a handler whose client does not read its stream."""

    async def handler(exchange):
        exchange.watcher = Gone(heard)
        exchange.start(200, b"")
        exchange.connection.transport.stuck = True
        exchange.write(b"z" * (HIGH_WATER_BYTES + 1))
        while not exchange.disconnected:
            await asyncio.sleep(0)

    return handler


async def test_a_client_that_reads_nothing_is_given_up():
    """The stream's producer is told, and its upstream freed."""
    heard: list[str] = []
    edge = Edge(stream_into_the_void(heard))
    client = edge.connect()
    client.send(GET)
    for _ in range(5):
        await asyncio.sleep(0)
    edge_time = edge.clock.now
    while not heard and edge.clock.now < edge_time + STALL_S + 1:
        edge.clock.now += 0.1
        if client.connection.deadline <= edge.clock.now:
            client.connection.on_deadline(edge.clock.now)
        for _ in range(3):
            await asyncio.sleep(0)
    assert heard == ["gone"]
    assert STALL_S - 0.2 <= edge.clock.now - edge_time <= STALL_S + 0.5


async def test_a_client_that_reads_slowly_is_kept():
    """The minimum rate is all that is asked."""
    heard: list[str] = []
    edge = Edge(stream_into_the_void(heard))
    client = edge.connect()
    client.send(GET)
    for _ in range(5):
        await asyncio.sleep(0)
    for _ in range(900):  # 90 seconds at 2 KiB a second
        edge.clock.now += 0.1
        client.transport.read_on(205)
        if client.connection.deadline <= edge.clock.now:
            client.connection.on_deadline(edge.clock.now)
    assert heard == []
    client.vanish()
    for _ in range(5):
        await asyncio.sleep(0)
    assert heard == ["gone"]


@pytest.mark.parametrize(("answered_after_s", "served"), [(0.2, True), (5.0, False)])
async def test_a_half_closed_client_gets_an_answer_that_comes_at_once(answered_after_s, served):
    """A client that closes looks the same, and must free its upstream within a second."""
    answer_now = asyncio.Event()
    heard: list[str] = []

    async def handler(exchange):
        exchange.watcher = Gone(heard)
        await answer_now.wait()
        exchange.answer(200, b"", b"late")

    edge = Edge(handler)
    client = edge.connect()
    client.send(GET)
    await client.settle()
    client.end_sending()
    await edge.pass_time(min(answered_after_s, HALF_CLOSE_S + 0.4))
    assert heard == ([] if served else ["gone"])
    answer_now.set()
    await edge.settle()
    assert client.has_ended
    assert [answer.body for answer in client.answers] == ([b"late"] if served else [])


async def test_all_pipelined_requests_of_a_half_closed_client_are_answered():
    """`printf … | nc` works."""
    edge = Edge()
    client = edge.connect()
    client.send(GET + GOOD + GET)
    client.end_sending()
    await client.settle()
    assert [answer.status for answer in client.answers] == [200, 200, 200]
    assert client.has_ended


@pytest.mark.parametrize("sent", [b"", GET, GET[:-1], GOOD[:-1], GET + GET[:-1]])
async def test_an_end_of_file_elsewhere_closes(sent):
    """Between requests, in a head and in a body nothing more can come."""
    edge = Edge()
    client = await talk(edge, sent) if sent else edge.connect()
    client.end_sending()
    await client.settle()
    assert client.transport.closed
    assert not edge.server.connections


async def test_a_running_request_has_no_deadline_of_the_edge():
    """How long an answer may take is the pipeline's business."""
    release = asyncio.Event()

    async def handler(exchange):
        await release.wait()
        exchange.answer(200, b"", b"")

    edge = Edge(handler)
    client = edge.connect()
    client.send(GET)
    await client.settle()
    assert client.connection.deadline == math.inf
    await edge.pass_time(1000, step=50)
    release.set()
    await client.settle()
    assert client.answers[0].status == 200
