"""`GET /v1/models` and `GET /v1/models/{id}` in OpenAI's shape.

    {"object":"list","data":[{"id":"fast","object":"model","created":0,"owned_by":"tidegate"}]}

Only models that the key may use are shown.
"""

from __future__ import annotations

from urllib.parse import unquote_to_bytes

import msgspec

from tidegate.dialects.openai import OPENAI
from tidegate.pipeline.call import Call
from tidegate.pipeline.endpoint import Endpoint
from tidegate.pipeline.gateway import Gateway
from tidegate.pipeline.handle import admit, authenticate
from tidegate.pipeline.settle import finish

_JSON = b"content-type: application/json\r\n"


def _model(name: str) -> dict[str, object]:
    return {"id": name, "object": "model", "created": 0, "owned_by": "tidegate"}


async def list_models(gateway: Gateway, call: Call) -> None:
    """Answer with the configured models of this key."""
    principal = await authenticate(gateway, call)
    await admit(gateway, call, principal, None)
    names = call.state.visible_models(principal)
    body = msgspec.json.encode({"object": "list", "data": [_model(name) for name in names]})
    finish(gateway, call, 200, _JSON, body)


async def get_model(gateway: Gateway, call: Call) -> None:
    """Answer with one model, or 404 with near matches. Names may hold slashes."""
    principal = await authenticate(gateway, call)
    name = unquote_to_bytes(call.plan.tail).decode("utf-8", "replace")
    call.state.route(name, principal)
    await admit(gateway, call, principal, None)
    finish(gateway, call, 200, _JSON, msgspec.json.encode(_model(name)))


ENDPOINTS = (
    Endpoint("models", b"GET", b"/v1/models", OPENAI, list_models),
    Endpoint("models", b"GET", b"/v1/models", OPENAI, get_model, takes_name=True),
    Endpoint("models", b"GET", b"/models", OPENAI, list_models),
    Endpoint("models", b"GET", b"/models", OPENAI, get_model, takes_name=True),
)
