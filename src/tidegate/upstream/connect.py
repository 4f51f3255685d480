"""Opens sockets to upstreams: names, policy, proxy tunnel, TLS. No other code connects.

The policy stands here, behind name resolution, because a check of the URL alone is fooled
by a name that resolves to a forbidden address.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import ssl
from collections.abc import Callable
from typing import Final

from tidegate.upstream.answer import FaultKind, UpstreamFault
from tidegate.upstream.connection import Connection
from tidegate.upstream.head import MAX_HEAD_BYTES, HeadParser, ProtocolError
from tidegate.upstream.origin import Origin
from tidegate.upstream.proxy import Proxy

_METADATA_NAMES: Final = frozenset(
    {
        "metadata",
        "metadata.google.internal",
        "metadata.goog",
        "instance-data",
        "instance-data.ec2.internal",
    }
)
_REFUSED_NETWORKS: Final = tuple(
    ipaddress.ip_network(text)
    for text in (
        "169.254.0.0/16",  # link-local; metadata of most clouds
        "fe80::/10",
        "fd00:ec2::/32",  # AWS metadata over IPv6
        "100.100.100.200/32",  # Alibaba
        "192.0.0.192/32",  # Oracle
        "168.63.129.16/32",  # Azure
        "224.0.0.0/4",
        "255.255.255.255/32",
        "ff00::/8",
    )
)


def is_refused_name(host: str) -> bool:
    """Whether *host* is a name under which clouds hand out machine credentials."""
    return host.rstrip(".") in _METADATA_NAMES


def is_refused_address(text: str) -> bool:
    """Whether an address is link-local, multicast or a cloud's metadata service.

    IPv4 addresses inside IPv6 ones (mapped, 6to4, NAT64) are judged as what they reach.
    """
    address = ipaddress.ip_address(text.split("%", 1)[0])
    if isinstance(address, ipaddress.IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour
        if inner is None and address in _NAT64:
            inner = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        if inner is not None:
            address = inner
    return any(address in network for network in _REFUSED_NETWORKS)


_NAT64: Final = ipaddress.ip_network("64:ff9b::/96")


def fault(kind: FaultKind, message: str) -> UpstreamFault:
    """Return a fault of an exchange that has not begun."""
    return UpstreamFault(kind, message, sent=False, answered=False)


class Connector:
    """Makes connections to one origin, directly or through a proxy.

    Attributes:
        origin: Where to.
        proxy: Through what; None for a direct connection.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        origin: Origin,
        *,
        ssl_context: ssl.SSLContext | None,
        connect_s: float,
        proxy: Proxy | None,
        allow_metadata: bool,
    ) -> None:
        if (origin.scheme == "https") is not (ssl_context is not None):
            raise ValueError("an https origin needs a TLS context, and only that one")
        self.origin = origin
        self.proxy = proxy
        self._loop = loop
        self._ssl_context = ssl_context
        self._connect_s = connect_s
        self._allow_metadata = allow_metadata

    async def connect(
        self, make: Callable[[socket.socket], Connection], deadline: float
    ) -> Connection:
        """Return a new connection, idle.

        Args:
            make: Builds the protocol around the connected socket.
            deadline: Loop time at which the whole request is over.

        Raises:
            UpstreamFault: `connect`, `tls`, or `total` when *deadline* came first.
        """
        until = self._loop.time() + self._connect_s
        try:
            async with asyncio.timeout_at(min(until, deadline)):
                return await self._connect(make, until)
        except TimeoutError:
            if until < deadline:
                raise fault("connect", "no connection to the upstream in time") from None
            raise fault("total", "the request's time was over before a connection") from None

    async def _connect(
        self, make: Callable[[socket.socket], Connection], until: float
    ) -> Connection:
        origin, proxy = self.origin, self.proxy
        self._check(origin.host)
        if proxy is None:
            sock = await self._open_socket(origin.host, origin.port, until)
        else:
            sock = await self._open_socket(proxy.host, proxy.port, until)
        try:
            if proxy is not None and self._ssl_context is not None:
                await self._open_tunnel(sock, proxy)
            return await self._attach(sock, make)
        except BaseException:
            sock.close()
            raise

    def _check(self, host: str) -> None:
        """Refuse a name or literal address that policy forbids."""
        if self._allow_metadata:
            return
        if is_refused_name(host):
            raise fault("connect", "the policy refuses this host")
        try:
            refused = is_refused_address(host)
        except ValueError:
            return
        if refused:
            raise fault("connect", "the policy refuses this address")

    async def _open_socket(self, host: str, port: int, until: float) -> socket.socket:
        """Connect to the first address of *host* that answers."""
        loop = self._loop
        try:
            found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError):
            raise fault("connect", "the upstream's name does not resolve") from None
        refused = 0
        for index, (family, kind, proto, _, address) in enumerate(found):
            if not self._allow_metadata and is_refused_address(str(address[0])):
                refused += 1
                continue
            sock = socket.socket(family, kind, proto)
            try:
                sock.setblocking(False)
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                # Models think for minutes without a byte; routers forget silent connections.
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
                if hasattr(socket, "TCP_KEEPIDLE"):
                    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 60)
                # An address that drops packets must leave time for the ones behind it.
                share = (until - loop.time()) / (len(found) - index)
                async with asyncio.timeout(share):
                    await loop.sock_connect(sock, address)
            except (OSError, TimeoutError):
                sock.close()
            except BaseException:
                sock.close()
                raise
            else:
                return sock
        if refused and refused == len(found):
            raise fault("connect", "the policy refuses the address this name resolves to")
        raise fault("connect", "the upstream refuses connections or has no route")

    async def _open_tunnel(self, sock: socket.socket, proxy: Proxy) -> None:
        """Ask *proxy* for a tunnel; not one byte may follow its answer's head."""
        loop = self._loop
        received = b""
        try:
            await loop.sock_sendall(sock, proxy.connect_head(self.origin))
            while b"\r\n\r\n" not in received:
                data = await loop.sock_recv(sock, 4096)
                if not data:
                    raise fault("connect", "the proxy closed before it answered")
                received += data
                if len(received) > MAX_HEAD_BYTES:
                    raise fault("connect", "the proxy's answer is over the cap")
        except OSError:
            raise fault("connect", "the connection to the proxy was lost") from None
        head, _, rest = received.partition(b"\r\n\r\n")
        try:
            # A successful CONNECT has no body, whatever its headers say: as after HEAD.
            answer = HeadParser().parse(head, to_head_request=True)
        except ProtocolError:
            raise fault("connect", "the proxy broke HTTP") from None
        if not 200 <= answer.status < 300:
            raise fault("connect", f"the proxy refused the tunnel with status {answer.status}")
        if rest:
            raise fault("connect", "the proxy sent bytes before the tunnel was used")

    async def _attach(
        self, sock: socket.socket, make: Callable[[socket.socket], Connection]
    ) -> Connection:
        """Wrap a connected socket, in TLS if the origin wants it."""
        loop = self._loop
        try:
            if self._ssl_context is None:
                _, connection = await loop.create_connection(lambda: make(sock), sock=sock)
            else:
                _, connection = await loop.create_connection(
                    lambda: make(sock),
                    sock=sock,
                    ssl=self._ssl_context,
                    server_hostname=self.origin.host,
                    ssl_handshake_timeout=self._connect_s + 1.0,
                )
        except ssl.SSLCertVerificationError as error:
            raise fault("tls", f"the certificate was refused: {error.verify_message}") from None
        except (ssl.SSLError, ConnectionError) as error:
            kind: FaultKind = "connect" if self._ssl_context is None else "tls"
            raise fault(kind, f"the handshake failed ({type(error).__name__})") from None
        except OSError:
            raise fault("connect", "the connection was lost while it was made") from None
        return connection
