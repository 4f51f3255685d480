"""Outbound HTTP proxies: how to speak through one. `config.proxies` says which one is used."""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass, field
from urllib.parse import unquote_to_bytes

from tidegate.upstream.origin import Origin, check_host

_PROXY = re.compile(
    r"http://(?:(?P<user>[^:@/?#\s]*)(?::(?P<password>[^@/?#\s]*))?@)?"
    r"(?P<host>[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])"
    r"(?::(?P<port>[0-9]{1,5}))?/?"
)


@dataclass(frozen=True, slots=True)
class Proxy:
    """One HTTP proxy. Its credential is kept out of `repr`.

    Attributes:
        host: As `Origin.host`.
        port: 1 … 65535; 80 when the URL names none.
        authorization: Value of `proxy-authorization`, or None.
    """

    host: str
    port: int
    authorization: bytes | None = field(default=None, repr=False)

    @staticmethod
    def parse(url: str) -> Proxy:
        """Read `http://[user:password@]host[:port]`, the scheme being optional as in curl.

        Raises:
            ValueError: Anything else; the message holds nothing of the URL.
        """
        match = _PROXY.fullmatch(url if "://" in url else f"http://{url}")
        if match is None:
            raise ValueError("a proxy is written http://[user:password@]host[:port]")
        port = int(match["port"] or 80)
        if not 1 <= port <= 65535:
            raise ValueError("the proxy's port is not between 1 and 65535")
        authorization = None
        if match["user"] is not None:
            pair = (
                unquote_to_bytes(match["user"]) + b":" + unquote_to_bytes(match["password"] or "")
            )
            authorization = b"Basic " + base64.b64encode(pair)
        return Proxy(check_host(match["host"]), port, authorization)

    def connect_head(self, origin: Origin) -> bytes:
        """Return the CONNECT request that opens a tunnel to *origin*."""
        host = f"[{origin.host}]" if ":" in origin.host else origin.host
        target = f"{host}:{origin.port}".encode("ascii")
        return b"CONNECT %b HTTP/1.1\r\nhost: %b\r\n%b\r\n" % (target, target, self._line())

    def absolute_head(self, origin: Origin, head: bytes) -> bytes:
        """Return *head* in the form that a proxy of plain http requests wants."""
        method, _, rest = head.partition(b" ")
        first, _, others = rest.partition(b"\r\n")
        return b"%b http://%b%b\r\n%b%b" % (
            method,
            origin.host_header,
            first,
            self._line(),
            others,
        )

    def _line(self) -> bytes:
        if self.authorization is None:
            return b""
        return b"proxy-authorization: %b\r\n" % self.authorization
