"""The look at all idle connections at once sees each that may not be used."""

from __future__ import annotations

import asyncio
import resource
import socket
import struct
from collections.abc import Callable, Iterator

import pytest
from tests.upstream.misbehaving import Peer, Upstream, fetch, head_for, ok, until

from tidegate.upstream.idle_watch import IdleWatch
from tidegate.upstream.pool import UpstreamPool
from tidegate.upstream.reply import Reply

MakePool = Callable[..., UpstreamPool]
Pairs = Callable[[], tuple[socket.socket, socket.socket]]


@pytest.fixture
def pair() -> Iterator[Pairs]:
    """Connect sockets: ours, and the provider's."""
    made: list[socket.socket] = []
    listener = socket.create_server(("127.0.0.1", 0), backlog=64)

    def connect() -> tuple[socket.socket, socket.socket]:
        ours = socket.create_connection(listener.getsockname())
        theirs, _ = listener.accept()
        made.extend((ours, theirs))
        return ours, theirs

    yield connect
    for sock in (*made, listener):
        sock.close()


def reset(sock: socket.socket) -> None:
    """Close with a RST."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


ACTS: dict[str, Callable[[socket.socket], object]] = {
    "speaks": lambda sock: sock.send(b"x"),
    "closes": lambda sock: sock.close(),
    "resets": reset,
    "ends its side": lambda sock: sock.shutdown(socket.SHUT_WR),
}


@pytest.mark.parametrize("name", ACTS)
def test_a_connection_that_is_not_silent_is_told_of_at_every_look(pair: Pairs, name: str) -> None:
    """And the silent ones beside it are not."""
    watch = IdleWatch()
    (good, _), (bad, theirs) = pair(), pair()
    numbers = watch.add(good), watch.add(bad)
    assert not set(numbers) & set(watch.look())
    ACTS[name](theirs)
    for _ in range(3):
        assert [number in watch.look() for number in numbers] == [False, True]


def test_what_was_read_makes_a_connection_silent_again(pair: Pairs) -> None:
    """A connection whose answer was taken may carry the next request."""
    watch = IdleWatch()
    ours, theirs = pair()
    number = watch.add(ours)
    theirs.send(b"answer")
    assert number in watch.look()
    assert ours.recv(100) == b"answer"
    assert number not in watch.look()


def test_a_connection_that_was_discarded_is_not_told_of(pair: Pairs) -> None:
    """Twice is the same as once, and an unknown number harms nothing."""
    watch = IdleWatch()
    ours, theirs = pair()
    number = watch.add(ours)
    theirs.send(b"x")
    watch.discard(number)
    watch.discard(number)
    watch.discard(9_999)
    watch.discard(-1)
    assert number not in watch.look()


def test_a_number_that_is_used_again_is_watched_for_its_new_connection(pair: Pairs) -> None:
    """What its former one has done means nothing."""
    watch = IdleWatch()
    ours, theirs = pair()
    number = watch.add(ours)
    theirs.send(b"x")
    watch.discard(number)
    ours.close()
    held = []
    while True:
        again, others = pair()
        if again.fileno() == number:
            break
        held.append(again)
        assert len(held) < 100
    assert watch.add(again) == number
    assert number not in watch.look()
    others.send(b"y")
    assert number in watch.look()


def test_however_many_speak_at_once_none_is_overlooked() -> None:
    """One that was passed over in the crowd could be given a request."""
    count = 1_500
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < 2 * count + 200:
        pytest.skip(f"only {soft} descriptors")
    watch = IdleWatch()
    pairs = [socket.socketpair() for _ in range(count)]
    try:
        numbers = {watch.add(ours) for ours, _ in pairs}
        for _, theirs in pairs:
            theirs.send(b"x")
        told = watch.look()
        assert {number for number in numbers if number in told} == numbers
    finally:
        for ours, theirs in pairs:
            ours.close()
            theirs.close()


# What a pool makes of it


def start(pool: UpstreamPool, watch: IdleWatch, body: bytes = b"") -> Reply | None:
    """Send a request on a free connection, if there is one."""
    connection = pool.take(watch.look())
    if connection is None:
        return None
    now = asyncio.get_running_loop().time()
    return pool.start(connection, head_for(body), body, now, now + 20)


async def answer_of(reply: Reply | None) -> bytes:
    """Return the body of an answer that must come."""
    assert reply is not None
    await reply.wait_for_head()
    return await reply.read(1 << 20)


async def test_a_pool_gives_out_each_free_connection_once(
    upstream: Upstream, make_pool: MakePool
) -> None:
    """None while there is none; one that came back without a request may be taken again."""
    watch = IdleWatch()
    pool = make_pool(upstream, watch=watch)
    assert start(pool, watch) is None
    await asyncio.gather(*(fetch(pool) for _ in range(3)))
    assert pool.idle_connections == 3
    taken = [pool.take(watch.look()) for _ in range(4)]
    assert taken[3] is None
    assert len({id(connection) for connection in taken}) == 4
    for connection in taken[:3]:
        assert connection is not None
        pool.release(connection)
    replies = [start(pool, watch, b"%d" % number) for number in range(3)]
    assert [await answer_of(reply) for reply in replies] == [b"0", b"1", b"2"]
    assert upstream.connections == 3


async def test_a_pool_without_a_watch_gives_out_nothing(
    upstream: Upstream, make_pool: MakePool
) -> None:
    """It could not know who has spoken."""
    pool = make_pool(upstream)
    await fetch(pool)
    assert pool.take(()) is None
    assert pool.idle_connections == 1


@pytest.mark.parametrize("name", ACTS)
async def test_a_connection_that_is_not_silent_is_closed_and_not_given_out(
    upstream: Upstream, make_pool: MakePool, name: str
) -> None:
    """Its place is free for a new one; the good one below it is given out."""
    socks: list[socket.socket] = []

    async def script(peer: Peer) -> None:
        while (request := await peer.request()) is not None:
            await peer.send(ok(request[1]))
            if peer.number < 2:
                socks.append(peer.sock)
                await asyncio.Event().wait()

    upstream.script = script
    watch = IdleWatch()
    pool = make_pool(upstream, watch=watch)
    await asyncio.gather(*(fetch(pool) for _ in range(3)))
    assert len(socks) == 2
    for sock in socks:
        ACTS[name](sock)
    assert await answer_of(start(pool, watch, b"good")) == b"good"
    taken = pool.take(watch.look())
    assert taken is not None
    assert pool.take(watch.look()) is None
    pool.release(taken)
    await until(lambda: pool.open_connections == 1)
    assert upstream.connections == 3


async def test_a_connection_that_goes_is_forgotten_by_the_watch(
    upstream: Upstream, make_pool: MakePool
) -> None:
    """However often connections come and go, none of the old is told of in place of a new one."""
    watch = IdleWatch()
    for _ in range(30):
        pool = make_pool(upstream, watch=watch)
        await asyncio.gather(*(fetch(pool) for _ in range(4)))
        reply = start(pool, watch, b"one")
        assert reply is not None
        reply.cancel()
        assert await answer_of(start(pool, watch, b"two")) == b"two"
        pool.close()
        await until(lambda pool=pool: pool.open_connections == 0)  # type: ignore[misc]
        assert not watch.look()
