"""`/livez`, `/readyz`, and `/api/v1/health`. None needs a key."""

from __future__ import annotations

from tidegate.dialects.openai import OPENAI
from tidegate.dialects.seed_chat import SEED
from tidegate.pipeline.call import Call
from tidegate.pipeline.endpoint import Endpoint
from tidegate.pipeline.gateway import Gateway
from tidegate.pipeline.settle import finish

_TEXT = b"content-type: text/plain; charset=utf-8\r\ncache-control: no-store\r\n"
_JSON = b"content-type: application/json\r\ncache-control: no-store\r\n"


async def live(gateway: Gateway, call: Call) -> None:
    """200 while this worker's loop turns."""
    finish(gateway, call, 200, _TEXT, b"ok\n")


async def ready(gateway: Gateway, call: Call) -> None:
    """200 when new traffic is welcome: keys loaded, a route to serve, not draining. Else 503."""
    if gateway.is_ready():
        finish(gateway, call, 200, _TEXT, b"ready\n")
    else:
        finish(gateway, call, 503, _TEXT, b"not ready\n")


async def seed_health(gateway: Gateway, call: Call) -> None:
    """`{"status":"ok"}` while ready, 503 with `{"status":"unavailable"}` otherwise."""
    if gateway.is_ready():
        finish(gateway, call, 200, _JSON, b'{"status":"ok"}')
    else:
        finish(gateway, call, 503, _JSON, b'{"status":"unavailable"}')


PROBES = (
    Endpoint("livez", b"GET", b"/livez", OPENAI, live, counted=False),
    Endpoint("readyz", b"GET", b"/readyz", OPENAI, ready, counted=False),
)
ENDPOINTS = (
    *PROBES,
    Endpoint("health", b"GET", b"/api/v1/health", SEED, seed_health, counted=False),
)
