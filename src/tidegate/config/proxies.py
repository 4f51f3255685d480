"""Which proxy an upstream is reached by, from the usual environment variables."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from urllib.parse import urlsplit

_PROXY = re.compile(
    r"http://(?:[^\s/@?#]{1,200}@)?(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]{1,253})(?::[0-9]{1,5})?/?"
)


def check_proxy(url: str) -> str:
    """Return *url* without a trailing slash; a bare `host:port` is taken as `http://`.

    Raises:
        ValueError: Anything else; the message does not hold the URL, which may have a password.
    """
    if "://" not in url:
        url = "http://" + url
    if not url.startswith("http://"):
        raise ValueError("must be an http:// proxy (SOCKS and https:// proxies are not supported)")
    if not _PROXY.fullmatch(url):
        raise ValueError("must look like http://[user:password@]host:port")
    port = url.rstrip("/").rpartition(":")[2]
    if port.isdigit() and not 1 <= int(port) <= 65535:
        raise ValueError("has a port outside 1 to 65535")
    return url.rstrip("/")


def proxy_variable(base_url: str, env: Mapping[str, str]) -> str | None:
    """Return the name of the variable whose proxy *base_url* is to be reached by, or None.

    Loopback is never proxied. `NO_PROXY` holds host names (with all below them), addresses,
    networks, each with an optional port, or `*`.
    """
    parts = urlsplit(base_url)
    host = parts.hostname or ""
    if not host or _is_loopback(host) or _is_exempt(host, parts.port, parts.scheme, env):
        return None
    for name in (f"{parts.scheme}_proxy", f"{parts.scheme.upper()}_PROXY"):
        if env.get(name):
            return name
    return None


def _is_loopback(host: str) -> bool:
    if host == "localhost" or host.endswith(".localhost"):
        return True
    address = _address(host)
    return address is not None and address.is_loopback


def _is_exempt(host: str, port: int | None, scheme: str, env: Mapping[str, str]) -> bool:
    listed = env.get("no_proxy") or env.get("NO_PROXY") or ""
    address = _address(host)
    wanted_port = port or (443 if scheme == "https" else 80)
    for entry in filter(None, (part.strip().lower() for part in listed.split(","))):
        if entry == "*":
            return True
        name, entry_port = _split_port(entry)
        if entry_port is not None and entry_port != wanted_port:
            continue
        if address is not None:
            if _holds(name.strip("[]"), address):
                return True
            continue
        suffix = name.removeprefix("*").lstrip(".")
        if suffix and (host == suffix or host.endswith("." + suffix)):
            return True
    return False


def _split_port(entry: str) -> tuple[str, int | None]:
    """Split `host:port`; a bare IPv6 address has no port."""
    name, colon, port = entry.rpartition(":")
    if colon and port.isdigit() and (name.endswith("]") or ":" not in name):
        return name, int(port)
    return entry, None


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def _holds(entry: str, address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    try:
        return address in ipaddress.ip_network(entry, strict=False)
    except ValueError:
        return False
