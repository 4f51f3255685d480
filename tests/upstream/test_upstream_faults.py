"""Upstreams that fall silent, are cut, lie or refuse: which fault, and never a short whole."""

import asyncio
import gzip
import math
import socket
import zlib

import pytest
import uvloop
from tests.upstream.misbehaving import (
    Peer,
    answering,
    fault_of,
    fetch,
    head_for,
    ok,
    resident_bytes,
    send,
    until,
)

HTTP = b"HTTP/1.1 200 OK\r\n"
CHUNKED = HTTP + b"transfer-encoding: chunked\r\n\r\n"
EVENTS = [b"data: event %d\n\n" % n for n in range(6)]
STREAM = CHUNKED + b"".join(b"%x\r\n%b\r\n" % (len(e), e) for e in EVENTS) + b"0\r\n\r\n"


async def relayed(pool, pieces: list[bytes]) -> None:
    reply = await send(pool, b"hello")
    await reply.relay(pieces.append)


async def test_silence_is_a_first_byte_fault(upstream, make_pool):
    """An upstream that never answers is given up in time; it may have done the work."""
    upstream.script = answering(then="stay")
    pool = make_pool(upstream, first_byte_s=0.05)
    fault = await fault_of(fetch(pool))
    assert (fault.kind, fault.sent, fault.answered) == ("first_byte", True, False)
    assert pool.open_connections == 0


async def test_a_request_may_have_its_own_time_to_the_first_byte(upstream, make_pool):
    """`first_byte_s` of one request overrides the pool's."""
    upstream.script = answering(then="stay")
    loop = asyncio.get_running_loop()
    work = make_pool(upstream).send(
        head_for(b""), b"", deadline=loop.time() + 20, first_byte_s=0.05
    )
    assert (await fault_of(work)).kind == "first_byte"


async def test_half_a_head_is_no_answer(upstream, make_pool):
    """Bytes of a head do not stop the clock of the first byte; interim answers neither."""
    upstream.script = answering(b"HTTP/1.1 103 Early\r\n\r\n", HTTP + b"content-le", then="stay")
    fault = await fault_of(fetch(make_pool(upstream, first_byte_s=0.05)))
    assert (fault.kind, fault.answered) == ("first_byte", False)


async def test_silence_in_a_body_is_an_idle_fault(upstream, make_pool):
    """The pieces before it have been relayed."""
    upstream.script = answering(STREAM[:100], then="stay")
    pieces: list[bytes] = []
    fault = await fault_of(relayed(make_pool(upstream, idle_s=0.05), pieces))
    assert (fault.kind, fault.sent, fault.answered) == ("idle", True, True)
    assert b"".join(pieces).startswith(EVENTS[0])


async def test_a_slow_trickle_is_not_silence(upstream, make_pool):
    """Each byte restarts the idle clock: a slow answer lives longer than `idle_s`."""

    async def script(peer: Peer) -> None:
        await peer.request()
        for at in range(len(STREAM)):
            await peer.send(STREAM[at : at + 1])
            await asyncio.sleep(0.002)

    upstream.script = script
    pieces: list[bytes] = []
    started = asyncio.get_running_loop().time()
    await relayed(make_pool(upstream, idle_s=0.2), pieces)
    assert asyncio.get_running_loop().time() - started > 0.25
    assert b"".join(pieces) == b"".join(EVENTS)


async def test_the_total_deadline_ends_any_phase(upstream, make_pool):
    """Neither a silent head nor a lively body lives past the request's own deadline."""

    async def lively(peer: Peer) -> None:
        await peer.request()
        await peer.send(CHUNKED)
        for _ in range(1000):
            await peer.send(b"1\r\nx\r\n")
            await asyncio.sleep(0.005)

    pool = make_pool(upstream)
    for script, answered in ((answering(then="stay"), False), (lively, True)):
        upstream.script = script
        fault = await fault_of(fetch(pool, total_s=0.1))
        assert (fault.kind, fault.sent, fault.answered) == ("total", True, answered)
    late = await fault_of(fetch(pool, total_s=-1))
    assert (late.kind, late.sent) == ("total", False)


async def test_held_back_time_is_not_the_upstreams_silence(upstream, make_pool):
    """While the reader has paused, no idle clock runs; it starts anew at `resume`."""
    upstream.script = answering(STREAM[:100], then="stay")
    pool = make_pool(upstream, idle_s=0.05)
    reply = await send(pool)
    pieces: list[bytes] = []
    relay = asyncio.ensure_future(reply.relay(pieces.append))
    reply.pause()
    await asyncio.sleep(0.2)
    assert not relay.done()
    reply.resume()
    assert (await fault_of(relay)).kind == "idle"


@pytest.mark.parametrize("then", ["close", "reset"])
@pytest.mark.parametrize(
    "stream",
    [
        ok(b'{"answer": "forty-two"}', b"content-type: application/json"),
        STREAM,
        HTTP + b"\r\nuntil the end of the connection",
    ],
    ids=["length", "chunked", "close"],
)
async def test_a_cut_at_every_byte_is_whole_or_a_fault(upstream, make_pool, stream, then):
    """RST or FIN behind every byte of an answer: never a short body that counts as whole.

    A body that only the end of the connection delimits is the exception for FIN, and says so.
    """
    pool = make_pool(upstream)
    upstream.script = answering(stream)
    whole = await fetch(pool)
    for cut in range(len(stream) + 1):
        upstream.script = answering(stream[:cut], then=then)
        pieces: list[bytes] = []
        try:
            reply = await send(pool)
            if cut % 2:
                body = await reply.read(1 << 20)
            else:
                await reply.relay(pieces.append)
                body = b"".join(pieces)
        except Exception as error:
            fault = await fault_of(_raise(error))
            assert fault.kind == "truncated"
            assert fault.sent
            assert cut < len(stream) or then == "reset"
        else:
            if reply.framing == "close":
                assert then == "close"
                assert whole[1].startswith(body)
            else:
                assert (reply.status, body) == whole
                assert cut == len(stream)
    await until(lambda: pool.open_connections == 0)


async def _raise(error: Exception) -> None:
    raise error


async def test_a_length_that_promises_too_much_is_truncated(upstream, make_pool):
    """Fewer bytes than announced are no whole answer."""
    upstream.script = answering(HTTP + b"content-length: 10\r\n\r\nhello")
    fault = await fault_of(fetch(make_pool(upstream)))
    assert (fault.kind, fault.answered) == ("truncated", True)


async def test_a_refused_connection_is_a_connect_fault(make_pool, upstream):
    """Nothing listens: not sent, and the place in the pool is free again."""
    await upstream.stop()
    pool = make_pool(upstream)
    fault = await fault_of(fetch(pool))
    assert (fault.kind, fault.sent, fault.answered) == ("connect", False, False)
    assert pool.open_connections == 0


async def test_a_name_that_does_not_resolve_is_a_connect_fault(make_pool):
    """`.invalid` never resolves."""
    fault = await fault_of(fetch(make_pool("http://nothing.invalid"), total_s=10))
    assert (fault.kind, fault.sent) == ("connect", False)


async def test_an_address_that_drops_packets_is_a_connect_fault(make_pool, monkeypatch):
    """The connect deadline holds where not even a refusal comes back."""

    async def never(*_: object) -> None:
        await asyncio.sleep(100)

    monkeypatch.setattr("uvloop.Loop.sock_connect", never)
    pool = make_pool("http://127.0.0.1:9", connect_s=0.1)
    fault = await fault_of(fetch(pool))
    assert (fault.kind, fault.sent) == ("connect", False)
    fault = await fault_of(fetch(pool, total_s=0.05))
    assert (fault.kind, fault.sent) == ("total", False)
    assert pool.open_connections == 0


def resolving_to(*addresses: str):
    async def getaddrinfo(_loop, host, port, **_kinds):
        kind = (socket.SOCK_STREAM, socket.IPPROTO_TCP, "")
        # The loop itself looks up addresses, too, before it connects to them.
        found = [host] if host[0].isdigit() else addresses
        return [(socket.AF_INET, *kind, (address, port)) for address in found]

    return getaddrinfo


async def test_every_address_of_a_name_is_tried(upstream, make_pool, monkeypatch):
    """One that refuses, or that drops packets, does not hide the good one behind it."""
    monkeypatch.setattr(
        "uvloop.Loop.getaddrinfo", resolving_to("127.0.0.2", "127.0.0.3", "127.0.0.1")
    )
    connect = uvloop.Loop.sock_connect

    async def partly_dead(loop, sock, address):
        if address[0] == "127.0.0.3":
            await asyncio.sleep(100)
        await connect(loop, sock, address)

    monkeypatch.setattr("uvloop.Loop.sock_connect", partly_dead)
    pool = make_pool(f"http://name.example:{upstream.port}", connect_s=0.4)
    assert await fetch(pool, b"hello") == (200, b"hello")


@pytest.mark.parametrize("address", ["169.254.169.254", "100.100.100.200"])
async def test_no_name_leads_to_metadata(make_pool, monkeypatch, address):
    """The policy judges what a name resolves to, not how it looks."""
    monkeypatch.setattr("uvloop.Loop.getaddrinfo", resolving_to(address))
    fault = await fault_of(fetch(make_pool("http://innocent.example")))
    assert (fault.kind, fault.sent) == ("connect", False)
    assert "policy" in str(fault)


@pytest.mark.parametrize(
    "url",
    ["http://169.254.169.254/latest", "http://[fe80::1]", "http://metadata.google.internal"],
)
async def test_metadata_is_refused_by_name_and_address(make_pool, url):
    """A literal or a well-known name is refused before anything is resolved."""
    fault = await fault_of(fetch(make_pool(url)))
    assert (fault.kind, fault.sent) == ("connect", False)
    assert "policy" in str(fault)
    proxied = await fault_of(fetch(make_pool(url, proxy="http://127.0.0.1:9")))
    assert "policy" in str(proxied)


async def test_the_policy_can_be_lifted(upstream, make_pool, monkeypatch):
    """With the flag the address is connected to like any other."""
    seen: list[str] = []
    connect = uvloop.Loop.sock_connect

    async def redirected(loop, sock, address):
        seen.append(address[0])
        await connect(loop, sock, ("127.0.0.1", address[1]))

    monkeypatch.setattr("uvloop.Loop.sock_connect", redirected)
    pool = make_pool(f"http://169.254.169.254:{upstream.port}", allow_metadata=True)
    assert await fetch(pool, b"hello") == (200, b"hello")
    assert seen == ["169.254.169.254"]


async def test_an_early_answer_to_a_large_request_is_read(upstream, make_pool):
    """An upstream that refuses before it has read the body gives its answer, not its connection."""

    async def script(peer: Peer) -> None:
        await asyncio.get_running_loop().sock_recv(peer.sock, 1000)
        await peer.send(ok(b"too large").replace(b"200 OK", b"413 No"))
        await asyncio.sleep(0.05)
        while await asyncio.get_running_loop().sock_recv(peer.sock, 65536):
            pass

    upstream.script = script
    pool = make_pool(upstream)
    assert await fetch(pool, b"x" * 20_000_000) == (413, b"too large")
    assert pool.idle_connections == 0


async def test_a_sinks_exception_cancels_the_answer(upstream, make_pool):
    """It is raised by `relay`, and the upstream sees the connection go."""
    gone = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(CHUNKED)
        await asyncio.sleep(0.02)
        await peer.send(b"1\r\nx\r\n")
        await peer.wait_closed()
        gone.set()

    def sink(piece: bytes) -> None:
        raise LookupError(piece)

    upstream.script = script
    pool = make_pool(upstream)
    reply = await send(pool)
    with pytest.raises(LookupError):
        await reply.relay(sink)
    await asyncio.wait_for(gone.wait(), 5)
    assert pool.open_connections == 0


@pytest.mark.parametrize("how", ["cancel", "task", "sink"])
async def test_a_cancelled_answer_closes_its_connection(upstream, make_pool, how):
    """In the middle of a body the upstream sees the end at once; later calls do nothing."""
    gone = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(CHUNKED + b"1\r\nx\r\n")
        await asyncio.sleep(0.02)
        await peer.send(b"1\r\ny\r\n")
        await peer.wait_closed()
        gone.set()

    upstream.script = script
    pool = make_pool(upstream)
    reply = await send(pool)
    pieces: list[bytes] = []

    def sink(piece: bytes) -> None:
        pieces.append(piece)
        if how == "sink" and b"y" in piece:
            reply.cancel()

    relay = asyncio.ensure_future(reply.relay(sink))
    await until(lambda: bool(pieces))
    if how == "cancel":
        reply.cancel()
    elif how == "task":
        relay.cancel()
    if how == "task":
        with pytest.raises(asyncio.CancelledError):
            await relay
    else:
        assert (await fault_of(relay)).kind == "truncated"
    await asyncio.wait_for(gone.wait(), 5)
    assert pool.open_connections == 0
    reply.cancel()
    reply.pause()
    reply.resume()


async def test_a_request_cancelled_before_its_answer_closes_its_connection(upstream, make_pool):
    """Nobody reads the answer that may still come, so nobody may get the connection."""
    upstream.script = answering(then="stay")
    pool = make_pool(upstream)
    work = asyncio.ensure_future(send(pool))
    await until(lambda: pool.connects == 1)
    work.cancel()
    with pytest.raises(asyncio.CancelledError):
        await work
    assert pool.open_connections == 0


async def test_cancelling_a_whole_answer_keeps_its_connection(upstream, make_pool):
    """`cancel` after the end neither closes nor touches what came next on the connection."""
    pool = make_pool(upstream)
    first = await send(pool, b"one")
    assert await first.read(100) == b"one"
    second = await send(pool, b"two")
    first.cancel()
    first.pause()
    assert await second.read(100) == b"two"
    assert (upstream.connections, pool.idle_connections) == (1, 1)


async def test_a_paused_reader_holds_back_an_endless_upstream(upstream, make_pool):
    """Neither a pausing reader nor one that never comes makes memory grow."""
    sent = 0

    async def script(peer: Peer) -> None:
        nonlocal sent
        await peer.request()
        await peer.send(CHUNKED)
        piece = b"10000\r\n" + b"x" * 65536 + b"\r\n"
        while not peer.sock._closed and sent < 1 << 30:  # type: ignore[attr-defined]
            await peer.send(piece)
            sent += len(piece)

    upstream.script = script
    pool = make_pool(upstream)
    received = 0
    reply = await send(pool)

    def sink(piece: bytes) -> None:
        nonlocal received
        received += len(piece)
        if received > 8 << 20:
            reply.pause()

    # Nobody reads yet: only the buffers of the kernel and one of ours fill up.
    await stalled(lambda: sent)
    before = resident_bytes()
    assert sent < 32 << 20
    relay = asyncio.ensure_future(reply.relay(sink))
    await until(lambda: received > 8 << 20)
    at_pause = received
    await stalled(lambda: sent)
    assert received == at_pause
    assert sent < 48 << 20
    assert resident_bytes() - before < 24 << 20
    received = -(8 << 20)
    reply.resume()
    await until(lambda: received > 8 << 20)
    reply.cancel()
    await fault_of(relay)


async def stalled(value) -> None:
    """Wait until *value* has stood still for 50 ms."""
    last, since = value(), asyncio.get_running_loop().time()
    end = since + 10
    while asyncio.get_running_loop().time() - since < 0.05:
        assert asyncio.get_running_loop().time() < end, "never stood still"
        await asyncio.sleep(0.01)
        if value() != last:
            last, since = value(), asyncio.get_running_loop().time()


def compressed(coding: str, data: bytes) -> bytes:
    if coding == "gzip":
        return gzip.compress(data)
    if coding == "deflate":
        return zlib.compress(data)
    bare = zlib.compressobj(wbits=-15)
    return bare.compress(data) + bare.flush()


@pytest.mark.parametrize("coding", ["gzip", "deflate", "bare deflate"])
@pytest.mark.parametrize("framed", ["length", "chunked", "close"])
async def test_a_compressed_answer_is_undone(upstream, make_pool, coding, framed):
    """The reader sees the plain body and no header that speaks of the coded one."""
    plain = b"".join(b"data: %d\n\n" % n for n in range(3000))
    body = compressed(coding, plain)
    line = b"content-encoding: %b\r\n" % coding.split()[-1].encode()
    if framed == "length":
        parts = [HTTP + line + b"content-length: %d\r\n\r\n" % len(body)]
        parts += [body[at : at + 1000] for at in range(0, len(body), 1000)]
    elif framed == "chunked":
        parts = [HTTP + line + b"transfer-encoding: chunked\r\n\r\n"]
        parts += [b"1\r\n%b\r\n" % body[at : at + 1] for at in range(len(body))] + [b"0\r\n\r\n"]
        parts = [b"".join(parts)]
    else:
        parts = [HTTP + line + b"\r\n", body]
    upstream.script = answering(*parts)
    reply = await send(make_pool(upstream))
    assert await reply.read(1 << 20) == plain
    assert b"content-encoding" not in reply.headers
    assert b"content-length" not in reply.headers


@pytest.mark.parametrize(
    "spoil",
    [lambda b: b[:-1], lambda b: b + b"x", lambda b: b + b, lambda b: b[:50] + b"\xff" * 50],
    ids=["cut", "surplus", "twice", "broken"],
)
async def test_a_spoiled_compressed_answer_is_a_protocol_fault(upstream, make_pool, spoil):
    """Right framing around a coded body that is not whole proves nothing."""
    body = spoil(gzip.compress(bytes(range(256)) * 20))
    upstream.script = answering(ok(body, b"content-encoding: gzip"))
    assert (await fault_of(fetch(make_pool(upstream)))).kind == "protocol"


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
async def test_a_compressed_bomb_is_a_protocol_fault_with_flat_memory(upstream, make_pool, coding):
    """100 MiB of zeros in 100 kB are found within a few megabytes, read or relayed."""
    bomb = compressed(coding, bytes(100 << 20))
    upstream.script = answering(ok(bomb, b"content-encoding: %b" % coding.encode()))
    pool = make_pool(upstream)
    before = resident_bytes()
    assert (await fault_of(fetch(pool, max_bytes=1 << 30))).kind == "protocol"
    largest = 0

    def sink(piece: bytes) -> None:
        nonlocal largest
        largest = max(largest, len(piece))

    async def relay() -> None:
        await (await send(pool)).relay(sink)

    assert (await fault_of(relay())).kind == "protocol"
    assert largest <= 8 << 20
    assert resident_bytes() - before < 32 << 20


async def test_an_announced_answer_over_the_cap_is_refused_before_it_is_read(upstream, make_pool):
    """`content-length` alone is enough to refuse."""
    upstream.script = answering(HTTP + b"content-length: 1000000\r\n\r\n", then="stay")
    pool = make_pool(upstream, idle_s=math.inf)
    assert (await fault_of(fetch(pool, max_bytes=1000))).kind == "protocol"
