"""A head that was seen before saves time, and changes nothing: the same bytes in, the same out.

Each test does the same on a connection that has sent its head often enough to be known, and on
one whose server never saw it.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.edge.cases import CASES
from tests.edge.wire import BODY_CAP, Client, Edge, Seen, read_answers

from tidegate.edge.exchange import Exchange

LAST = b"POST /good HTTP/1.1\r\nHost: gate.test\r\nContent-Length: %d\r\n\r\n"
AMONG = (
    b"POST /good?a=b HTTP/1.1\r\nHost: gate.test\r\ncontent-length: %d\r\n"
    b"Authorization: Bearer k\r\nX-Strength: 7\r\n\r\n"
)
AFTER_ITS_LIKE = (
    b"POST /x HTTP/1.1\r\nHost: gate.test\r\nX-Strength: 4\r\nContent-Length: %d\r\n\r\n"
)
SHAPES = {"last": LAST, "among others": AMONG, "after one that ends alike": AFTER_ITS_LIKE}
TIMES = 3
"""Requests after which a connection's head is known: parsed, found again, and expected."""

Play = Callable[[Client], Awaitable[None]]


class Outcome(msgspec.Struct):
    """What became of what a client did.

    Attributes:
        sent: What it was sent, but for dates and ids.
        has_ended: Whether it saw the end.
        seen: What the handler was given.
        refusals: Rules that were broken.
        errors: What nobody expected.
    """

    sent: bytes
    has_ended: bool
    seen: list[Seen]
    refusals: list[tuple[str, int]]
    errors: list[str]


def good(shape: bytes, body: bytes = b"good") -> bytes:
    """Return a request of *shape*."""
    return shape % len(body) + body


async def outcome(play: Play, before: bytes = b"", **caps: Any) -> Outcome:
    """Let a client *play*, after it has sent *before* so often that its head is known."""
    edge = Edge(**caps)
    client = edge.connect()
    for _ in range(TIMES if before else 0):
        client.send(before)
        await client.settle()
        assert not client.has_ended
    received, seen = len(client.received), len(edge.seen)
    await play(client)
    await client.settle()
    return Outcome(
        sent=without_times(client.received[received:]),
        has_ended=client.has_ended,
        seen=edge.seen[seen:],
        refusals=edge.refusals,
        errors=[repr(error) for error in edge.errors],
    )


def without_times(data: bytes) -> bytes:
    """Leave out dates and ids."""
    return re.sub(rb"(date|x-request-id): [^\r]*\r\n", rb"\1: x\r\n", data)


def sends(*pieces: bytes) -> Play:
    """Send *pieces* one after the other, the loop turning in between."""

    async def play(client: Client) -> None:
        for piece in pieces:
            if not client.has_ended:
                client.send(piece)
                await client.settle()

    return play


async def assert_alike(play: Play, before: bytes, **caps: Any) -> Outcome:
    """*play* comes out the same whether the head is known or not."""
    known = await outcome(play, before, **caps)
    assert known == await outcome(play, **caps)
    assert known.errors == []
    return known


# Lengths


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
async def test_a_known_head_may_announce_any_length(shape: bytes) -> None:
    """What it announced before means nothing for the body that comes now."""
    for size in (0, 1, 3, 4, 5, 9, 10, 99, 100, 5_000):
        body = b"x" * size
        done = await assert_alike(sends(good(shape, body)), good(shape))
        assert [each.body for each in done.seen] == [body]


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
async def test_a_body_of_another_length_than_announced_is_waited_for_or_begins_the_next(
    shape: bytes,
) -> None:
    """Too little is no request yet; too much belongs to the one behind it."""
    for body in (b"", b"goo", b"good!", b"goodPOST", b"good\r\n"):
        await assert_alike(sends(shape % 4 + body), good(shape))
        await assert_alike(sends(shape % 4 + body, b"d" + good(shape)), good(shape))


@pytest.mark.parametrize(
    "digits",
    [
        b"004",
        b"+4",
        b"-4",
        b"4 ",
        b" 4",
        b"4\t",
        b"0x4",
        b"4,4",
        b"4_0",
        b"",
        b"4.0",
        b"4e0",
        b"\xd9\xa4",
        b"\xb2",
        b"0" * 17 + b"4",
        b"0" * 18 + b"4",
        b"0" * 30 + b"4",
        b"9" * 18,
        b"9" * 19,
        b"4\r\ncontent-length: 4",
        b"4\r\ntransfer-encoding: chunked",
        b"4\r",
        b"4\n",
    ],
)
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
async def test_a_length_is_read_by_the_same_rule_behind_a_known_head(
    shape: bytes, digits: bytes
) -> None:
    """What is no length, or too long a one, is refused as in a head that is new."""
    data = shape.replace(b"%d", digits) + b"good"
    await assert_alike(sends(data), good(shape))
    await assert_alike(sends(data + good(shape)), good(shape))


async def test_a_body_over_the_cap_is_refused_behind_a_known_head() -> None:
    """To the byte."""
    for size, status in ((10, 200), (11, 413)):
        done = await assert_alike(sends(good(LAST, b"x" * size)), good(LAST), max_body_bytes=10)
        assert [answer.status for answer in read_answers(done.sent)] == [status]


# One byte


@pytest.mark.parametrize("shape", [LAST, AMONG], ids=["last", "among others"])
async def test_a_head_that_differs_in_one_byte_is_another_head(shape: bytes) -> None:
    """Whatever the byte and wherever it stands; nothing of the known one is taken for it."""
    data = good(shape)
    for at in range(len(data) - 4):
        for other in (b"!", b"a", b"\r", b"\n", b" ", b":", b"0"):
            if data[at : at + 1] != other:
                await assert_alike(sends(data[:at] + other + data[at + 1 :]), data)


@pytest.mark.parametrize("shape", [LAST, AMONG], ids=["last", "among others"])
async def test_a_head_that_lacks_a_byte_or_has_one_twice_is_another_head(shape: bytes) -> None:
    """A shorter or longer one is not taken for it either."""
    data = good(shape)
    for at in range(len(data)):
        await assert_alike(sends(data[:at] + data[at + 1 :]), data)
        await assert_alike(sends(data[:at] + data[at : at + 1] + data[at:]), data)


# Pieces


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
async def test_a_request_may_be_split_at_every_byte(shape: bytes) -> None:
    """Head or body: it is the same request, and so is the one behind it."""
    data = good(shape, b"other body")
    for at in range(1, len(data)):
        done = await assert_alike(sends(data[:at], data[at:] + good(shape)), good(shape))
        assert [each.body for each in done.seen] == [b"other body", b"good"]


@pytest.mark.parametrize("begun", [b"P", b"POST /go", b"\r", good(LAST)[:-6]])
async def test_what_looks_like_a_known_request_in_the_middle_of_a_head_is_part_of_it(
    begun: bytes,
) -> None:
    """A packet is not read for itself: it goes on where the one before ended."""
    await assert_alike(sends(begun, good(LAST)), good(LAST))
    await assert_alike(sends(good(LAST), begun, good(LAST)), good(LAST))


async def test_a_request_may_come_byte_by_byte() -> None:
    """And the next one whole."""
    data = good(AMONG, b"0123")
    pieces = [data[at : at + 1] for at in range(len(data))]
    done = await assert_alike(sends(*pieces, data, *pieces), good(AMONG))
    assert len(done.seen) == 3


@given(
    st.lists(
        st.sampled_from(
            [
                good(LAST),
                good(LAST, b""),
                good(LAST, b"longer body"),
                good(AMONG),
                b"GET /y HTTP/1.1\r\nHost: gate.test\r\n\r\n",
                b"\r\n" + good(LAST),
            ]
        ),
        min_size=1,
        max_size=6,
    ),
    st.lists(st.integers(1, 150), max_size=12),
)
@settings(max_examples=150, deadline=None)
def test_any_requests_may_come_in_any_pieces(requests: list[bytes], sizes: list[int]) -> None:
    """Whatever packets the network makes of them, each is served once and in its order."""
    data = b"".join(requests)
    pieces = []
    for size in sizes:
        pieces.append(data[:size])
        data = data[size:]
    pieces = [piece for piece in (*pieces, data) if piece]

    async def check() -> None:
        done = await assert_alike(sends(*pieces), good(LAST))
        assert len(done.seen) == len(requests)

    asyncio.run(check())


@pytest.mark.parametrize("count", [2, 3, 7])
async def test_known_requests_in_one_packet_are_answered_in_their_order(count: int) -> None:
    """The one before has to be answered first."""
    bodies = [b"body %d" % number for number in range(count)]
    data = b"".join(good(LAST, body) for body in bodies)
    done = await assert_alike(sends(data, good(LAST)), good(LAST))
    assert [each.body for each in done.seen] == [*bodies, b"good"]


# Other requests


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
async def test_every_rule_of_the_edge_holds_behind_a_known_head(case: object) -> None:
    """What is refused on a new connection is refused on one that is known."""
    sent: bytes = case.sent  # type: ignore[attr-defined]
    await assert_alike(sends(sent, good(LAST)), good(LAST))
    await assert_alike(sends(good(LAST) + sent), good(LAST))


ODD = {
    "HEAD": b"HEAD /x HTTP/1.1\r\nHost: a\r\n\r\n",
    "HEAD with a length": b"HEAD /x HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\ngood",
    "GET": b"GET /x HTTP/1.1\r\nHost: a\r\n\r\n",
    "HTTP/1.0": b"POST /x HTTP/1.0\r\nHost: a\r\nContent-Length: 4\r\n\r\ngood",
    "HTTP/1.0 that stays": (
        b"POST /x HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\nContent-Length: 4\r\n\r\ngood"
    ),
    "close": b"POST /x HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 4\r\n\r\ngood",
    "keep-alive": (
        b"POST /x HTTP/1.1\r\nHost: a\r\nConnection: keep-alive\r\nContent-Length: 4\r\n\r\ngood"
    ),
    "expect": (
        b"POST /x HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\ngood"
    ),
    "chunked": (
        b"POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n4\r\ngood\r\n0\r\n\r\n"
    ),
    "no length": b"POST /x HTTP/1.1\r\nHost: a\r\n\r\n",
    "a length of nothing": b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n",
    "a blank line before it": b"\r\n" + good(LAST),
    "a long head": b"POST /x HTTP/1.1\r\nHost: a\r\nX: %b\r\nContent-Length: 4\r\n\r\ngood"
    % (b"x" * 5_000),
}


@pytest.mark.parametrize("name", ODD)
async def test_what_is_out_of_the_ordinary_is_served_as_that_each_time(name: str) -> None:
    """However often its head was seen: on one connection while it stays, and on new ones."""
    data = ODD[name]
    edge = Edge()
    outcomes = []
    for _ in range(3):
        client = edge.connect()
        for _ in range(TIMES + 1):
            seen, received = len(edge.seen), len(client.received)
            client.send(data)
            await client.settle()
            sent = without_times(client.received[received:])
            outcomes.append((sent, client.has_ended, edge.seen[seen:]))
            if client.has_ended:
                break
    assert all(each == outcomes[0] for each in outcomes)
    assert outcomes[0][0].startswith(b"HTTP/1.1 ")


@pytest.mark.parametrize("name", ODD)
async def test_what_is_out_of_the_ordinary_changes_nothing_for_a_known_head(name: str) -> None:
    """Before it, behind it, and in one packet with it."""
    known = good(LAST)
    await assert_alike(sends(ODD[name], known, known), known)
    await assert_alike(sends(ODD[name] + known + known), known)
    await assert_alike(sends(known + ODD[name]), known)


async def test_blank_lines_before_a_known_head_count_as_they_do_before_others() -> None:
    """One is let pass, whether it comes alone, in halves or with the request; two are not."""
    for pieces in (
        (b"\r\n", good(LAST)),
        (b"\r", b"\n" + good(LAST)),
        (b"\r\n" + good(LAST), b"\r\n", good(LAST)),
        (b"\r\n\r\n" + good(LAST),),
        (b"\r\n", b"\r\n", good(LAST)),
        (b"\n" + good(LAST),),
        (good(LAST) + b"\r\n", good(LAST)),
    ):
        await assert_alike(sends(*pieces), good(LAST))


# What changes meanwhile


async def test_a_smaller_cap_holds_for_the_next_request() -> None:
    """A head that was good under the old one does not bring its body past the new one."""

    async def play(client: Client) -> None:
        server = client.edge.server
        server.configure(msgspec.structs.replace(server.caps, max_body_bytes=3))
        client.send(good(LAST))

    done = await assert_alike(play, good(LAST))
    assert [rule for rule, _ in done.refusals] == ["body_too_large"]
    assert done.seen == []


@pytest.mark.parametrize(
    ("cap", "rule"),
    [
        ({"max_headers": 1}, "header_count"),
        ({"max_header_bytes": 40}, "header_bytes"),
        ({"max_target_bytes": 4}, "target_too_long"),
    ],
)
async def test_caps_on_heads_hold_for_a_head_that_was_good_before(
    cap: dict[str, int], rule: str
) -> None:
    """A new configuration reads every head anew."""

    async def play(client: Client) -> None:
        server = client.edge.server
        server.configure(msgspec.structs.replace(server.caps, **cap))
        client.send(good(LAST))

    done = await assert_alike(play, good(LAST))
    assert [name for name, _ in done.refusals] == [rule]
    assert done.seen == []


async def test_a_larger_cap_holds_for_the_next_request_too() -> None:
    """What was refused before is served."""

    async def play(client: Client) -> None:
        server = client.edge.server
        server.configure(msgspec.structs.replace(server.caps, max_body_bytes=1_000))
        client.send(good(LAST, b"x" * 900))

    done = await assert_alike(play, good(LAST), max_body_bytes=10)
    assert [len(each.body) for each in done.seen] == [900]


class Held:
    """A handler that answers when the test lets it.

    Attributes:
        waiting: Exchanges without an answer.
    """

    def __init__(self) -> None:
        self.waiting: list[Exchange] = []
        self.is_open = True

    async def __call__(self, exchange: Exchange) -> None:
        body = await exchange.read_body(BODY_CAP)
        self.waiting.append(exchange)
        while not self.is_open and not exchange.disconnected:
            await asyncio.sleep(0)
        self.waiting.remove(exchange)
        if not exchange.disconnected:
            exchange.answer(200, b"content-type: text/plain\r\n", body)


async def held(is_known: bool, data: bytes) -> tuple[Edge, Client, Held]:
    """Send *data*, whose head is known or not, to a handler that waits."""
    handler = Held()
    edge = Edge(handler)
    client = edge.connect()
    for _ in range(TIMES if is_known else 0):
        client.send(good(LAST))
        await client.settle()
    client.transport.sent.clear()
    handler.is_open = False
    client.send(data)
    while not handler.waiting:
        await asyncio.sleep(0)
    return edge, client, handler


@pytest.mark.parametrize("is_known", [True, False])
async def test_an_answer_that_a_drain_waits_for_ends_its_connection(is_known: bool) -> None:
    """It says `connection: close`; a request that came behind it is not served any more."""
    edge, client, handler = await held(is_known, good(LAST))
    draining = asyncio.ensure_future(edge.server.drain(5.0))
    await asyncio.sleep(0)
    handler.is_open = True
    assert await draining is True
    (answer,) = client.answers
    assert (answer.status, answer.headers["connection"]) == (200, "close")
    assert client.transport.closed


@pytest.mark.parametrize("is_known", [True, False])
async def test_an_answer_of_a_server_that_stops_ends_its_connection(is_known: bool) -> None:
    """The last words of a cancelled handler are followed by no other request."""
    edge, client, _ = await held(is_known, good(LAST))
    await edge.server.stop()
    (answer,) = client.answers
    assert (answer.status, answer.headers.get("connection")) == (503, "close")
    assert client.transport.closed


@pytest.mark.parametrize("is_known", [True, False])
async def test_a_drain_closes_a_connection_that_waits(is_known: bool) -> None:
    """And one that has not been used yet after a while."""
    edge = Edge()
    client = edge.connect()
    for _ in range(TIMES if is_known else 0):
        client.send(good(LAST))
        await client.settle()
    draining = asyncio.ensure_future(edge.server.drain(5.0))
    await edge.settle()
    if not is_known:
        assert not client.transport.closed
        client.send(good(LAST))
        await client.settle()
        (answer,) = client.answers
        assert answer.headers["connection"] == "close"
    assert client.transport.closed
    await edge.settle()
    assert await draining is True


@pytest.mark.parametrize("is_known", [True, False])
async def test_an_end_of_file_behind_a_request_lets_its_answer_come(is_known: bool) -> None:
    """Then the connection ends."""
    _, client, handler = await held(is_known, good(LAST))
    client.end_sending()
    assert not client.transport.closed
    handler.is_open = True
    await client.settle()
    assert [answer.status for answer in client.answers] == [200]
    assert client.transport.closed


@pytest.mark.parametrize("is_known", [True, False])
async def test_a_client_that_vanishes_is_told_of_to_whoever_serves_it(is_known: bool) -> None:
    """Its exchange is over, and its connection forgotten."""
    edge, client, handler = await held(is_known, good(LAST))
    client.vanish()
    await client.settle()
    assert handler.waiting == []
    assert not edge.server.connections
    assert not edge.server.running
    assert client.answers == []


async def test_a_slow_reader_is_waited_for_and_then_served_on() -> None:
    """What comes behind an answer that is not read waits, and its answer is the right one."""

    async def play(client: Client) -> None:
        client.transport.stuck = True
        client.send(good(LAST, b"a" * 400_000))
        await client.settle()
        client.send(good(LAST, b"b"))
        await client.settle()
        assert len(client.edge.seen) == (1 if not client.received else TIMES + 1)
        client.transport.read_on()
        await client.settle()
        client.send(good(LAST, b"c"))

    done = await assert_alike(play, good(LAST))
    assert [each.body[:1] for each in done.seen] == [b"a", b"b", b"c"]


async def test_answers_that_nobody_reads_stop_a_connection_that_is_known() -> None:
    """Small ones too: they add up, and what is kept for a client is bounded."""

    async def play(client: Client) -> None:
        client.transport.stuck = True
        for _ in range(200):
            client.send(good(LAST, b"x" * 4_000))
            await client.settle()
        assert len(client.transport.unsent) < 400_000
        assert client.unread_bytes or len(client.edge.seen) < 200
        client.transport.read_on()
        await client.settle()

    done = await assert_alike(play, good(LAST))
    assert len(done.seen) == 200


async def test_timers_run_on_for_a_connection_that_is_known() -> None:
    """It is closed when it is idle for too long, and refused when a head takes too long."""

    async def idle(client: Client) -> None:
        await client.edge.pass_time(4.0)
        client.send(good(LAST))
        await client.settle()
        await client.edge.pass_time(4.0)
        assert not client.has_ended
        await client.edge.pass_time(1.5)

    async def slow(client: Client) -> None:
        client.send(good(LAST))
        await client.settle()
        client.send(good(LAST)[:-10])
        await client.edge.pass_time(3.5)

    caps: dict[str, Any] = {"keep_alive_s": 5.0, "header_timeout_s": 3.0}
    edge_of_idle = await outcome(idle, good(LAST), **caps)
    assert edge_of_idle.has_ended
    assert len(edge_of_idle.seen) == 1
    done = await assert_alike(slow, good(LAST), **caps)
    assert done.refusals == [("header_timeout", 408)]


async def test_a_proxys_client_is_known_by_its_own_address() -> None:
    """A head that names it is read for it each time."""
    addresses: list[str] = []

    async def handler(exchange: Exchange) -> None:
        addresses.append(exchange.client_ip)
        exchange.answer(200, b"", await exchange.read_body(BODY_CAP))

    edge = Edge(handler, trusted_proxies=("192.0.2.1/32",))
    client = edge.connect()
    for number in (7, 7, 7, 7, 8, 7):
        head = b"POST / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 198.51.100.%d\r\n" % number
        client.send(head + b"Content-Length: 2\r\n\r\nhi")
        await client.settle()
    assert [address.rpartition(".")[2] for address in addresses] == list("777787")


async def test_every_request_is_counted_once_however_it_is_taken() -> None:
    """The server's figures are those of its clients."""
    edge = Edge()
    client = edge.connect()
    for _ in range(20):
        client.send(good(LAST))
        await client.settle()
    assert edge.server.requests_total == len(edge.seen) == len(client.answers) == 20
    assert not edge.server.running
