"""What every request to the control port has to pass before it is routed, and every answer gets.

- The `Host` must be a name of this gateway. A page elsewhere that makes its own name point
  to 127.0.0.1 (DNS rebinding) sends its own name.
- A request that changes something and comes from a browser must come from our own pages.
- Bodies are small and wanted in a few places only.
- Answers may load nothing from elsewhere, be framed by nobody, and are not kept by caches.
"""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import Iterable
from typing import Final

import msgspec
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from tidegate.control.live.answers import ErrorAnswer, ErrorBody

MAX_BODY_BYTES: Final = 4_096
BODY_S: Final = 10.0
"""How long a body may take to arrive."""
_SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS"})
_LOOPBACK_NAMES: Final = frozenset({"localhost", "127.0.0.1", "::1"})

SECURITY_HEADERS: Final = (
    (
        b"content-security-policy",
        b"default-src 'self'; base-uri 'none'; object-src 'none'; form-action 'self'; "
        b"frame-ancestors 'none'",
    ),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"permissions-policy", b"camera=(), geolocation=(), microphone=()"),
)


class Refusal(Exception):
    """A request that is answered with an error.

    Attributes:
        status: HTTP status.
        code: Stable word.
        message: For people.
    """

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message

    @property
    def body(self) -> bytes:
        """The JSON of the answer."""
        return msgspec.json.encode(ErrorAnswer(ErrorBody(self.code, self.message)))


class HostNames:
    """Which `Host` headers are ours.

    Args:
        bound: The address that is listened on.
        names: Further names, from the configuration.
    """

    def __init__(self, bound: str, names: Iterable[str]) -> None:
        self._names = _LOOPBACK_NAMES | {name.lower().rstrip(".") for name in (bound, *names)}
        self._is_open = _is_unspecified(bound)

    def accept(self, host: str) -> bool:
        """Whether *host*, with or without a port, is a name of this gateway.

        Where every address of the machine is listened on, any literal address is: no page can
        make a browser send one that it does not show.
        """
        name = _without_port(host)
        if name is None:
            return False
        return name in self._names or (self._is_open and _is_address(name))


class Guard:
    """Wraps the application.

    Args:
        app: The application.
        hosts: Our names.
    """

    def __init__(self, app: ASGIApp, hosts: HostNames) -> None:
        self._app = app
        self._hosts = hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request (ASGI)."""
        if scope["type"] != "http":
            return

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = list(message.get("headers", ()))
                present = {name for name, _ in headers}
                headers += [pair for pair in SECURITY_HEADERS if pair[0] not in present]
                if b"cache-control" not in present:
                    headers.append((b"cache-control", b"no-store"))
                message = {**message, "headers": headers}
            await send(message)

        try:
            self._check(scope)
        except Refusal as refusal:
            await _answer(send_guarded, refusal)
            return
        await self._app(scope, _Capped(receive), send_guarded)

    def _check(self, scope: Scope) -> None:
        headers = Headers(scope=scope)
        hosts = headers.getlist("host")
        if len(hosts) != 1 or not self._hosts.accept(hosts[0]):
            raise Refusal(
                421,
                "unknown_host",
                "This name is not one of the control port's. Use its address, or name it in "
                "server.control_names.",
            )
        if scope["method"] not in _SAFE_METHODS:
            _check_origin(headers, hosts[0])
        length = headers.get("content-length", "0")
        if not length.isascii() or not length.isdecimal() or int(length) > MAX_BODY_BYTES:
            raise Refusal(413, "body_too_large", f"A body has at most {MAX_BODY_BYTES} bytes.")


def _check_origin(headers: Headers, host: str) -> None:
    """Refuse a change that a page of another origin asks for, or may ask for."""
    origins = headers.getlist("origin")
    if origins:
        allowed = {f"http://{host.lower()}", f"https://{host.lower()}"}
        if len(origins) == 1 and origins[0].lower() in allowed:
            return
    elif "cookie" not in headers and headers.get("sec-fetch-site", "none") in (
        "none",
        "same-origin",
    ):
        return  # no browser, and nothing that a browser would add by itself
    raise Refusal(403, "wrong_origin", "Changes are taken from the gateway's own pages only.")


class _Capped:
    """A request body that ends in an error beyond the cap, announced or not, or when it is late."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._seen = 0
        self._until_s: float | None = asyncio.get_running_loop().time() + BODY_S

    async def __call__(self) -> Message:
        try:
            async with asyncio.timeout_at(self._until_s):
                message = await self._receive()
        except TimeoutError:
            raise Refusal(408, "body_too_slow", "The body did not arrive in time.") from None
        if message["type"] == "http.request":
            if not message.get("more_body", False):
                self._until_s = None  # what comes next is the client's leaving, at any time
            self._seen += len(message.get("body", b""))
            if self._seen > MAX_BODY_BYTES:
                raise Refusal(413, "body_too_large", f"A body has at most {MAX_BODY_BYTES} bytes.")
        return message


async def _answer(send: Send, refusal: Refusal) -> None:
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(refusal.body)).encode()),
        (b"connection", b"close"),
    ]
    await send({"type": "http.response.start", "status": refusal.status, "headers": headers})
    await send({"type": "http.response.body", "body": refusal.body})


def _without_port(host: str) -> str | None:
    if host.startswith("["):
        name, bracket, rest = host[1:].partition("]")
        if not bracket or (rest and not _is_port(rest)) or not _is_address(name):
            return None
        return str(ipaddress.ip_address(name))
    name, colon, port = host.partition(":")
    if colon and not _is_port(colon + port):
        return None
    return name.lower().rstrip(".") or None


def _is_port(text: str) -> bool:
    return text[:1] == ":" and text[1:].isascii() and text[1:].isdecimal() and len(text) <= 6


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _is_unspecified(bound: str) -> bool:
    return _is_address(bound) and ipaddress.ip_address(bound).is_unspecified
