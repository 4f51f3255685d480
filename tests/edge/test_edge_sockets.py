"""The edge on real sockets and uvloop: cases, drains, disconnects, TLS, accepting."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import functools
import inspect
import socket
import ssl
import struct
import subprocess
import time

import pytest
import uvloop
from tests.edge.cases import CASES, GOOD, HOST, request
from tests.edge.wire import BODY_CAP, read_answers

from tidegate.config.snapshot import EdgeSnapshot
from tidegate.edge.connection import HIGH_WATER_BYTES
from tidegate.edge.server import Server
from tidegate.sweep import Sweep

GET = request(b"GET /x HTTP/1.1", HOST)
LARGE_POST = request(b"POST /x HTTP/1.1", HOST, b"Content-Length: 999999", body=b"z" * 150_000)
DEADLINE_S = 10.0


def on_uvloop(test):
    """Run a coroutine test on the loop that workers use."""

    @functools.wraps(test)
    def run(*args, **kwargs):
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(asyncio.wait_for(test(*args, **kwargs), 3 * DEADLINE_S))

    run.__signature__ = inspect.signature(test)
    del run.__wrapped__  # pytest-asyncio would look through it
    return run


async def until(condition, seconds=DEADLINE_S):
    """Wait until *condition* holds; fail when it does not within *seconds*."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "condition not met in time"
        await asyncio.sleep(0.005)


class Gateway:
    """A server on a free port of the loopback interface."""

    def __init__(self, handler=None, tls=None, **options):
        self.errors = []
        self.refusals = []
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        caps = {
            name: options.pop(name)
            for name in list(options)
            if name in EdgeSnapshot.__annotations__
        }
        self.server = Server(
            self.listener,
            handler or echo,
            EdgeSnapshot(**{"max_body_bytes": BODY_CAP, **caps}),
            Sweep(asyncio.get_running_loop(), tick_s=0.02),
            ssl_context=tls,
            on_error=self.errors.append,
            on_refusal=lambda rule, status: self.refusals.append(rule),
            **options,
        )

    async def __aenter__(self):
        self.server.start()
        return self

    async def __aexit__(self, *exception):
        await self.server.stop()
        self.listener.close()

    async def connect(self, **options):
        return await asyncio.open_connection("127.0.0.1", self.port, **options)


async def echo(exchange):
    exchange.answer(200, b"content-type: text/plain\r\n", await exchange.read_body(BODY_CAP))


async def closed(writer):
    """Close the client's end; a reset by the other one is fine."""
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()


async def read_answer(reader):
    """Return the bytes of one answer that has a length."""
    head = await reader.readuntil(b"\r\n\r\n")
    lines = [line for line in head.split(b"\r\n") if line.startswith(b"content-length: ")]
    return head + await reader.readexactly(int(lines[0].split()[1]))


class Watched:
    """A handler that streams its first bytes and then waits to hear of its client."""

    def __init__(self):
        self.heard = []
        self.started = asyncio.Event()
        self.gone = asyncio.Event()
        self.finish = asyncio.Event()
        self.is_slow = False

    async def __call__(self, exchange):
        exchange.watcher = self
        self.started.set()
        waits = [asyncio.ensure_future(each.wait()) for each in (self.gone, self.finish)]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            exchange.start(200, b"")
            exchange.write(b"data: stopping\n\n")
            raise
        finally:
            for wait in waits:
                wait.cancel()
        if not exchange.disconnected:
            exchange.answer(200, b"", b"done")

    def client_gone(self):
        self.heard.append("gone")
        self.gone.set()

    def client_slow(self):
        self.is_slow = True

    def client_ready(self):
        self.is_slow = False


# Cases


@on_uvloop
async def test_every_case_gets_its_answer_over_tcp():
    """Refused clients can read their answer although their input was not read."""
    async with Gateway() as gateway:
        for case in CASES:
            reader, writer = await gateway.connect()
            writer.write(case.sent + (GET if not case.stays else b""))
            received = await reader.read() if not case.stays else await read_answer(reader)
            answer = read_answers(received)[-1]
            assert (case.name, answer.status, answer.code) == (case.name, case.status, case.code)
            assert answer.whole
            await closed(writer)
        assert gateway.errors == []
        await until(lambda: not gateway.server.connections)


@on_uvloop
async def test_a_refused_client_can_read_its_answer_while_it_goes_on_sending():
    """Closing at once on unread input would reset the answer away."""
    async with Gateway() as gateway:
        reader, writer = await gateway.connect()
        writer.write(request(b"POST /x HTTP/1.1", HOST, b"Content-Length: 99999999"))
        for _ in range(20):
            writer.write(b"z" * 50_000)
            await asyncio.sleep(0.005)
        received = await reader.read()
        assert read_answers(received)[0].code == "body_too_large"
        await closed(writer)


@on_uvloop
async def test_a_connection_serves_many_requests_without_delay():
    """TCP_NODELAY is set; no answer waits for an acknowledgement."""
    async with Gateway() as gateway:
        reader, writer = await gateway.connect()
        started = time.monotonic()
        for _ in range(50):
            writer.write(GOOD)
            assert b"200 OK" in await read_answer(reader)
        assert time.monotonic() - started < 1.5  # 40 ms each without it
        (connection,) = gateway.server.connections
        assert connection._sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        assert gateway.server.accepted_total == 1
        assert gateway.server.requests_total == 50
        await closed(writer)


@on_uvloop
async def test_the_head_of_a_stream_leaves_before_its_first_piece():
    """A client sees at once that its request was accepted."""
    release = asyncio.Event()

    async def handler(exchange):
        exchange.start(200, b"")
        await release.wait()
        exchange.write(b"late")
        exchange.end()

    async with Gateway(handler) as gateway:
        reader, writer = await gateway.connect()
        writer.write(GET)
        head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), DEADLINE_S)
        assert head.startswith(b"HTTP/1.1 200 OK\r\n")
        release.set()
        assert await reader.readuntil(b"0\r\n\r\n") == b"4\r\nlate\r\n0\r\n\r\n"
        await closed(writer)


# Clients that leave


def close_plainly(writer):
    writer.close()


def reset(writer):
    sock = writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.close()


@pytest.mark.parametrize("leave", [close_plainly, reset])
@pytest.mark.parametrize(
    "sent", [GET, GET + b"Z" * 200_000, LARGE_POST], ids=["alone", "unread-input", "unread-body"]
)
@on_uvloop
async def test_a_client_that_leaves_is_told_within_a_second(leave, sent):
    """So that its upstream is cancelled; also while its input is not being read."""
    handler = Watched()
    async with Gateway(handler) as gateway:
        _, writer = await gateway.connect()
        writer.write(sent)
        await writer.drain()
        await asyncio.wait_for(handler.started.wait(), DEADLINE_S)
        await asyncio.sleep(0.1)
        left_at = time.monotonic()
        leave(writer)
        await asyncio.wait_for(handler.gone.wait(), 1.0)
        assert time.monotonic() - left_at < 1.0
        await until(lambda: not gateway.server.connections)
        assert handler.heard == ["gone"]
        await closed(writer)


@on_uvloop
async def test_a_client_that_only_ends_its_sending_is_answered():
    """`printf … | nc` is a legal client."""
    async with Gateway() as gateway:
        reader, writer = await gateway.connect()
        writer.write(GET + GOOD)
        writer.write_eof()
        answers = read_answers(await reader.read())
        assert [answer.body for answer in answers] == [b"", b"good"]
        await closed(writer)


@on_uvloop
async def test_a_client_that_reads_nothing_holds_back_its_producer():
    """What is kept for it stays below the high-water mark and one piece."""
    written = 0
    largest = 0
    watcher = Watched()

    async def handler(exchange):
        nonlocal written, largest
        exchange.watcher = watcher
        exchange.start(200, b"")
        while not exchange.disconnected:
            if not watcher.is_slow and written < 200_000_000:
                exchange.write(b"z" * 10_000)
                written += 10_000
                size = exchange.connection.transport.get_write_buffer_size()
                largest = max(largest, size)
            await asyncio.sleep(0)

    async with Gateway(handler) as gateway:
        _, writer = await gateway.connect(limit=1000)
        writer.write(GET)
        await until(lambda: watcher.is_slow)
        await asyncio.sleep(0.2)
        assert largest <= HIGH_WATER_BYTES + 20_000
        assert written < 50_000_000
        reset(writer)
        await asyncio.wait_for(watcher.gone.wait(), 1.0)
        await closed(writer)


@on_uvloop
async def test_a_cut_answer_to_http_1_0_ends_in_a_reset():
    """Its end is the connection's end, so only a reset says that it is not whole."""

    async def handler(exchange):
        exchange.start(200, b"")
        exchange.write(b"half")
        await asyncio.sleep(0.05)
        exchange.abort()

    async with Gateway(handler) as gateway:
        reader, writer = await gateway.connect()
        writer.write(request(b"GET /x HTTP/1.0", HOST))
        with pytest.raises(ConnectionResetError):
            await reader.read()
        await closed(writer)


@on_uvloop
async def test_the_last_words_of_a_cut_stream_arrive():
    """An error event written just before `abort` is read by a client that still sends."""

    async def handler(exchange):
        exchange.start(200, b"")
        exchange.write(b"data: error\n\n")
        exchange.abort()

    async with Gateway(handler) as gateway:
        reader, writer = await gateway.connect()
        head = request(b"POST /x HTTP/1.1", HOST, b"Content-Length: 1000000")
        writer.write(head + b"z" * 500_000)
        (answer,) = read_answers(await reader.read())
        assert (answer.body, answer.whole) == (b"data: error\n\n", False)
        await closed(writer)


# Drain


@on_uvloop
async def test_a_drain_finishes_what_runs_and_closes_what_idles():
    """The running answer is whole and says `connection: close`; the idle one just ends."""
    handler = Watched()
    async with Gateway(handler) as gateway:
        server = gateway.server
        idle_reader, idle_writer = await gateway.connect()
        server.handler = echo
        idle_writer.write(GET)
        await read_answer(idle_reader)
        server.handler = handler
        reader, writer = await gateway.connect()
        writer.write(GET)
        await asyncio.wait_for(handler.started.wait(), DEADLINE_S)
        drain = asyncio.ensure_future(server.drain(DEADLINE_S))
        assert await asyncio.wait_for(idle_reader.read(), 1.0) == b""
        assert not drain.done()
        handler.finish.set()
        (answer,) = read_answers(await reader.read())
        assert answer.body == b"done"
        assert answer.headers["connection"] == "close"
        assert await drain is True
        assert not server.connections
        await closed(writer)
        await closed(idle_writer)


@on_uvloop
async def test_a_request_that_has_just_arrived_is_still_served_by_a_drain():
    """It waits in the kernel when the drain begins; closing on it would reset its client."""
    async with Gateway() as gateway:
        loop = asyncio.get_running_loop()
        with socket.socket() as client:
            client.setblocking(False)
            await loop.sock_connect(client, ("127.0.0.1", gateway.port))
            await loop.sock_sendall(client, GET)
            assert await loop.sock_recv(client, 4096)
            loop.call_soon(client.send, GET)  # in the turn of the loop in which the drain begins
            drain = asyncio.ensure_future(gateway.server.drain(DEADLINE_S))
            received = b""
            while piece := await loop.sock_recv(client, 4096):
                received += piece
        (answer,) = read_answers(received)
        assert answer.status == 200
        assert answer.headers["connection"] == "close"
        assert await drain is True


@on_uvloop
async def test_a_drain_stops_accepting_and_leaves_the_queue_to_others():
    """A connection made meanwhile stays in the kernel's queue, neither refused nor served."""
    async with Gateway() as gateway:
        await gateway.server.drain(1.0)
        reader, writer = await gateway.connect()
        writer.write(GET)
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(reader.read(1), 0.2)
        assert gateway.server.accepted_total == 0
        await closed(writer)


@on_uvloop
async def test_the_last_process_on_a_listener_serves_its_queue():
    """Closing a listener resets what it has queued."""
    async with Gateway() as gateway:
        gateway.server._stop_listening()
        clients = [await gateway.connect() for _ in range(5)]
        for _, writer in clients:
            writer.write(GET)
        drain = asyncio.ensure_future(gateway.server.drain(DEADLINE_S, take_queue=True))
        for reader, writer in clients:
            (answer,) = read_answers(await reader.read())
            assert answer.status == 200
            assert answer.headers["connection"] == "close"
            await closed(writer)
        assert await drain is True


@on_uvloop
async def test_a_connection_that_was_just_made_is_still_served_by_a_drain():
    """Its client was let in; it has two seconds to say what it wants."""
    async with Gateway() as gateway:
        reader, writer = await gateway.connect()
        await until(lambda: gateway.server.connections)
        drain = asyncio.ensure_future(gateway.server.drain(DEADLINE_S))
        await asyncio.sleep(0.3)
        writer.write(GET)
        assert read_answers(await reader.read())[0].status == 200
        assert await drain is True
        await closed(writer)


@on_uvloop
async def test_a_drain_past_its_deadline_lets_handlers_say_their_last_words():
    """Handlers are cancelled, may write an error event, and the stream is cut."""
    handler = Watched()
    async with Gateway(handler) as gateway:
        reader, writer = await gateway.connect()
        writer.write(GET)
        await asyncio.wait_for(handler.started.wait(), DEADLINE_S)
        assert await gateway.server.drain(0.1) is False
        (answer,) = read_answers(await reader.read())
        assert answer.body == b"data: stopping\n\n"
        assert not answer.whole
        assert not gateway.server.connections
        assert not gateway.server.running
        await closed(writer)


@on_uvloop
async def test_handlers_that_hang_on_are_told_that_their_client_is_gone():
    """A stop is bounded even if a handler ignores that it is cancelled."""
    gone = asyncio.Event()

    class Stubborn:
        client_slow = client_ready = staticmethod(lambda: None)

        @staticmethod
        def client_gone():
            gone.set()

    async def handler(exchange):
        exchange.watcher = Stubborn()
        while not gone.is_set():
            with contextlib.suppress(asyncio.CancelledError):
                await gone.wait()

    async with Gateway(handler) as gateway:
        reader, writer = await gateway.connect()
        writer.write(GET)
        await until(lambda: gateway.server.running)
        await asyncio.sleep(0.05)
        started = time.monotonic()
        await gateway.server.stop()
        assert time.monotonic() - started < 3.0
        assert gone.is_set()
        with contextlib.suppress(ConnectionResetError):
            assert await reader.read() == b""
        await closed(writer)


# Accepting


@on_uvloop
async def test_no_more_than_max_connections_are_held():
    """The next one waits in the kernel's queue, for room here or in another worker."""
    async with Gateway(max_connections=2) as gateway:
        clients = [await gateway.connect() for _ in range(3)]
        for _, writer in clients:
            writer.write(GET)
        for reader, _ in clients[:2]:
            await read_answer(reader)
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(clients[2][0].read(1), 0.2)
        assert len(gateway.server.connections) == 2
        await closed(clients[0][1])
        assert b"200 OK" in await asyncio.wait_for(read_answer(clients[2][0]), DEADLINE_S)
        for _, writer in clients[1:]:
            await closed(writer)


@on_uvloop
async def test_a_raised_cap_lets_waiting_connections_in():
    """A reload takes effect without anybody having to leave."""
    async with Gateway(max_connections=1) as gateway:
        clients = [await gateway.connect() for _ in range(2)]
        for _, writer in clients:
            writer.write(GET)
        await read_answer(clients[0][0])
        await asyncio.sleep(0.05)
        assert gateway.server.accepted_total == 1
        gateway.server.configure(EdgeSnapshot(max_connections=10))
        assert b"200 OK" in await asyncio.wait_for(read_answer(clients[1][0]), DEADLINE_S)
        for _, writer in clients:
            await closed(writer)


@on_uvloop
async def test_a_busy_worker_steps_aside_once_and_then_accepts():
    """A rule that could say no for ever would leave a client unaccepted."""
    asked = 0

    def should_yield():
        nonlocal asked
        asked += 1
        return True

    async with Gateway(should_yield=should_yield) as gateway:
        for number in range(1, 4):
            reader, writer = await gateway.connect()
            writer.write(GET)
            assert b"200 OK" in await asyncio.wait_for(read_answer(reader), DEADLINE_S)
            assert asked == number
            await closed(writer)


@on_uvloop
async def test_accepting_goes_on_after_descriptors_ran_out():
    """The error is reported once a try, not in a busy loop."""

    class Exhausted:
        def __init__(self, listener):
            self.listener = listener
            self.fails = 2

        def accept(self):
            if self.fails:
                self.fails -= 1
                raise OSError(errno.EMFILE, "Too many open files")
            return self.listener.accept()

        def __getattr__(self, name):
            return getattr(self.listener, name)

    async with Gateway() as gateway:
        gateway.server._listener = Exhausted(gateway.listener)
        reader, writer = await gateway.connect()
        writer.write(GET)
        assert b"200 OK" in await asyncio.wait_for(read_answer(reader), DEADLINE_S)
        assert gateway.server.accepts_failed_total == 2
        assert len(gateway.errors) == 2
        await closed(writer)


# TLS


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """Return the paths of a self-signed certificate and its key."""
    folder = tmp_path_factory.mktemp("tls")
    paths = str(folder / "cert.pem"), str(folder / "key.pem")
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj",
         "/CN=localhost", "-addext", "subjectAltName=DNS:localhost", "-out", paths[0], "-keyout",
         paths[1]],
        check=True, capture_output=True,
    )  # fmt: skip
    return paths


@pytest.fixture
def tls(certificate):
    """Return `(server context, client context)`."""
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(*certificate)
    return server, ssl.create_default_context(cafile=certificate[0])


@on_uvloop
async def test_requests_refusals_and_streams_work_over_tls(tls):
    """The same answers, encrypted."""

    async def handler(exchange):
        if exchange.path == b"/stream":
            exchange.start(200, b"")
            for _ in range(100):
                exchange.write(b"z" * 10_000)
            exchange.end()
        else:
            await echo(exchange)

    async with Gateway(handler, tls=tls[0]) as gateway:
        secure = {"ssl": tls[1], "server_hostname": "localhost", "limit": 2**21}
        reader, writer = await gateway.connect(**secure)
        writer.write(GOOD)
        assert (await read_answer(reader)).endswith(b"good")
        writer.write(request(b"GET /stream HTTP/1.1", HOST))
        stream = await reader.readuntil(b"\r\n0\r\n\r\n")
        assert stream.count(b"z") == 1_000_000
        writer.write(request(b"GET /x HTTP/1.1"))
        assert read_answers(await reader.read())[0].code == "host_missing"
        await closed(writer)
        reader, writer = await gateway.connect(**secure)
        writer.write(request(b"GET /x HTTP/1.1", HOST, b"Connection: close"))
        assert read_answers(await reader.read())[0].status == 200
        await closed(writer)


@on_uvloop
async def test_a_client_that_leaves_over_tls_is_told_within_a_second(tls):
    """Disconnects are seen through the encryption."""
    handler = Watched()
    async with Gateway(handler, tls=tls[0]) as gateway:
        _, writer = await gateway.connect(ssl=tls[1], server_hostname="localhost")
        writer.write(GET)
        await asyncio.wait_for(handler.started.wait(), DEADLINE_S)
        writer.close()
        await asyncio.wait_for(handler.gone.wait(), 1.0)
        await closed(writer)


@on_uvloop
async def test_plain_bytes_on_a_tls_port_end_the_connection(tls):
    """Nothing is answered in plain text, and nothing is left behind."""
    async with Gateway(tls=tls[0]) as gateway:
        reader, writer = await gateway.connect()
        writer.write(GET)
        with contextlib.suppress(ConnectionResetError):
            assert not (await reader.read()).startswith(b"HTTP/")
        await until(lambda: not gateway.server.connections)
        assert gateway.server.handshakes_failed_total == 1
        assert gateway.errors == []
        await closed(writer)


@on_uvloop
async def test_a_handshake_that_does_not_come_is_given_up(tls):
    """It has the header timer's time."""
    async with Gateway(tls=tls[0], header_timeout_s=0.3) as gateway:
        reader, writer = await gateway.connect()
        await until(lambda: gateway.server.connections)
        with contextlib.suppress(ConnectionResetError):
            assert await asyncio.wait_for(reader.read(), 5.0) == b""
        await until(lambda: not gateway.server.connections)
        assert gateway.server.handshakes_failed_total == 1
        await closed(writer)
