"""How an answer's head and end are read, byte by byte and whatever the packets."""

import asyncio
import socket

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.upstream.misbehaving import answering, fault_of, fetch, ok, send

from tidegate.sweep import Sweep
from tidegate.upstream.answer import UpstreamFault
from tidegate.upstream.chunked import ChunkedBody
from tidegate.upstream.connection import Connection
from tidegate.upstream.head import HeadParser, ProtocolError

HTTP = b"HTTP/1.1 200 OK\r\n"


class Wire:
    """A transport that keeps what it is told."""

    def __init__(self) -> None:
        self.closed = False
        self.paused = False

    def write(self, data: bytes) -> None:
        """Accept everything."""

    def is_closing(self) -> bool:
        return self.closed

    def get_extra_info(self, name: str) -> None:
        """Be a plain connection."""

    def abort(self) -> None:
        self.closed = True

    close = abort

    def get_write_buffer_size(self) -> int:
        return 0

    def pause_reading(self) -> None:
        self.paused = True

    def resume_reading(self) -> None:
        self.paused = False


class Keeper:
    """Counts what a connection tells its owner."""

    def __init__(self) -> None:
        self.released = 0
        self.forgotten = 0

    def release(self, connection: Connection) -> None:
        self.released += 1

    def forget(self, connection: Connection) -> None:
        self.forgotten += 1


class Fed:
    """A connection with one request under way, fed by hand."""

    def __init__(self, method: bytes = b"POST", *, early: str = "") -> None:
        loop = asyncio.get_running_loop()
        self.wire = Wire()
        self.keeper = Keeper()
        self.ends = socket.socketpair()
        self.connection = Connection(
            loop,
            self.keeper,
            Sweep(loop),
            HeadParser(),
            self.ends[0],
            idle_s=5,
            keep_alive_s=5,
        )
        self.connection.connection_made(self.wire)  # type: ignore[arg-type]
        if early == "read":
            self.connection.data_received(b"H")
        elif early == "unread":
            self.ends[1].send(b"H")
        elif early == "lost":
            self.wire.closed = True
            self.connection.connection_lost(None)
        self.adopted = self.connection.adopt()
        if early:
            return
        self.reply = self.connection.start(method + b" / HTTP/1.1\r\n\r\n", b"", 0.0, 1e9, 1e9)

    def feed(self, *packets: bytes, eof: bool = False) -> "Fed":
        for packet in packets:
            if self.connection._phase and packet and not self.wire.closed:
                self.connection.data_received(packet)
        if eof and not self.wire.closed:
            self.connection.eof_received()
        return self

    async def outcome(self) -> tuple[object, ...]:
        """Return what the reader sees: (status, headers, body) or ("fault", kind)."""
        try:
            if not self.reply.status:
                assert self.reply._fault is not None, "the head never came"
                raise self.reply._fault
            body = await asyncio.wait_for(self.reply.read(1 << 24), 1)
        except UpstreamFault as fault:
            return ("fault", fault.kind, fault.answered)
        finally:
            self.connection.discard()
            for end in self.ends:
                end.close()
        return (self.reply.status, dict(self.reply.headers), body)


async def outcome_of(stream: bytes, *, eof: bool = False, method: bytes = b"POST"):
    return await Fed(method).feed(stream, eof=eof).outcome()


BAD_HEADS = {
    "garbage": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    "http 0.9": b"<html>hello</html>\r\n\r\n",
    "http 2": b"HTTP/2.0 200 OK\r\n\r\n",
    "http 1.2": b"HTTP/1.2 200 OK\r\n\r\n",
    "lower case version": b"http/1.1 200 OK\r\n\r\n",
    "two digits": b"HTTP/1.1 20 OK\r\n\r\n",
    "four digits": b"HTTP/1.1 2000 OK\r\n\r\n",
    "status 600": b"HTTP/1.1 600 No\r\n\r\n",
    "status 000": b"HTTP/1.1 000 No\r\n\r\n",
    "signed status": b"HTTP/1.1 +20 OK\r\n\r\n",
    "two spaces": b"HTTP/1.1  200 OK\r\n\r\n",
    "tab for space": b"HTTP/1.1\t200 OK\r\n\r\n",
    "control in reason": b"HTTP/1.1 200 O\x01K\r\n\r\n",
    "nothing after the version": b"HTTP/1.1\r\n\r\n",
    "leading CRLF": b"\r\nHTTP/1.1 200 OK\r\n\r\n",
    "bare LF head": b"HTTP/1.1 200 OK\ncontent-length: 0\n\n",
    "bare LF line": HTTP + b"a: b\nc: d\r\n\r\n",
    "bare CR": HTTP + b"a: b\rc: d\r\n\r\n",
    "NUL in value": HTTP + b"a: b\x00c\r\n\r\n",
    "DEL in value": HTTP + b"a: b\x7fc\r\n\r\n",
    "folded line": HTTP + b"a: b\r\n c\r\n\r\n",
    "space before colon": HTTP + b"content-length : 5\r\n\r\nhello",
    "no colon": HTTP + b"abc\r\n\r\n",
    "empty name": HTTP + b": abc\r\n\r\n",
    "non-ASCII name": HTTP + b"caf\xe9: abc\r\n\r\n",
    "signed length": HTTP + b"content-length: +5\r\n\r\nhello",
    "negative length": HTTP + b"content-length: -5\r\n\r\nhello",
    "hexadecimal length": HTTP + b"content-length: 0x5\r\n\r\nhello",
    "underscored length": HTTP + b"content-length: 5_0\r\n\r\nhello",
    "empty length": HTTP + b"content-length:\r\n\r\nhello",
    "fractional length": HTTP + b"content-length: 5.0\r\n\r\nhello",
    "length with a space": HTTP + b"content-length: 5 0\r\n\r\nhello",
    "arabic digits": HTTP + "content-length: ٥\r\n\r\nhello".encode(),
    "length list": HTTP + b"content-length: 5, 5\r\n\r\nhello",
    "endless length": HTTP + b"content-length: 99999999999999999999\r\n\r\nhello",
    "two equal lengths": HTTP + b"content-length: 5\r\nContent-Length: 5\r\n\r\nhello",
    "two lengths": HTTP + b"content-length: 5\r\ncontent-length: 6\r\n\r\nhello",
    "length and chunked": HTTP
    + b"content-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    "chunked and length": HTTP
    + b"transfer-encoding: chunked\r\ncontent-length: 5\r\n\r\n0\r\n\r\n",
    "two transfer-encodings": HTTP
    + b"transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    "gzip transfer": HTTP + b"transfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "identity transfer": HTTP + b"transfer-encoding: identity\r\n\r\nabc",
    "xchunked": HTTP + b"transfer-encoding: xchunked\r\n\r\n0\r\n\r\n",
    "chunked twice": HTTP + b"transfer-encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
    "empty transfer-encoding": HTTP + b"transfer-encoding:\r\n\r\nabc",
    "chunked on HTTP/1.0": b"HTTP/1.0 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    "upgrade": b"HTTP/1.1 101 Switching\r\nupgrade: x\r\n\r\n" + ok(b"x"),
    "too many interim": b"HTTP/1.1 103 Early\r\n\r\n" * 9 + ok(b"x"),
    "201 headers": HTTP + b"".join(b"h%d: x\r\n" % n for n in range(201)) + b"\r\n",
    "head over 64 KiB": HTTP + b"a: " + b"x" * 70_000 + b"\r\n\r\n",
    "unfinished head over 64 KiB": HTTP + b"a: " + b"x" * 70_000,
}


@pytest.mark.parametrize("stream", BAD_HEADS.values(), ids=BAD_HEADS.keys())
async def test_a_bad_head_is_a_protocol_fault(stream):
    """No broken head is repaired, in one packet or in single bytes."""
    assert await outcome_of(stream) == ("fault", "protocol", False)
    if len(stream) < 10_000:
        packets = [stream[i : i + 1] for i in range(len(stream))]
        assert await Fed().feed(*packets).outcome() == ("fault", "protocol", False)


BAD_BODIES = {
    "unknown coding": HTTP + b"content-encoding: br\r\ncontent-length: 1\r\n\r\nx",
    "two codings": HTTP + b"content-encoding: gzip, gzip\r\ncontent-length: 1\r\n\r\nx",
    "more body than length": HTTP + b"content-length: 2\r\n\r\nhello",
}
for label, chunks in {
    "prefixed size": b"0x5\r\nhello\r\n0\r\n\r\n",
    "signed size": b"+5\r\nhello\r\n0\r\n\r\n",
    "negative size": b"-5\r\nhello\r\n0\r\n\r\n",
    "underscored size": b"0_5\r\nhello\r\n0\r\n\r\n",
    "spaced size": b" 5\r\nhello\r\n0\r\n\r\n",
    "trailing space": b"5 \r\nhello\r\n0\r\n\r\n",
    "no size": b"\r\nhello\r\n0\r\n\r\n",
    "not hexadecimal": b"5g\r\nhello\r\n0\r\n\r\n",
    "17 digits": b"00000000000000005\r\nhello\r\n0\r\n\r\n",
    "huge size line": b"f" * 40 + b"\r\nhello\r\n",
    "LF-only size line": b"5\nhello\r\n0\r\n\r\n",
    "LF behind the data": b"5\r\nhello\n0\r\n\r\n",
    "data longer than size": b"3\r\nhello\r\n0\r\n\r\n",
    "data shorter than size": b"6\r\nhello\r\n0\r\n\r\n",
    "control in extension": b"5;a=\x00\r\nhello\r\n0\r\n\r\n",
    "LF in extension": b"5;a\nb\r\nhello\r\n0\r\n\r\n",
    "extension over 1 KiB": b"5;" + b"a" * 1100 + b"\r\nhello\r\n0\r\n\r\n",
    "unfinished extension over 1 KiB": b"5;" + b"a" * 1100,
    "bad trailer": b"5\r\nhello\r\n0\r\nno colon\r\n\r\n",
    "LF trailer": b"5\r\nhello\r\n0\r\na: b\n\r\n\r\n",
    "65 trailers": b"0\r\n" + b"a: b\r\n" * 65 + b"\r\n",
    "trailers over 16 KiB": b"0\r\na: " + b"x" * 20_000 + b"\r\n\r\n",
}.items():
    BAD_BODIES[label] = HTTP + b"transfer-encoding: chunked\r\n\r\n" + chunks


@pytest.mark.parametrize("stream", BAD_BODIES.values(), ids=BAD_BODIES.keys())
async def test_a_bad_body_is_a_protocol_fault(stream):
    """Broken framing of a body is never guessed at; the connection is gone."""
    fed = Fed().feed(stream)
    assert fed.wire.closed
    assert (await fed.outcome())[:2] == ("fault", "protocol")
    assert (fed.keeper.released, fed.keeper.forgotten) == (0, 1)


GOOD = {
    "length": (ok(b"hello"), b"hello", True),
    "empty": (ok(b""), b"", True),
    "no reason": (b"HTTP/1.1 200\r\ncontent-length: 2\r\n\r\nhi", b"hi", True),
    "odd case": (b"HTTP/1.1 200 ok\r\nCONTENT-LENGTH:2\r\n\r\nhi", b"hi", True),
    "closing": (ok(b"hello", b"connection: Keep-Alive, CLOSE"), b"hello", False),
    "interim": (b"HTTP/1.1 103 Early\r\nlink: x\r\n\r\n" * 8 + ok(b"hello"), b"hello", True),
    "HTTP/1.0 with length": (b"HTTP/1.0 200 OK\r\ncontent-length: 2\r\n\r\nhi", b"hi", False),
    "HTTP/1.0 kept": (
        b"HTTP/1.0 200 OK\r\nconnection: keep-alive\r\ncontent-length: 2\r\n\r\nhi",
        b"hi",
        True,
    ),
    "chunked": (
        HTTP + b"Transfer-Encoding: Chunked\r\n\r\n5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n",
        b"hello world",
        True,
    ),
    "chunked with all extras": (
        HTTP
        + b"transfer-encoding: chunked\r\n\r\n005;a=b;c\r\nhello\r\nA ;x\r\n, world 10\r\n"
        + b"000;end\r\nx-trailer: 1\r\ny-trailer:\r\n\r\n",
        b"hello, world 10",
        True,
    ),
    "keep-alive says one second": (ok(b"hi", b"keep-alive: timeout=1, max=9"), b"hi", False),
    "identity": (ok(b"hi", b"content-encoding: identity"), b"hi", True),
}


@pytest.mark.parametrize(("stream", "body", "kept"), GOOD.values(), ids=GOOD.keys())
async def test_a_good_answer_is_read(stream, body, kept):
    """The body is exact, and the connection is kept exactly when that is safe."""
    fed = Fed().feed(stream)
    assert (await fed.outcome())[::2] == (200, body)
    assert fed.keeper.released == int(kept)


@pytest.mark.parametrize(
    ("method", "stream"),
    [
        (b"POST", b"HTTP/1.1 204 No Content\r\n\r\n"),
        (b"GET", b"HTTP/1.1 304 Not Modified\r\netag: x\r\n\r\n"),
        (b"HEAD", b"HTTP/1.1 200 OK\r\n\r\n"),
    ],
)
async def test_an_answer_without_a_body_keeps_the_connection(method, stream):
    """204, 304 and answers to HEAD end with their head."""
    fed = Fed(method).feed(stream)
    assert fed.keeper.released == 1
    assert (await fed.outcome())[2] == b""
    assert fed.reply.framing == "none"


@pytest.mark.parametrize(
    ("method", "stream"),
    [
        (b"POST", b"HTTP/1.1 204 No Content\r\ncontent-length: 5\r\n\r\n"),
        (b"HEAD", b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"),
        (b"HEAD", ok(b"hello")),
        (b"POST", b"HTTP/1.1 204 No Content\r\n\r\nhello"),
    ],
)
async def test_a_body_announced_where_none_can_be_ends_the_connection(method, stream):
    """A server that would send it would speak into the next exchange."""
    fed = Fed(method).feed(stream)
    assert (fed.keeper.released, fed.keeper.forgotten) == (0, 1)
    assert (await fed.outcome())[2] == b""


@pytest.mark.parametrize("version", [b"1.0", b"1.1"])
async def test_a_close_delimited_body_ends_with_the_connection(version):
    """Such an answer is whole at EOF, says so by its framing, and keeps nothing."""
    fed = Fed().feed(b"HTTP/" + version + b" 200 OK\r\n\r\n", b"hel", b"lo", eof=True)
    assert fed.reply.framing == "close"
    assert (await fed.outcome())[2] == b"hello"
    assert (fed.keeper.released, fed.keeper.forgotten) == (0, 1)


async def test_repeated_headers_are_joined():
    """A list header that comes twice is one list."""
    outcome = await outcome_of(ok(b"", b"x-a: 1", b"X-A:  2 ", b"x-b: \xe9"))
    assert outcome[1] == {b"content-length": b"0", b"x-a": b"1, 2", b"x-b": b"\xe9"}


async def test_bytes_behind_an_answer_are_delivered_to_nobody():
    """A second answer in the same packet leaves the first one whole and ends the connection."""
    for first in (ok(b"one"), HTTP + b"transfer-encoding: chunked\r\n\r\n3\r\none\r\n0\r\n\r\n"):
        fed = Fed().feed(first + ok(b"two"))
        assert (fed.keeper.released, fed.keeper.forgotten) == (0, 1)
        assert (await fed.outcome())[2] == b"one"


async def test_bytes_on_an_idle_connection_end_it():
    """A late answer that nobody asked for is thrown away with its connection."""
    fed = Fed().feed(ok(b"one"))
    assert fed.keeper.released == 1
    fed.feed(b"H")
    assert fed.wire.closed
    assert fed.keeper.forgotten == 1
    assert not fed.connection.usable()
    await fed.outcome()


@pytest.mark.parametrize("early", ["read", "unread", "lost"])
async def test_a_connection_that_spoke_or_ended_as_it_was_made_is_not_adopted(early):
    """No request goes out on it, and the owner, who never had it, does not hear of its end."""
    fed = Fed(early=early)
    for end in fed.ends:
        end.close()
    assert not fed.adopted
    assert fed.wire.closed
    assert fed.keeper.forgotten == 0


async def test_bytes_that_the_loop_has_not_seen_make_a_connection_unusable():
    """The look into the socket finds what has arrived since, and an end as well."""
    for act in (lambda end: end.send(b"H"), lambda end: end.shutdown(socket.SHUT_WR)):
        fed = Fed().feed(ok(b"one"))
        assert fed.connection.usable()
        act(fed.ends[1])
        assert not fed.connection.usable()
        await fed.outcome()


REFERENCES = [
    ok(b"hello world", b"content-type: application/json"),
    b"HTTP/1.1 100 Continue\r\n\r\n"
    + HTTP
    + b"content-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
    + b"".join(b"%x;e=1\r\n%b\r\n" % (n, b"d" * n) for n in range(1, 24))
    + b"0\r\nx-t: 1\r\n\r\n",
    b"HTTP/1.0 200 OK\r\ncontent-type: text/plain\r\n\r\nuntil the end",
    b"HTTP/1.1 204 No Content\r\nx: y\r\n\r\n",
]


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.sampled_from(REFERENCES), st.data())
def test_packets_do_not_matter(stream, data):
    """However a valid answer is cut into packets, the reader sees the same."""
    cuts = sorted(data.draw(st.sets(st.integers(1, len(stream) - 1), max_size=40)))
    packets = [stream[a:b] for a, b in zip([0, *cuts], [*cuts, len(stream)], strict=True)]

    async def both() -> None:
        whole = await outcome_of(stream, eof=True)
        assert whole[0] != "fault"
        assert await Fed().feed(*packets, eof=True).outcome() == whole

    asyncio.run(both())


@settings(max_examples=500, deadline=None)
@given(st.binary(max_size=60), st.integers(0, 60))
def test_any_bytes_are_a_chunked_body_or_a_protocol_error(junk, cut):
    """The decoder ends in nothing but its own error, and alike for any two packets."""

    def decode(*packets: bytes) -> object:
        body = ChunkedBody()
        try:
            out = b"".join(body.feed(packet) for packet in packets if not body.done)
        except ProtocolError:
            return "error"
        return (body.done, out if body.done else None)

    stream = b"5\r\nhello\r\n" + junk
    split = decode(stream[:cut], stream[cut:])
    whole = decode(stream)
    # A fault may be seen in one packet and still be undecided when bytes are missing.
    assert split == whole or "error" in (split, whole)


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.binary(max_size=300) | st.sampled_from([b"\r\n", b"0\r\n\r\n"]), max_size=12),
    st.integers(1, 50) | st.integers(500, 4000),
)
def test_chunks_come_out_as_they_went_in(pieces, step):
    """Encoding, cutting and decoding is the identity."""
    stream = b"".join(b"%X\r\n%b\r\n" % (len(p), p) for p in pieces if p) + b"0\r\n\r\nREST"
    body = ChunkedBody()
    out = b""
    position = 0
    while not body.done:
        out += body.feed(stream[position : position + step])
        position += step
    assert out == b"".join(pieces)
    assert body.rest == stream[:position][len(stream) - 4 :]


@given(
    st.lists(st.binary(min_size=1, max_size=90) | st.just(b"a\r\nb"), min_size=8, max_size=30),
    st.integers(0, 4000),
    st.sampled_from([b"", b"0", b"\r\n", b"1\r\n", b"0\r\n\r\n", b";x", b"\n"]),
    st.integers(0, 3),
)
@settings(max_examples=300, deadline=None)
def test_many_chunks_in_one_read_mean_what_they_mean_byte_by_byte(pieces, place, junk, drop):
    """A read of many chunks, spoilt or not, is decoded as if each byte came alone."""
    stream = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces)
    stream += b"0\r\n\r\n"
    place %= len(stream)
    stream = stream[:place] + junk + stream[place + drop :]

    def decode(step):
        body = ChunkedBody()
        out, position = b"", 0
        try:
            while not body.done and position < len(stream):
                out += body.feed(stream[position : position + step])
                position += step
        except ProtocolError:
            return "error"
        return (body.done, out)

    alone = decode(1)
    assert decode(len(stream)) == alone
    assert decode(600) == alone


async def test_twenty_thousand_interim_answers_are_a_fault(upstream, make_pool):
    """A storm of 1xx ends the exchange at its cap."""
    upstream.script = answering(b"HTTP/1.1 103 Early Hints\r\n\r\n" * 20_000, then="stay")
    fault = await fault_of(fetch(make_pool(upstream)))
    assert (fault.kind, fault.sent, fault.answered) == ("protocol", True, False)


async def test_a_ten_megabyte_chunk_line_is_a_fault(upstream, make_pool):
    """A chunk extension without end is cut at 1 KiB."""
    upstream.script = answering(
        HTTP + b"transfer-encoding: chunked\r\n\r\n5;", b"x" * 10_000_000, then="stay"
    )
    fault = await fault_of(fetch(make_pool(upstream)))
    assert (fault.kind, fault.answered) == ("protocol", True)


async def test_a_body_over_the_readers_cap_is_a_fault(upstream, make_pool):
    """Announced or not, a body larger than asked for is not read to its end."""
    chunk = b"400\r\n" + b"x" * 1024 + b"\r\n"
    for stream in (
        ok(b"x" * 5000),
        HTTP + b"content-length: 99999999\r\n\r\n",
        HTTP + b"transfer-encoding: chunked\r\n\r\n" + chunk * 5,
        HTTP + b"\r\n" + b"x" * 5000,
    ):
        upstream.script = answering(stream, then="stay")
        fault = await fault_of(fetch(make_pool(upstream), max_bytes=4096))
        assert (fault.kind, fault.answered) == ("protocol", True)


async def test_a_fault_says_nothing_of_headers(upstream, make_pool):
    """Neither what we sent nor what came back is in a fault's message."""
    upstream.script = answering(HTTP + b"x-secret : hunter2\r\n\r\n")
    fault = await fault_of(send(make_pool(upstream), b"hunter3"))
    assert "hunter" not in str(fault)
    assert "secret" not in str(fault)
