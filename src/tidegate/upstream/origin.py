"""Where a provider lives, read from its base URL by a grammar that leaves nothing to guess.

A URL that two parsers could read differently would let a credential reach the wrong
host, so everything unusual is refused instead of repaired.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from typing import Literal
from urllib.parse import urlsplit

_URL = re.compile(
    r"(?P<scheme>https?)://"
    r"(?P<host>[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])"
    r"(?::(?P<port>[0-9]{1,5}))?"
    r"(?P<path>(?:/[A-Za-z0-9._~!$&'()*+,;=:@%-]*)*)"
)
_LABEL = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?")
_SEGMENT = re.compile(r"(?:[A-Za-z0-9._~!$&'()*+,;=:@-]|%[0-9A-Fa-f]{2})*")
_DEFAULT_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Origin:
    """One `scheme://host:port` and the path that all its endpoints begin with.

    Attributes:
        scheme: `http` or `https`.
        host: Lower-case name, dotted quad, or IPv6 address without brackets.
        port: 1 … 65535.
        base_path: Begins with `/` and does not end with it; `b""` when there is none.
    """

    scheme: Literal["http", "https"]
    host: str
    port: int
    base_path: bytes = b""

    @staticmethod
    def parse(url: str) -> Origin:
        """Read a base URL such as `https://api.example.com/v1`.

        Raises:
            ValueError: Not `http(s)://host[:port][/path]` to the letter: user information,
                query, fragment, odd host forms, `.` or empty path segments and the like. The
                message never repeats the URL, which may hold a secret.
        """
        match = _URL.fullmatch(url)
        if match is None:
            raise ValueError(_what_is_wrong(url))
        scheme: Literal["http", "https"] = "https" if match["scheme"] == "https" else "http"
        host = check_host(match["host"])
        port = int(match["port"]) if match["port"] else _DEFAULT_PORTS[scheme]
        if not 1 <= port <= 65535:
            raise ValueError("the port is not between 1 and 65535")
        path = match["path"].rstrip("/")
        for segment in path.split("/")[1:]:
            if segment in ("", ".", "..") or not _SEGMENT.fullmatch(segment):
                raise ValueError("the path has an empty, dotted or badly escaped segment")
            if re.search(r"%2[ef]|%5c", segment, re.IGNORECASE):
                raise ValueError("the path has an escaped dot, slash or backslash")
        origin = Origin(scheme, host, port, path.encode("ascii"))
        origin.check_round_trip()
        return origin

    def check_round_trip(self) -> None:
        """Read the final URL with a second parser; raises ValueError if it sees another place."""
        text = self.url
        parts = urlsplit(text)
        again = (parts.scheme, parts.hostname, parts.port or _DEFAULT_PORTS[self.scheme])
        if again != (self.scheme, self.host, self.port) or (
            parts.path.encode("ascii"),
            parts.query,
            parts.fragment,
            parts.username,
        ) != (self.base_path, "", "", None):
            raise ValueError("the URL can be read in more than one way")

    @property
    def authority(self) -> str:
        """`host:port` with brackets where needed and without a default port."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _DEFAULT_PORTS[self.scheme] else f"{host}:{self.port}"

    @property
    def host_header(self) -> bytes:
        """Value of the `host` header."""
        return self.authority.encode("ascii")

    @property
    def url(self) -> str:
        """The whole base URL in its normal form."""
        return f"{self.scheme}://{self.authority}{self.base_path.decode('ascii')}"


def check_host(text: str) -> str:
    """Return *text* in the normal form of a host.

    A name whose last label is all digits, or hexadecimal, must be a plain dotted quad:
    resolvers read `127.1`, `0x7f000001` and `2130706433` as addresses.

    Raises:
        ValueError: Not a host name, dotted quad or bracketed IPv6 address.
    """
    if text.startswith("["):
        try:
            return str(ipaddress.IPv6Address(text[1:-1]))
        except ValueError:
            raise ValueError("the host is not a valid IPv6 address") from None
    host = text.lower()
    labels = host.split(".")
    if len(host) > 253 or not all(_LABEL.fullmatch(label) for label in labels):
        raise ValueError("the host is not a valid name")
    if re.fullmatch(r"[0-9]+|0x[0-9a-f]*", labels[-1]):
        try:
            return str(ipaddress.IPv4Address(host))
        except ValueError:
            raise ValueError("the host looks like an address but is not a dotted quad") from None
    return host


def _what_is_wrong(url: str) -> str:
    """Name the most likely reason, without repeating the URL."""
    if not url.startswith(("http://", "https://")):
        return "a base URL begins with http:// or https://"
    authority = url.split("://", 1)[1].split("/", 1)[0]
    if "@" in authority:
        return "a base URL has no user or password: set api_key instead"
    if "?" in url or "#" in url:
        return "a base URL has no query and no fragment"
    return "not a plain http(s)://host[:port][/path] URL"
