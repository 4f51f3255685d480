"""Which connection a request gets, and which it never gets again."""

import asyncio
import random

import pytest
from tests.upstream.misbehaving import Peer, fault_of, fetch, ok, send, until

from tidegate.upstream.answer import UpstreamFault

HTTP = b"HTTP/1.1 200 OK\r\n"


async def test_a_connection_is_used_again(upstream, make_pool):
    """Requests in a row share one connection, and reading does not suspend."""
    pool = make_pool(upstream)
    for number in range(50):
        body = b"%d" % number
        reply = await send(pool, body)
        reading = reply.read(100)
        with pytest.raises(StopIteration) as stopped:
            reading.send(None)
        assert stopped.value.value == body
    assert (upstream.connections, pool.connects, pool.open_connections) == (1, 1, 1)
    assert (pool.idle_connections, pool.connections_in_use, pool.waits) == (1, 0, 0)


async def test_the_connection_used_last_is_used_next(upstream, make_pool):
    """Of several idle connections only as many are kept warm as are needed."""
    seen: list[int] = []

    async def script(peer: Peer) -> None:
        while (request := await peer.request()) is not None:
            seen.append(peer.number)
            await peer.send(ok(request[1]))

    upstream.script = script
    pool = make_pool(upstream, keep_alive_s=0.3)
    await asyncio.gather(*(fetch(pool) for _ in range(5)))
    assert pool.idle_connections == 5
    seen.clear()
    while pool.idle_connections > 1:
        await fetch(pool)
        await asyncio.sleep(0.01)
    assert len(set(seen)) == 1


async def test_idle_connections_are_closed_in_time(upstream, make_pool):
    """After `keep_alive_s`, or sooner where the upstream announced less."""
    closed = 0

    async def script(peer: Peer) -> None:
        nonlocal closed
        while (request := await peer.request()) is not None:
            await peer.send(ok(request[1], b"Keep-Alive: max=5, timeout=2"))
        closed += 1

    upstream.script = script
    short = make_pool(upstream, keep_alive_s=0.05)
    await fetch(short)
    await until(lambda: closed == 1 and short.open_connections == 0)
    announced = make_pool(upstream, keep_alive_s=60)
    started = asyncio.get_running_loop().time()
    await fetch(announced)
    await until(lambda: closed == 2 and announced.open_connections == 0)
    assert asyncio.get_running_loop().time() - started >= 0.95


@pytest.mark.parametrize("pause_s", [None, 0.0, 0.02])
@pytest.mark.parametrize("how", ["close", "reset"])
async def test_a_connection_closed_while_idle_is_replaced_without_a_word(
    upstream, make_pool, how, pause_s
):
    """Whether or not the loop has seen the end, the next request goes out on a fresh one."""
    ended = asyncio.Event()

    async def script(peer: Peer) -> None:
        request = await peer.request()
        assert request is not None
        await peer.send(ok(request[1]))
        getattr(peer, how)()
        ended.set()

    upstream.script = script
    pool = make_pool(upstream)
    for number in range(40):
        ended.clear()
        assert await fetch(pool, b"%d" % number) == (200, b"%d" % number)
        await ended.wait()
        if pause_s is not None:
            await asyncio.sleep(pause_s / 10)
    assert upstream.connections == 40


async def test_a_request_lost_after_it_was_written_is_the_callers_decision(upstream, make_pool):
    """Written bytes may have been acted on: truncated, sent, not answered; never sent twice."""
    requests = 0

    async def script(peer: Peer) -> None:
        nonlocal requests
        while (request := await peer.request()) is not None:
            requests += 1
            if requests == 2:
                peer.reset()
                return
            await peer.send(ok(request[1]))

    upstream.script = script
    pool = make_pool(upstream)
    await fetch(pool)
    fault = await fault_of(fetch(pool))
    assert (fault.kind, fault.sent, fault.answered) == ("truncated", True, False)
    assert requests == 2
    assert pool.open_connections == 0


@pytest.mark.parametrize("delay_s", [None, 0.0, 0.001])
async def test_an_unrequested_answer_reaches_nobody(upstream, make_pool, delay_s):
    """In the same packet or late: the next request never receives it."""
    pushed = asyncio.Event()

    async def script(peer: Peer) -> None:
        while (request := await peer.request()) is not None:
            surplus = ok(b"for nobody")
            if delay_s is None:
                await peer.send(ok(request[1]) + surplus)
            else:
                await peer.send(ok(request[1]))
                if delay_s:
                    await asyncio.sleep(delay_s)
                await peer.send(surplus)
            pushed.set()

    upstream.script = script
    pool = make_pool(upstream)
    for number in range(300):
        pushed.clear()
        body = b"request %d" % number
        assert await fetch(pool, body) == (200, body)
        # From here on the surplus is in our socket; the loop may or may not have read it.
        await pushed.wait()
    assert upstream.connections == 300


async def test_requests_over_the_maximum_wait_in_order(upstream, make_pool):
    """No more connections than allowed, first come first served."""
    open_now = most = 0
    order: list[bytes] = []

    async def script(peer: Peer) -> None:
        nonlocal open_now, most
        open_now += 1
        most = max(most, open_now)
        while (request := await peer.request()) is not None:
            order.append(request[1])
            await asyncio.sleep(0.002)
            await peer.send(ok(request[1]))
        open_now -= 1

    upstream.script = script
    pool = make_pool(upstream, max_connections=1)
    bodies = [b"%d" % number for number in range(20)]
    answers = await asyncio.gather(*(fetch(pool, body) for body in bodies))
    assert [body for _, body in answers] == order == bodies
    assert (most, upstream.connections, pool.waits) == (1, 1, 19)


async def test_waiting_goes_on_when_connections_are_never_kept(upstream, make_pool):
    """A place that becomes free is as good as a connection, also if an upstream just closes."""

    async def script(peer: Peer) -> None:
        request = await peer.request()
        assert request is not None
        await peer.send(ok(request[1]))

    upstream.script = script
    pool = make_pool(upstream, max_connections=2)
    bodies = [b"%d" % number for number in range(30)]
    results = await asyncio.gather(*(fetch(pool, b) for b in bodies), return_exceptions=True)
    # A close that crosses a request on the wire cannot be told from one after it.
    for body, result in zip(bodies, results, strict=True):
        if isinstance(result, UpstreamFault):
            assert (result.kind, result.sent, result.answered) == ("truncated", True, False)
        else:
            assert result == (200, body)
    await until(lambda: pool.open_connections == 0)


async def test_a_full_pool_is_busy_at_the_deadline(upstream, make_pool):
    """The request leaves the line unsent; the one before it is not disturbed."""
    go = asyncio.Event()

    async def script(peer: Peer) -> None:
        while (request := await peer.request()) is not None:
            await go.wait()
            await peer.send(ok(request[1]))

    upstream.script = script
    pool = make_pool(upstream, max_connections=1)
    first = asyncio.ensure_future(fetch(pool, b"first"))
    await until(lambda: pool.connects == 1)
    cancelled = asyncio.ensure_future(fetch(pool, b"cancelled"))
    patient = asyncio.ensure_future(fetch(pool, b"patient"))
    fault = await fault_of(fetch(pool, b"hasty", total_s=0.05))
    assert (fault.kind, fault.sent, fault.answered) == ("busy", False, False)
    cancelled.cancel()
    go.set()
    assert await first == (200, b"first")
    assert await patient == (200, b"patient")
    assert upstream.connections == 1
    with pytest.raises(asyncio.CancelledError):
        await cancelled


async def test_what_a_cancelled_waiter_was_given_goes_to_the_next(upstream, make_pool):
    """Cancelled in the very step in which its turn came, it neither leaks nor blocks the place."""
    for closing in (False, True):

        async def script(peer: Peer, closing: bool = closing) -> None:
            while (request := await peer.request()) is not None:
                await peer.send(ok(request[1], b"connection: close" if closing else b"x: y"))

        upstream.script = script
        pool = make_pool(upstream, max_connections=1)
        reply = await send(pool, b"held")
        # The answer is whole, so the place is free; hold it by hand instead.
        await reply.read(100)
        blocker = await pool._acquire(asyncio.get_running_loop().time() + 5) if closing else None
        if blocker is None:
            blocker, _ = pool._idle.popitem()
        second = asyncio.ensure_future(fetch(pool, b"second"))
        third = asyncio.ensure_future(fetch(pool, b"third"))
        await until(lambda pool=pool: len(pool._waiters) == 2)
        if closing:
            blocker.discard()
        else:
            pool.release(blocker)
        second.cancel()
        assert await third == (200, b"third")
        with pytest.raises(asyncio.CancelledError):
            await second
        assert pool.connections_in_use == 0


async def test_a_closed_pool_drains(upstream, make_pool):
    """Idle ones close at once, a running answer ends well, and a late request is still served."""
    go = asyncio.Event()

    async def script(peer: Peer) -> None:
        while (request := await peer.request()) is not None:
            if request[1] == b"slow":
                await peer.send(HTTP + b"transfer-encoding: chunked\r\n\r\n")
                await go.wait()
                await peer.send(b"4\r\nslow\r\n0\r\n\r\n")
            else:
                await peer.send(ok(request[1]))

    upstream.script = script
    pool = make_pool(upstream)
    slow = await send(pool, b"slow")
    await fetch(pool, b"quick")
    assert (pool.idle_connections, pool.open_connections) == (1, 2)
    pool.close()
    assert (pool.idle_connections, pool.open_connections) == (0, 1)
    assert await fetch(pool, b"late") == (200, b"late")
    go.set()
    assert await slow.read(100) == b"slow"
    assert pool.open_connections == 0


async def test_a_connection_that_ends_as_it_is_made_is_a_connect_fault_or_truncated(
    upstream, make_pool
):
    """An upstream that accepts and resets never makes the pool miscount."""

    async def script(peer: Peer) -> None:
        peer.reset()

    upstream.script = script
    pool = make_pool(upstream, max_connections=3)
    for _ in range(50):
        fault = await fault_of(fetch(pool))
        assert fault.kind in ("connect", "truncated")
        assert fault.sent is (fault.kind == "truncated")
    assert pool.open_connections == 0


@pytest.mark.parametrize("seed", range(6))
async def test_no_request_receives_bytes_of_another(upstream, make_pool, seed):
    """Many requests at once, an upstream that errs at random: each answer has its own id."""
    chance = random.Random(seed)

    async def script(peer: Peer) -> None:
        while (request := await peer.request()) is not None:
            body = request[1]
            act = chance.randrange(16)
            answer = ok(body)
            if chance.randrange(2):
                cut = chance.randrange(len(body) + 1)
                parts = [part for part in (body[:cut], body[cut:]) if part]
                answer = HTTP + b"transfer-encoding: chunked\r\n\r\n"
                answer += b"".join(b"%x\r\n%b\r\n" % (len(p), p) for p in parts) + b"0\r\n\r\n"
            if act == 0:
                return
            if act == 1:
                peer.reset()
                return
            if act == 2:
                await peer.send(answer[: chance.randrange(len(answer))])
                return
            if act == 3:
                await peer.send(answer[: chance.randrange(len(answer))])
                peer.reset()
                return
            if act == 4:
                await peer.send(answer + ok(b"nobody's same packet"))
            elif act == 5:
                await peer.send(answer)
                # A push that is in the client's socket before the answer has been acted on.
                await peer.send(ok(b"nobody's next packet"))
            elif act == 6:
                await peer.send(answer)
                return
            elif act == 7:
                await peer.send(b"HTTP/1.1 204 No Content\r\ncontent-length: 9\r\n\r\nnobody's!")
            elif act == 8:
                await peer.send(ok(body, b"connection: close"))
                await peer.send(ok(b"nobody's after close"))
                return
            elif act == 9:
                await peer.send(HTTP + b"content-length: 5\r\n\r\n" + body + b"nobody's")
            else:
                for at in range(0, len(answer), 40):
                    await peer.send(answer[at : at + 40])
                    if chance.randrange(3) == 0:
                        await asyncio.sleep(0)

    upstream.script = script
    pool = make_pool(upstream, max_connections=12, first_byte_s=1.0, idle_s=1.0)
    outcomes = {"whole": 0, "fault": 0, "empty": 0}

    async def client(number: int) -> None:
        for turn in range(25):
            body = b"<id %d/%d/%d>" % (seed, number, turn) + b"." * chance.randrange(200)
            if chance.randrange(12) == 0:
                await given_up(body)
                continue
            try:
                status, answer = await fetch(pool, body)
            except UpstreamFault:
                outcomes["fault"] += 1
                continue
            if status == 204:
                assert answer == b""
                outcomes["empty"] += 1
            else:
                assert answer == body
                outcomes["whole"] += 1

    async def given_up(body: bytes) -> None:
        try:
            reply = await send(pool, body)
            reply.cancel()
        except UpstreamFault:
            outcomes["fault"] += 1

    await asyncio.gather(*(client(number) for number in range(24)))
    assert outcomes["whole"] > 200
    assert outcomes["fault"] > 50
    await until(lambda: pool.connections_in_use == 0)
    assert pool.open_connections <= 12
