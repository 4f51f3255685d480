"""`GET /api/v1/metrics` and its alias `/metrics`: the page, and who may read it.

First the address (`metrics.networks`, `access: private`), 403; then the token, 401. Both
refusals are one line of plain text, which Prometheus shows as the error of its target.
"""

from __future__ import annotations

import binascii
import hashlib
import hmac
from functools import lru_cache
from typing import Final

from tidegate.config.networks import PRIVATE, NetworkSet
from tidegate.config.snapshot import MetricsSnapshot
from tidegate.dialects.openai import OPENAI
from tidegate.errors import Unauthenticated
from tidegate.pipeline.call import Call
from tidegate.pipeline.endpoint import Endpoint
from tidegate.pipeline.gateway import Gateway
from tidegate.pipeline.handle import hold_back
from tidegate.pipeline.settle import finish

_TEXT: Final = b"content-type: text/plain; charset=utf-8\r\ncache-control: no-store\r\n"
_CHALLENGE: Final = (
    b'www-authenticate: Bearer realm="tidegate metrics"\r\n'
    b'www-authenticate: Basic realm="tidegate metrics", charset="UTF-8"\r\n'
)
_UNAUTHORIZED: Final = "The metrics page needs its token."
_FORBIDDEN: Final = b"The metrics page is not open to this address.\n"


async def metrics_page(gateway: Gateway, call: Call) -> None:
    """Answer with the page in the format that the scraper prefers, or with 403 or 401."""
    settings, exchange = call.state.snapshot.metrics, call.exchange
    if not _is_welcome(settings, exchange.client_ip):
        gateway.meters.auth_failures.labels("metrics_network").inc()
        finish(gateway, call, 403, _TEXT, _FORBIDDEN)
        return
    if settings.access == "token" and not _holds_token(
        exchange.headers.get(b"authorization", b""), settings.token
    ):
        await hold_back(gateway, call, Unauthenticated(_UNAUTHORIZED, reason="metrics"))
        finish(gateway, call, 401, _TEXT + _CHALLENGE, _UNAUTHORIZED.encode() + b"\n")
        return
    headers = exchange.headers
    lines, body = await gateway.render_page(headers.get(b"accept"), headers.get(b"accept-encoding"))
    finish(gateway, call, 200, lines + b"cache-control: no-store\r\n", body)


def _is_welcome(settings: MetricsSnapshot, address: str) -> bool:
    """Whether *address* passes each rule about addresses that there is."""
    if settings.access == "private" and address not in _networks(PRIVATE):
        return False
    return not settings.networks or address in _networks(settings.networks)


@lru_cache(maxsize=8)
def _networks(names: tuple[str, ...]) -> NetworkSet:
    return NetworkSet(names)


def _holds_token(authorization: bytes, token: str | None) -> bool:
    """Whether the header is `Bearer TOKEN`, or `Basic` with the token as any user's password.

    Digests are compared, in constant time, so that not even the token's length shows.
    """
    scheme, _, given = authorization.partition(b" ")
    given = given.strip(b" ")
    if scheme.lower() == b"basic":
        try:
            given = binascii.a2b_base64(given).partition(b":")[2]
        except binascii.Error:
            return False
    elif scheme.lower() != b"bearer":
        return False
    wanted = hashlib.sha256((token or "").encode()).digest()
    return hmac.compare_digest(hashlib.sha256(given).digest(), wanted) and bool(token)


ENDPOINTS = (
    Endpoint("metrics", b"GET", b"/api/v1/metrics", OPENAI, metrics_page, counted=False),
    Endpoint("metrics", b"GET", b"/metrics", OPENAI, metrics_page, counted=False),
)
