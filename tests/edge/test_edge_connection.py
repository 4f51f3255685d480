"""Keep-alive, pipelining, framing of answers, back-pressure and faults, without sockets."""

from __future__ import annotations

import asyncio
import itertools
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.edge.cases import GOOD, HOST, request
from tests.edge.wire import BODY_CAP, Client, Edge, read_answers, talk

from tidegate.edge.connection import HIGH_WATER_BYTES
from tidegate.edge.forwarded import TrustedProxies
from tidegate.edge.http_exchange import MAX_UNSENT_BYTES
from tidegate.errors import (
    BodyTooLarge,
    ClientGone,
    MethodNotAllowed,
    RateLimited,
    Unauthenticated,
)

GET = request(b"GET /x HTTP/1.1", HOST)
GET_1_0 = request(b"GET /x HTTP/1.0", HOST)


class Watcher:
    """Notes what the edge tells about the client."""

    def __init__(self):
        self.heard = []

    def client_gone(self):
        self.heard.append("gone")

    def client_slow(self):
        self.heard.append("slow")

    def client_ready(self):
        self.heard.append("ready")


class Held:
    """A handler that keeps its exchanges for the test to answer."""

    def __init__(self):
        self.exchanges = []
        self.release = asyncio.Event()

    async def __call__(self, exchange):
        self.exchanges.append(exchange)
        while not exchange.is_answered and not exchange.disconnected:
            await asyncio.sleep(0)


async def held(*pieces: bytes, **caps: object) -> tuple[Client, Held]:
    """Send *pieces* to an edge whose handler waits for the test."""
    handler = Held()
    edge = Edge(handler, **caps)
    client = edge.connect()
    for piece in pieces:
        client.send(piece)
        await turns()
    return client, handler


async def turns(count: int = 5) -> None:
    """Let the loop turn a few times; a held handler never settles."""
    for _ in range(count):
        await asyncio.sleep(0)


# Answers


async def test_an_answer_has_the_heads_that_a_client_needs():
    """Status line, Date, the handler's own lines, the length; no `connection` when it stays."""
    client, handler = await held(GET)
    handler.exchanges[0].answer(200, b"x-own: 1\r\n", b"hello")
    (answer,) = client.answers
    assert answer.status == 200
    assert answer.body == b"hello"
    assert list(answer.headers) == ["date", "x-own", "content-length"]
    assert answer.headers["date"].endswith(" GMT")
    await turns()


async def test_a_streamed_answer_is_chunked_and_ends_with_the_empty_chunk():
    """Pieces of every size arrive as they are; an empty one would end the stream and is skipped."""
    client, handler = await held(GET)
    exchange = handler.exchanges[0]
    exchange.start(200, b"content-type: text/event-stream\r\n")
    pieces = [b"a", b"b" * 100, b"", b"c" * 20_000]
    for piece in pieces:
        exchange.write(piece)
    (answer,) = client.answers
    assert not answer.whole
    exchange.end()
    (answer,) = client.answers
    assert answer.whole
    assert answer.body == b"".join(pieces)
    assert answer.headers["transfer-encoding"] == "chunked"
    assert "content-length" not in answer.headers
    assert not client.has_ended
    await turns()


async def test_a_streamed_answer_to_http_1_0_ends_with_the_connection():
    """HTTP/1.0 knows no chunks, whatever keep-alive was asked."""
    head = request(b"GET /x HTTP/1.0", HOST, b"Connection: keep-alive")
    client, handler = await held(head)
    exchange = handler.exchanges[0]
    exchange.start(200, b"")
    exchange.write(b"ab")
    exchange.write(b"cd")
    exchange.end()
    (answer,) = client.answers
    assert answer.body == b"abcd"
    assert "transfer-encoding" not in answer.headers
    assert answer.headers["connection"] == "close"
    assert client.has_ended
    await turns()


async def test_http_1_0_keep_alive_is_confirmed():
    """An HTTP/1.0 client only believes a connection to stay that is said to."""
    client = await talk(Edge(), request(b"GET /x HTTP/1.0", HOST, b"Connection: keep-alive"), GET)
    assert client.answers[0].headers["connection"] == "keep-alive"
    assert len(client.answers) == 2


@pytest.mark.parametrize("streamed", [False, True])
async def test_a_head_answer_has_headers_and_no_body(streamed):
    """The length is the one that GET would have; the connection stays in step."""

    async def handler(exchange):
        if streamed and exchange.path == b"/x":
            exchange.start(200, b"x-own: 1\r\n")
            exchange.write(b"hello")
            exchange.end()
        else:
            exchange.answer(200, b"x-own: 1\r\n", b"hello")

    client = await talk(Edge(handler), request(b"HEAD /x HTTP/1.1", HOST), GOOD)
    first, second = read_answers(client.received, ["HEAD", "POST"])
    assert first.headers["x-own"] == "1"
    assert first.headers.get("content-length") == (None if streamed else "5")
    assert second.body == b"hello"


@pytest.mark.parametrize("status", [204, 304])
async def test_answers_that_have_no_body_by_definition_get_none(status):
    """204 and 304 carry neither a body nor a length."""

    async def handler(exchange):
        exchange.answer(status, b"", b"must not be sent")

    client = await talk(Edge(handler), GET, GET)
    assert [answer.status for answer in client.answers] == [status] * 2
    assert "content-length" not in client.answers[0].headers


async def test_an_aborted_stream_is_cut_and_what_was_written_before_is_sent():
    """No empty chunk, and the connection ends: the client knows that it is not whole."""
    client, handler = await held(GET)
    exchange = handler.exchanges[0]
    exchange.start(200, b"")
    exchange.write(b"data: error\n\n")
    exchange.abort()
    (answer,) = client.answers
    assert answer.body == b"data: error\n\n"
    assert not answer.whole
    assert client.has_ended
    await turns()


async def test_two_answers_to_one_request_are_a_fault_of_the_handler():
    """The second one raises and never reaches the wire."""
    client, handler = await held(GET)
    exchange = handler.exchanges[0]
    exchange.answer(200, b"", b"one")
    for second in (
        lambda: exchange.answer(200, b"", b"two"),
        lambda: exchange.start(200, b""),
        lambda: exchange.write(b"two"),
        exchange.end,
    ):
        with pytest.raises(RuntimeError):
            second()
    exchange.abort()  # nothing left to cut
    assert [answer.body for answer in client.answers] == [b"one"]
    assert not client.has_ended
    await turns()


# Faults of the handler


async def test_a_gateway_error_becomes_json_in_openais_shape():
    """Status, code, message and the lines that tell a client when to come again."""

    async def handler(exchange):
        raise RateLimited("Too many requests.", retry_after_s=1.2)

    client = await talk(Edge(handler), GET, GET)
    answer = client.answers[0]
    assert answer.status == 429
    assert json.loads(answer.body)["error"] == {
        "message": "Too many requests.",
        "type": "rate_limit_error",
        "param": None,
        "code": "rate_limit_exceeded",
    }
    assert answer.headers["retry-after"] == "2"
    assert len(client.answers) == 2


async def test_errors_say_what_else_is_allowed_and_whether_to_retry():
    """405 names the methods; `x-should-retry` follows the error."""

    async def handler(exchange):
        if exchange.method == b"GET":
            raise MethodNotAllowed("No.", allow="POST")
        raise Unauthenticated("No key.", reason="missing")

    client = await talk(Edge(handler), GET, GOOD)
    assert client.answers[0].headers["allow"] == "POST"
    assert client.answers[1].status == 401
    assert client.answers[1].headers["x-should-retry"] == "false"


async def test_any_other_exception_is_a_500_without_detail_and_is_reported():
    """What went wrong is for the operator, not for the client."""

    async def handler(exchange):
        raise ValueError("secret detail")

    edge = Edge(handler)
    client = await talk(edge, GET, GET)
    assert [answer.status for answer in client.answers] == [500, 500]
    assert client.answers[0].code == "internal_error"
    assert b"secret" not in client.received
    assert [str(error) for error in edge.errors] == ["secret detail"] * 2


@pytest.mark.parametrize("error", [ValueError("x"), RateLimited("x"), ClientGone()])
async def test_a_fault_after_the_head_of_a_stream_cuts_it(error):
    """A second status line cannot be sent; the cut is the message."""

    async def handler(exchange):
        exchange.start(200, b"")
        exchange.write(b"half")
        raise error

    client = await talk(Edge(handler), GET)
    (answer,) = client.answers
    assert (answer.status, answer.body, answer.whole) == (200, b"half", False)
    assert client.has_ended


@pytest.mark.parametrize("started", [False, True])
async def test_a_handler_that_returns_without_an_answer_is_a_fault(started):
    """500, or a cut when the head was sent; never silence."""

    async def handler(exchange):
        if started:
            exchange.start(200, b"")

    edge = Edge(handler)
    client = await talk(edge, GET)
    (answer,) = client.answers
    assert answer.status == (200 if started else 500)
    assert answer.whole != started
    assert len(edge.errors) == 1


async def test_a_cancelled_handler_answers_503():
    """A worker that stops tells its clients to come again."""
    client, handler = await held(GET)
    handler.exchanges[0].task.cancel()
    await turns()
    (answer,) = client.answers
    assert answer.status == 503
    assert answer.headers["retry-after"] == "1"


# Order


async def test_pipelined_requests_are_answered_in_order():
    """The second one waits although it came with the first."""
    order = []

    async def handler(exchange):
        order.append(exchange.path)
        for _ in range(3 if exchange.path == b"/1" else 0):
            await asyncio.sleep(0)
        exchange.answer(200, b"", exchange.path)

    sent = b"".join(request(b"GET /%d HTTP/1.1" % n, HOST) for n in range(1, 6))
    edge = Edge(handler)
    client = await talk(edge, sent)
    await edge.settle()
    paths = [b"/%d" % n for n in range(1, 6)]
    assert order == paths
    assert [answer.body for answer in client.answers] == paths


async def test_the_next_request_starts_only_after_the_answer_before_it():
    """While one is being answered, the next head is not even parsed."""
    _client, handler = await held(GET + GET)
    assert len(handler.exchanges) == 1
    handler.exchanges[0].start(200, b"")
    await turns()
    assert len(handler.exchanges) == 1
    handler.exchanges[0].end()
    await turns()
    assert len(handler.exchanges) == 2
    handler.exchanges[1].answer(200, b"", b"")
    await turns()


async def test_pipelined_input_is_bounded_by_not_reading():
    """Once a head's worth waits, the socket is left alone until the answer is out."""
    client, handler = await held(GET, max_header_bytes=1024)
    for _ in range(100):
        client.send(GET)
    assert not client.transport.is_reading
    assert client.unread_bytes > 50 * len(GET)
    assert len(client.connection._buffer) < 1024 + len(GET)
    while len(handler.exchanges) < 101 or not handler.exchanges[-1].is_answered:
        handler.exchanges[-1].answer(200, b"", b"")
        await turns()
        client._deliver()
        await turns()
    assert len(client.answers) == 101
    assert client.transport.is_reading


@pytest.mark.parametrize("asks", [True, False])
async def test_a_large_body_that_was_pipelined_is_read_on(asks):
    """Reading stopped while it waited; it goes on once its request is the present one."""
    body = b"z" * 60_000

    async def handler(exchange):
        if asks:
            await exchange.read_body(BODY_CAP)
        exchange.answer(200, b"", b"")

    sent = GET + request(b"POST /x HTTP/1.1", HOST, b"Content-Length: 60000", body=body)
    client = await talk(Edge(handler), sent[:40_000], sent[40_000:], GET)
    assert [answer.status for answer in client.answers] == [200, 200, 200]


def _requests(count_and_bodies: list[tuple[bytes, bool]]) -> bytes:
    sent = b""
    for number, (body, in_chunks) in enumerate(count_and_bodies):
        line = b"POST /%d HTTP/1.1" % number
        if in_chunks:
            half = len(body) // 2
            chunks = b"".join(
                b"%x\r\n%b\r\n" % (len(part), part) for part in (body[:half], body[half:]) if part
            )
            sent += request(line, HOST, b"Transfer-Encoding: chunked", body=chunks + b"0\r\n\r\n")
        else:
            sent += request(line, HOST, b"Content-Length: %d" % len(body), body=body)
    return sent


@settings(max_examples=150, deadline=None)
@given(
    bodies=st.lists(st.tuples(st.binary(max_size=60), st.booleans()), min_size=1, max_size=4),
    cuts=st.lists(st.integers(min_value=0, max_value=1000), max_size=8),
)
def test_any_split_of_pipelined_requests_gives_the_same_requests(bodies, cuts):
    """Where packets end means nothing."""
    sent = _requests(bodies)
    places = sorted({cut % (len(sent) + 1) for cut in cuts} | {0, len(sent)})
    pieces = [sent[a:b] for a, b in itertools.pairwise(places)]

    async def run():
        edge = Edge()
        client = await talk(edge, *pieces)
        expected = [(b"/%d" % n, body) for n, (body, _) in enumerate(bodies)]
        assert [(seen.path, seen.body) for seen in edge.seen] == expected
        assert [answer.body for answer in client.answers] == [body for body, _ in bodies]
        assert not client.has_ended

    asyncio.run(run())


# Bodies


async def test_a_small_body_is_there_when_the_handler_starts():
    """The common case needs no waiting: head and body came in one packet."""
    _client, handler = await held(GOOD)
    assert handler.exchanges[0].body == b"good"
    handler.exchanges[0].answer(200, b"", b"")
    await turns()


async def test_a_body_in_the_next_packet_of_the_same_turn_is_there_too():
    """The handler starts after the loop has delivered what had already arrived."""
    handler = Held()
    client = Edge(handler).connect()
    client.send(GOOD[:-4])
    client.send(GOOD[-4:])
    await turns()
    assert handler.exchanges[0].body == b"good"
    handler.exchanges[0].answer(200, b"", b"")
    await turns()


POST_2 = request(b"POST /x HTTP/1.1", HOST, b"Expect: 100-continue", b"Content-Length: 2")


async def test_continue_is_sent_only_when_the_handler_wants_the_body():
    """A client that waits learns at once when its request is refused."""
    client, handler = await held(POST_2)
    assert client.received == b""
    reading = asyncio.ensure_future(handler.exchanges[0].read_body(100))
    await turns()
    assert client.received == b"HTTP/1.1 100 Continue\r\n\r\n"
    client.send(b"ab")
    assert await reading == b"ab"
    handler.exchanges[0].answer(200, b"", b"")
    await turns()
    assert [answer.status for answer in client.answers] == [100, 200]
    assert not client.has_ended


async def test_no_continue_after_an_answer_and_the_connection_ends():
    """Whether the client still sends its body is unknown, so nothing can follow."""
    client, handler = await held(POST_2)
    handler.exchanges[0].answer(401, b"", b"")
    await turns()
    assert [answer.status for answer in client.answers] == [401]
    assert client.has_ended
    client.send(b"ab" + GOOD)
    await turns()
    assert len(handler.exchanges) == 1


async def test_a_small_body_refused_early_is_thrown_away_and_the_connection_stays():
    """A client over its limit keeps its connection, even if its body comes later."""
    client, handler = await held(
        request(b"POST /x HTTP/1.1", HOST, b"Content-Length: 10", body=b"01234")
    )
    handler.exchanges[0].answer(429, b"", b"")
    await turns()
    assert not client.has_ended
    client.send(b"56789" + GET)
    await turns()
    assert len(handler.exchanges) == 2
    assert handler.exchanges[1].body == b""
    handler.exchanges[1].answer(200, b"", b"")
    await turns()
    assert [answer.status for answer in client.answers] == [429, 200]


@pytest.mark.parametrize("framing", [b"Content-Length: 1000000", b"Transfer-Encoding: chunked"])
async def test_a_large_or_unannounced_body_refused_early_ends_the_connection(framing):
    """Reading on to throw away would be work for someone who was refused."""
    client, handler = await held(request(b"POST /x HTTP/1.1", HOST, framing))
    handler.exchanges[0].answer(401, b"", b"")
    await turns()
    assert client.answers[0].headers["connection"] == "close"
    assert client.has_ended


@pytest.mark.parametrize("in_chunks", [False, True])
async def test_before_the_body_is_wanted_only_the_small_cap_is_buffered(in_chunks):
    """A caller without a key cannot make the gateway hold a large body."""
    size = 1024 * 1024
    framing = b"Transfer-Encoding: chunked" if in_chunks else b"Content-Length: %d" % size
    start = b"%x\r\n" % size if in_chunks else b""
    client, handler = await held(
        request(b"POST /x HTTP/1.1", HOST, framing, body=start), max_body_before_auth_bytes=8192
    )
    for _ in range(size // 1024):
        client.send(b"z" * 1024)
    assert len(client.connection._body.data) <= 8192 + 1024
    assert client.unread_bytes > size - 16_384
    reading = asyncio.ensure_future(handler.exchanges[0].read_body(BODY_CAP))
    await turns()
    if in_chunks:
        client.send(b"\r\n0\r\n\r\n")
    client._deliver()
    assert await reading == b"z" * size
    handler.exchanges[0].answer(200, b"", b"")
    await turns()


@pytest.mark.parametrize(
    "sent",
    [
        request(b"POST /x HTTP/1.1", HOST, b"Content-Length: 11", body=b"01234567890"),
        request(b"POST /x HTTP/1.1", HOST, b"Content-Length: 11"),
        request(b"POST /x HTTP/1.1", HOST, b"Transfer-Encoding: chunked", body=b"b\r\n01234567890"),
        request(
            b"POST /x HTTP/1.1",
            HOST,
            b"Transfer-Encoding: chunked",
            body=b"b\r\n01234567890\r\n0\r\n\r\n",
        ),
    ],
    ids=["whole", "announced", "chunk", "whole chunks"],
)
async def test_a_body_over_the_endpoints_own_cap_is_413(sent):
    """`read_body` holds what it is asked to, below the cap of the edge."""

    async def handler(exchange):
        await exchange.read_body(10)

    client = await talk(Edge(handler), sent)
    (answer,) = client.answers
    assert (answer.status, answer.code) == (413, BodyTooLarge.code)


async def test_chunks_count_together_against_the_edges_cap():
    """Each is small; the one that passes the cap is refused by its size line."""
    edge = Edge(max_body_bytes=10)
    head = request(b"POST /x HTTP/1.1", HOST, b"Transfer-Encoding: chunked")
    client = await talk(edge, head + b"5\r\n01234\r\n5\r\n56789\r\n0\r\n\r\n")
    assert client.answers[0].body == b"0123456789"
    client = await talk(edge, head + b"5\r\n01234\r\n6\r\n")
    assert client.answers[0].code == "body_too_large"


async def test_a_flood_of_tiny_chunks_lets_the_loop_turn():
    """40,000 chunks of one byte in one packet are decoded in slices."""
    edge = Edge()
    body = b"1\r\nz\r\n" * 40_000 + b"0\r\n\r\n"
    turns_seen = 0

    async def count_turns():
        nonlocal turns_seen
        while not edge.seen:
            turns_seen += 1
            await asyncio.sleep(0)

    client = edge.connect()
    counting = asyncio.ensure_future(count_turns())
    client.send(request(b"POST /x HTTP/1.1", HOST, b"Transfer-Encoding: chunked", body=body))
    await asyncio.wait_for(counting, 10)
    await edge.settle()
    assert turns_seen >= 15
    assert edge.seen[0].body == b"z" * 40_000
    client.send(GET)
    await client.settle()
    assert len(client.answers) == 2


# Headers


async def test_headers_are_lower_case_and_lists_are_joined():
    """Cookies with a semicolon, lists with a comma, in order."""
    edge = Edge()
    await talk(
        edge,
        request(b"GET /x HTTP/1.1", HOST, b"Accept: a", b"ACCEPT:b", b"Cookie: c", b"cookie: d"),
    )
    headers = edge.seen[0].headers
    assert headers[b"accept"] == b"a, b"
    assert headers[b"cookie"] == b"c; d"


async def test_the_target_is_split_at_its_first_question_mark():
    """Path and query as sent, of the absolute form too."""
    edge = Edge()
    await talk(edge, request(b"GET /a%2fb?c=d?e HTTP/1.1", HOST))
    await talk(edge, request(b"GET http://gate.test/p?q HTTP/1.1", HOST))
    await talk(edge, request(b"GET http://gate.test?q HTTP/1.1", HOST))
    seen = [(each.path, each.query) for each in edge.seen]
    assert seen == [(b"/a%2fb", b"c=d?e"), (b"/p", b"q"), (b"/", b"q")]


async def test_equal_heads_share_a_memo_and_lengths_do_not():
    """The body's length is read each time; another header's value never stands in for it."""
    client, handler = await held()
    for length in (1, 2, 30):
        body = b"z" * length
        client.send(request(b"POST /x HTTP/1.1", HOST, b"Content-Length: %d" % length, body=body))
        await turns()
        assert handler.exchanges[-1].body == body
        handler.exchanges[-1].answer(200, b"", b"")
        await turns()
    assert len({id(exchange.memo) for exchange in handler.exchanges}) == 1
    for value in (b"", b"7", b"8"):
        client.send(request(b"GET /x HTTP/1.1", HOST, b"X-Strength: " + value))
        await turns()
        assert handler.exchanges[-1].headers[b"x-strength"] == value
        handler.exchanges[-1].answer(200, b"", b"")
        await turns()


async def test_a_known_head_does_not_excuse_what_is_cut_out_of_it():
    """A head that was good once is not good with a control character or another length."""
    edge = Edge()
    good = request(b"POST /x HTTP/1.1", HOST, b"Content-Length: 1", body=b"z")
    empty = request(b"GET /x HTTP/1.1", HOST, b"X-Strength: ")
    await talk(edge, good, empty)
    for sent, code in (
        (good.replace(b"th: 1", b"th: +1"), "length_grammar"),
        (good.replace(b"th: 1", b"th: 1\nX: y"), "bare_lf"),
        (good.replace(b"th: 1", b"th: 9999999"), "body_too_large"),
        (good.replace(b"th: 1", b"th: " + b"0" * 19 + b"1"), "body_too_large"),
        (empty.replace(b"ength: ", b"ength: \x00"), "header_control"),
        (empty.replace(b"ength: ", b"ength: a\nTransfer-Encoding: chunked"), "bare_lf"),
    ):
        client = await talk(edge, sent)
        assert client.answers[0].code == code


async def test_caps_can_be_raised_for_open_connections():
    """A reload is in force with the next request."""
    edge = Edge(max_headers=2)
    client = edge.connect()
    client.send(request(b"GET /x HTTP/1.1", HOST, b"A: b"))
    await client.settle()
    edge.server.configure(type(edge.server.caps)(max_headers=1))
    client.send(request(b"GET /x HTTP/1.1", HOST, b"A: b"))
    await client.settle()
    assert [answer.status for answer in client.answers] == [200, 431]


# Back-pressure


async def test_a_slow_client_pauses_the_producer_and_lets_it_go_on():
    """`client_slow` above the high-water mark, `client_ready` below the low one."""
    client, handler = await held(GET)
    exchange = handler.exchanges[0]
    watcher = exchange.watcher = Watcher()
    exchange.start(200, b"")
    client.transport.stuck = True
    while not watcher.heard:
        exchange.write(b"z" * 4096)
    assert watcher.heard == ["slow"]
    assert (
        HIGH_WATER_BYTES < len(client.transport.unsent) < HIGH_WATER_BYTES + MAX_UNSENT_BYTES + 5000
    )
    client.transport.read_on(1000)
    assert watcher.heard == ["slow"]
    client.transport.read_on()
    assert watcher.heard == ["slow", "ready"]
    exchange.end()
    await turns()


async def test_a_watcher_that_comes_late_is_told_what_has_happened():
    """Neither a slow nor a vanished client goes unnoticed by a race."""
    client, handler = await held(GET)
    exchange = handler.exchanges[0]
    exchange.start(200, b"")
    client.transport.stuck = True
    exchange.write(b"z" * (HIGH_WATER_BYTES + 1))
    slow = exchange.watcher = Watcher()
    await turns()
    assert slow.heard == ["slow"]
    exchange.watcher = None
    client.vanish()
    await turns()
    gone = exchange.watcher = Watcher()
    await turns()
    assert gone.heard == ["gone"]
    assert slow.heard == ["slow"]


async def test_a_client_that_reads_no_answers_gets_no_further_requests_served():
    """Pipelining without reading does not grow the write buffer without end."""

    async def handler(exchange):
        exchange.answer(200, b"", b"z" * 50_000)

    edge = Edge(handler)
    client = edge.connect()
    client.transport.stuck = True
    client.send(GET * 100)
    await client.settle()
    assert edge.server.requests_total <= HIGH_WATER_BYTES // 50_000 + 1
    client.transport.read_on()
    await client.settle()
    assert len(client.answers) == 100


# Clients that leave


async def test_a_client_that_vanishes_is_told_to_the_watcher_once():
    """And everything written afterwards goes nowhere, quietly."""
    client, handler = await held(GET)
    exchange = handler.exchanges[0]
    watcher = exchange.watcher = Watcher()
    exchange.start(200, b"")
    client.vanish()
    await turns()
    assert watcher.heard == ["gone"]
    assert exchange.disconnected
    exchange.write(b"x")
    exchange.end()
    assert not client.edge.server.connections
    await turns()
    assert not client.edge.server.running


async def test_a_client_that_vanishes_in_its_body_ends_the_wait():
    """`read_body` raises ClientGone, at once or when it is called."""
    client, handler = await held(request(b"POST /x HTTP/1.1", HOST, b"Content-Length: 9"))
    reading = asyncio.ensure_future(handler.exchanges[0].read_body(100))
    await turns()
    client.vanish()
    with pytest.raises(ClientGone):
        await reading
    with pytest.raises(ClientGone):
        await handler.exchanges[0].read_body(100)
    await turns()
    assert client.edge.errors == []


async def test_a_watcher_that_raises_harms_nobody():
    """Its exception is reported."""
    client, handler = await held(GET)

    class Broken(Watcher):
        def client_gone(self):
            raise ValueError("broken watcher")

    handler.exchanges[0].watcher = Broken()
    client.vanish()
    await turns()
    assert [str(error) for error in client.edge.errors] == ["broken watcher"]


async def test_nothing_is_left_of_a_connection_that_has_ended():
    """No connection, exchange or timer stays behind, whatever way it ended."""
    edge = Edge()
    for sent in (GET, GET_1_0, b"garbage\r\n", GOOD[:-1], POST_2, GET[:-1], GET * 3):
        client = await talk(edge, sent)
        client.vanish()
        await edge.settle()
    assert not edge.server.connections
    assert not edge.server.running
    assert not edge.sweep._members


# Refusals


async def test_a_refusal_is_counted_and_told():
    """The wiring makes metrics and a log line of it."""
    edge = Edge()
    await talk(edge, b"nonsense\r\n\r\n")
    assert edge.refusals == [("not_http", 400)]
    assert edge.server.refused_total == 1
    assert edge.server.requests_total == 0


async def test_after_a_refusal_input_is_thrown_away_and_the_end_closes():
    """Lingering: the client can read its answer; nothing that it sends is kept."""
    edge = Edge()
    client = await talk(edge, b"nonsense\r\n\r\n")
    assert client.transport.ended
    assert not client.transport.closed
    for _ in range(100):
        client.send(GOOD * 100)
    await client.settle()
    assert edge.seen == []
    assert client.connection._buffer == b""
    client.end_sending()
    assert client.transport.closed


# Who the client is

PROXIES = ("10.0.0.0/8", "2001:db8::/32")


@pytest.mark.parametrize(
    ("peer", "forwarded", "expected"),
    [
        ("10.1.1.1", (), "10.1.1.1"),
        ("10.1.1.1", (b"203.0.113.7",), "203.0.113.7"),
        ("10.1.1.1", (b"1.1.1.1, 203.0.113.7",), "203.0.113.7"),
        ("10.1.1.1", (b"203.0.113.7, 10.2.2.2",), "203.0.113.7"),
        ("10.1.1.1", (b"1.1.1.1", b"203.0.113.7"), "203.0.113.7"),
        ("10.1.1.1", (b"203.0.113.7:5000",), "203.0.113.7"),
        ("10.1.1.1", (b"[2001:db9::7]:5000",), "2001:db9::7"),
        ("10.1.1.1", (b"2001:db9::7",), "2001:db9::7"),
        ("10.1.1.1", (b"::ffff:203.0.113.7",), "203.0.113.7"),
        ("10.1.1.1", (b"10.3.3.3, 10.2.2.2",), "10.3.3.3"),
        ("10.1.1.1", (b"203.0.113.7, nonsense",), "10.1.1.1"),
        ("10.1.1.1", (b"nonsense, 10.2.2.2",), "10.2.2.2"),
        ("10.1.1.1", (b"",), "10.1.1.1"),
        ("10.1.1.1", (b"unknown, ,,",), "10.1.1.1"),
        ("2001:db8::1", (b"203.0.113.7",), "203.0.113.7"),
        ("192.0.2.1", (b"203.0.113.7",), "192.0.2.1"),
        ("192.0.2.1", (b"10.1.1.1",), "192.0.2.1"),
        ("", (b"203.0.113.7",), ""),
    ],
)
async def test_forwarded_addresses_count_only_from_trusted_proxies(peer, forwarded, expected):
    """The right-most address that is no trusted proxy's; what stands left of it proves nothing."""
    seen = []

    async def handler(exchange):
        seen.append(exchange.client_ip)
        exchange.answer(200, b"", b"")

    edge = Edge(handler, trusted_proxies=PROXIES)
    client = edge.connect(peer)
    lines = [b"X-Forwarded-For: " + value for value in forwarded]
    client.send(request(b"GET /x HTTP/1.1", HOST, *lines))
    await client.settle()
    assert seen == [expected]


def test_a_trusted_proxy_that_is_no_network_is_refused():
    """A typing error in the configuration must not trust everybody, or nobody."""
    with pytest.raises(ValueError, match=r"10\.0\.0"):
        TrustedProxies(("10.0.0",))
