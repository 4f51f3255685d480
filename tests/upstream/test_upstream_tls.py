"""TLS to an upstream, and the way through a proxy."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import ipaddress
import socket
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from tests.upstream.misbehaving import Peer, answering, fault_of, fetch, head_for, ok, send, until

from tidegate.upstream.answer import UpstreamFault

CHUNKED = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A self-signed certificate for 127.0.0.1, its key in the same file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]),
            critical=False,
        )
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("tls") / "server.pem"
    path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        + made.public_bytes(serialization.Encoding.PEM)
    )
    return path


class TlsUpstream:
    """A TLS server that answers each request with `answers` or the request's own body.

    Attributes:
        answer: Sent for each request if set.
        then: `stay`, or how a connection ends after the first answer: `close`, `cut` (no
            good-bye of TLS).
        connections: Number of handshakes that succeeded.
    """

    def __init__(self, certificate: Path) -> None:
        self.answer: bytes | None = None
        self.then = "stay"
        self.connections = 0
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(certificate)
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self._context)
        self.port = self._server.sockets[0].getsockname()[1]
        self.url = f"https://127.0.0.1:{self.port}"

    async def stop(self) -> None:
        assert self._server is not None
        self._server.close()
        for writer in list(self._writers):
            writer.transport.abort()
        await until(lambda: not self._writers)
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._writers.add(writer)
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
                body = await reader.readexactly(length)
                writer.write(ok(body) if self.answer is None else self.answer)
                await writer.drain()
                if self.then == "close":
                    break
                if self.then == "cut":
                    # Past TLS, straight on the socket: the end comes without a good-bye.
                    await asyncio.sleep(0.002)
                    writer.transport.abort()
                    break
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            self._writers.discard(writer)
            writer.close()


@pytest.fixture
async def tls_upstream(certificate: Path) -> AsyncIterator[TlsUpstream]:
    """A well-behaved server behind a self-signed certificate."""
    server = TlsUpstream(certificate)
    await server.start()
    yield server
    await server.stop()


def trusting(certificate: Path) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=certificate)


async def test_an_unknown_certificate_is_refused(tls_upstream, make_pool):
    """Verification is on: no byte of a request reaches a server we do not trust."""
    pool = make_pool(tls_upstream.url, ssl_context=ssl.create_default_context())
    fault = await fault_of(fetch(pool, b"secret"))
    assert (fault.kind, fault.sent, fault.answered) == ("tls", False, False)
    assert "certificate" in str(fault)
    assert pool.open_connections == 0


async def test_a_known_authority_is_accepted(tls_upstream, make_pool, certificate):
    """With the authority given, requests pass and share one handshake."""
    pool = make_pool(tls_upstream.url, ssl_context=trusting(certificate))
    for number in range(20):
        assert await fetch(pool, b"%d" % number) == (200, b"%d" % number)
    assert (tls_upstream.connections, pool.connects) == (1, 1)


async def test_the_environment_can_name_the_authority(
    tls_upstream, make_pool, certificate, monkeypatch
):
    """`SSL_CERT_FILE` works as it does elsewhere."""
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    pool = make_pool(tls_upstream.url, ssl_context=ssl.create_default_context())
    assert await fetch(pool, b"hello") == (200, b"hello")


async def test_a_certificate_for_another_name_is_refused(tls_upstream, make_pool, certificate):
    """A trusted authority is not enough: the name must fit."""
    pool = make_pool(f"https://localhost:{tls_upstream.port}", ssl_context=trusting(certificate))
    fault = await fault_of(fetch(pool))
    assert (fault.kind, fault.sent) == ("tls", False)


async def test_a_server_without_tls_is_a_tls_fault(upstream, make_pool):
    """Plain http behind an https URL never sees the request."""
    seen: list[object] = []

    async def script(peer: Peer) -> None:
        seen.append(await asyncio.get_running_loop().sock_recv(peer.sock, 1000))
        await peer.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    upstream.script = script
    pool = make_pool(
        upstream.url.replace("http", "https"), ssl_context=ssl.create_default_context()
    )
    fault = await fault_of(fetch(pool, b"secret"))
    assert (fault.kind, fault.sent) == ("tls", False)
    assert b"secret" not in seen[0]


async def test_a_handshake_that_hangs_is_a_connect_fault(upstream, make_pool):
    """The connect deadline covers the handshake."""
    upstream.script = answering(then="stay")
    pool = make_pool(
        upstream.url.replace("http", "https"),
        ssl_context=ssl.create_default_context(),
        connect_s=0.1,
    )
    fault = await fault_of(fetch(pool))
    assert (fault.kind, fault.sent) == ("connect", False)
    assert pool.open_connections == 0


async def test_scheme_and_context_must_fit(make_pool):
    """No https without TLS, by whatever mistake."""
    with pytest.raises(ValueError, match="TLS"):
        make_pool("https://127.0.0.1:1")
    with pytest.raises(ValueError, match="TLS"):
        make_pool("http://127.0.0.1:1", ssl_context=ssl.create_default_context())


@pytest.mark.parametrize("then", ["close", "cut"])
async def test_a_cut_tls_stream_is_truncated(tls_upstream, make_pool, certificate, then):
    """With or without TLS's good-bye, a chunked body without its end is not whole."""
    tls_upstream.answer = CHUNKED + b"5\r\nhello\r\n"
    tls_upstream.then = then
    pool = make_pool(tls_upstream.url, ssl_context=trusting(certificate))
    pieces: list[bytes] = []

    async def relay() -> None:
        await (await send(pool)).relay(pieces.append)

    fault = await fault_of(relay())
    assert (fault.kind, fault.answered) == ("truncated", True)
    assert pieces == [b"hello"]


async def test_a_tls_connection_closed_while_idle_is_replaced(tls_upstream, make_pool, certificate):
    """As without TLS: silently fresh."""
    tls_upstream.then = "close"
    pool = make_pool(tls_upstream.url, ssl_context=trusting(certificate))
    for number in range(10):
        assert await fetch(pool, b"%d" % number) == (200, b"%d" % number)
        await until(lambda: pool.open_connections == 0)
    assert tls_upstream.connections == 10


async def test_an_unrequested_answer_over_tls_reaches_nobody(tls_upstream, make_pool, certificate):
    """Behind an answer, inside TLS, too."""
    tls_upstream.answer = ok(b"mine") + ok(b"for nobody")
    pool = make_pool(tls_upstream.url, ssl_context=trusting(certificate))
    for _ in range(10):
        assert await fetch(pool) == (200, b"mine")
    assert tls_upstream.connections == 10


class TunnelProxy:
    """A script for `Upstream`: an HTTP proxy that knows CONNECT.

    Attributes:
        heads: Heads of the requests it got.
        answer: Sent instead of opening a tunnel, if set.
        surplus: Sent right behind its own answer.
    """

    def __init__(self, port: int) -> None:
        self.heads: list[bytes] = []
        self.answer: bytes | None = None
        self.surplus = b""
        self._port = port

    async def __call__(self, peer: Peer) -> None:
        request = await peer.request()
        assert request is not None
        self.heads.append(request[0])
        if self.answer is not None:
            await peer.send(self.answer)
            return
        loop = asyncio.get_running_loop()
        target = socket.socket()
        target.setblocking(False)
        await loop.sock_connect(target, ("127.0.0.1", self._port))
        # Odd but legal: a length on the answer to CONNECT means nothing.
        await peer.send(b"HTTP/1.1 200 Connection established\r\ncontent-length: 9\r\n\r\n")
        await peer.send(self.surplus)

        async def pump(source: socket.socket, sink: socket.socket) -> None:
            with contextlib.suppress(OSError):
                while data := await loop.sock_recv(source, 65536):
                    await loop.sock_sendall(sink, data)

        pumps = [
            asyncio.ensure_future(pump(peer.sock, target)),
            asyncio.ensure_future(pump(target, peer.sock)),
        ]
        try:
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for one in pumps:
                one.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)
            target.close()


async def test_https_goes_through_a_tunnel(upstream, tls_upstream, make_pool, certificate):
    """The proxy sees the host and its own credential, and nothing of the request."""
    proxy = upstream.script = TunnelProxy(tls_upstream.port)
    pool = make_pool(
        tls_upstream.url,
        ssl_context=trusting(certificate),
        proxy=f"http://user:pw@127.0.0.1:{upstream.port}",
    )
    for number in range(5):
        assert await fetch(pool, b"%d" % number) == (200, b"%d" % number)
    assert len(proxy.heads) == 1
    lines = proxy.heads[0].split(b"\r\n")
    assert lines[0] == b"CONNECT 127.0.0.1:%d HTTP/1.1" % tls_upstream.port
    assert b"proxy-authorization: Basic dXNlcjpwdw==" in lines


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 407 Proxy Authentication Required\r\ncontent-length: 0\r\n\r\n",
        b"HTTP/1.1 502 Bad Gateway\r\n\r\n",
        b"HTTP/1.1 200 OK\n\n",
        b"SSH-2.0-x\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n",
        b"HTTP/1.1 200 OK\r\na: " + b"x" * 100_000,
        b"",
    ],
)
async def test_a_proxy_that_refuses_is_a_connect_fault(upstream, make_pool, answer):
    """Nothing of the request was sent, and no credential is in the message."""
    proxy = upstream.script = TunnelProxy(0)
    proxy.answer = answer
    pool = make_pool(
        "https://api.example.com",
        ssl_context=ssl.create_default_context(),
        proxy=f"http://user:hunter2@127.0.0.1:{upstream.port}",
    )
    fault = await fault_of(fetch(pool))
    assert (fault.kind, fault.sent, fault.answered) == ("connect", False, False)
    assert "hunter2" not in repr(fault)
    assert pool.open_connections == 0


async def test_bytes_before_the_tunnel_is_used_are_a_fault(
    upstream, tls_upstream, make_pool, certificate
):
    """A proxy that speaks in the server's name does not get to the handshake, or fails in it."""
    proxy = upstream.script = TunnelProxy(tls_upstream.port)
    proxy.surplus = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello"
    pool = make_pool(
        tls_upstream.url,
        ssl_context=trusting(certificate),
        proxy=f"127.0.0.1:{upstream.port}",
    )
    with pytest.raises(UpstreamFault) as caught:
        await fetch(pool)
    assert caught.value.kind in ("connect", "tls")
    assert not caught.value.sent


async def test_plain_http_is_asked_for_with_the_whole_url(upstream, make_pool):
    """Through a proxy, each request has an absolute target and the proxy's credential."""
    heads: list[bytes] = []

    async def script(peer: Peer) -> None:
        while (request := await peer.request()) is not None:
            heads.append(request[0])
            await peer.send(ok(request[1]))

    upstream.script = script
    pool = make_pool("http://models.example:8080", proxy=f"http://u:p@127.0.0.1:{upstream.port}")
    deadline = asyncio.get_running_loop().time() + 10
    for _ in range(2):
        reply = await pool.send(head_for(b"hi"), b"hi", deadline=deadline)
        assert await reply.read(10) == b"hi"
    assert upstream.connections == 1
    for head in heads:
        lines = head.split(b"\r\n")
        assert lines[0] == b"POST http://models.example:8080/v1/x HTTP/1.1"
        assert b"proxy-authorization: Basic dTpw" in lines
        assert b"host: test" in lines
