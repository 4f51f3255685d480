"""Outbound HTTP proxies: which one to use for an origin, and how to speak through it."""

from __future__ import annotations

import base64
import ipaddress
import re
from collections.abc import Mapping
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


def proxy_for(origin: Origin, env: Mapping[str, str]) -> str | None:
    """Return the proxy URL that *env* names for *origin*, or None for a direct connection.

    Reads `http_proxy` or `https_proxy` by the origin's scheme, then `all_proxy`, lower case
    before upper case. `localhost` and loopback addresses are always reached directly, and
    so is what `no_proxy` lists: `*`, names (which cover their subdomains), addresses, networks
    such as `10.0.0.0/8`, each with an optional `:port`.
    """
    url = _setting(env, f"{origin.scheme}_proxy") or _setting(env, "all_proxy")
    if not url or _is_loopback(origin.host):
        return None
    for entry in _setting(env, "no_proxy").split(","):
        if _covers(entry.strip().lower(), origin):
            return None
    return url


def _setting(env: Mapping[str, str], name: str) -> str:
    return (env.get(name) or env.get(name.upper()) or "").strip()


def _is_loopback(host: str) -> bool:
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _covers(entry: str, origin: Origin) -> bool:
    """Whether one item of `no_proxy` names *origin*."""
    if entry == "*":
        return True
    match = re.fullmatch(r"(\[[0-9a-f:.]+\]|[^:\[\]]+):([0-9]{1,5})", entry)
    if match is not None:
        if int(match[2]) != origin.port:
            return False
        entry = match[1]
    entry = entry.strip("[]").removeprefix("*")
    try:
        return ipaddress.ip_address(origin.host) in ipaddress.ip_network(entry, strict=False)
    except ValueError:
        pass
    name = entry.removeprefix(".")
    return bool(name) and (origin.host == name or origin.host.endswith(f".{name}"))
