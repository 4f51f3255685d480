"""`POST /v1/chat/completions`, `/v1/completions` and `/v1/embeddings`."""

from __future__ import annotations

from tidegate.dialects.openai import OPENAI
from tidegate.dialects.openai.request import ModelRequest
from tidegate.pipeline.attempt import run_attempts
from tidegate.pipeline.call import Call
from tidegate.pipeline.endpoint import Endpoint
from tidegate.pipeline.gateway import Gateway
from tidegate.pipeline.handle import admit, authenticate


async def serve_model(gateway: Gateway, call: Call) -> None:
    """Serve a request that names a model and is passed on in its own dialect."""
    principal = await authenticate(gateway, call)
    exchange = call.exchange
    state = gateway.state
    body = exchange.body
    if body is None:
        body = await exchange.read_body(state.snapshot.edge.max_body_bytes)
    request = ModelRequest(body, streams=call.endpoint.streams)
    call.stream = request.stream
    call.wants_usage = request.wants_usage
    route = state.route(request.model, principal)
    call.model = route.name
    await admit(gateway, call, principal, route)
    await run_attempts(gateway, call, request, route)


def _endpoints(name: str, path: bytes, *, streams: bool) -> tuple[Endpoint, Endpoint]:
    """One endpoint at `/v1/…`, and again without `/v1` for base URLs that lack it."""
    return (
        Endpoint(name, b"POST", b"/v1" + path, OPENAI, serve_model, path, streams),
        Endpoint(name, b"POST", path, OPENAI, serve_model, path, streams),
    )


ENDPOINTS = (
    *_endpoints("chat_completions", b"/chat/completions", streams=True),
    *_endpoints("completions", b"/completions", streams=True),
    *_endpoints("embeddings", b"/embeddings", streams=False),
)
