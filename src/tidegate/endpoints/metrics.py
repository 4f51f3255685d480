"""`GET /api/v1/metrics` and its alias `/metrics`: the page, and who may read it."""

from __future__ import annotations

import hmac
import ipaddress

from tidegate.dialects.openai import OPENAI
from tidegate.errors import Forbidden, Unauthenticated
from tidegate.pipeline.call import Call
from tidegate.pipeline.endpoint import Endpoint
from tidegate.pipeline.gateway import Gateway
from tidegate.pipeline.handle import hold_back
from tidegate.pipeline.settle import finish


async def metrics_page(gateway: Gateway, call: Call) -> None:
    """Answer with the page in the format that the scraper prefers."""
    try:
        _check_access(call)
    except Unauthenticated as error:
        await hold_back(gateway, call, error)
        raise
    headers = call.exchange.headers
    lines, body = await gateway.render_page(headers.get(b"accept"), headers.get(b"accept-encoding"))
    finish(gateway, call, 200, lines + b"cache-control: no-store\r\n", body)


def _check_access(call: Call) -> None:
    """Hold `metrics.access`: open, a bearer token, or loopback and private networks only."""
    settings = call.state.snapshot.metrics
    if settings.access == "token":
        given = call.exchange.headers.get(b"authorization", b"")
        wanted = b"Bearer " + (settings.token or "").encode()
        if not settings.token or not hmac.compare_digest(given, wanted):
            raise Unauthenticated("The metrics page needs its bearer token.", reason="metrics")
    elif settings.access == "private":
        address = ipaddress.ip_address(call.exchange.client_ip)
        if not (address.is_loopback or address.is_private):
            raise Forbidden("The metrics page is open to private networks only.")


ENDPOINTS = (
    Endpoint("metrics", b"GET", b"/api/v1/metrics", OPENAI, metrics_page, counted=False),
    Endpoint("metrics", b"GET", b"/metrics", OPENAI, metrics_page, counted=False),
)
