"""`POST /v1/chat/completions`, `/v1/completions` and `/v1/embeddings`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from tidegate.dialects.openai import OPENAI
from tidegate.dialects.openai.request import ModelRequest
from tidegate.endpoints.ownership import check_named, watches
from tidegate.errors import Unauthenticated
from tidegate.pipeline.attempt import run_attempts
from tidegate.pipeline.call import Call
from tidegate.pipeline.endpoint import Endpoint
from tidegate.pipeline.gateway import Gateway
from tidegate.pipeline.handle import admit_at_once, admit_later, hold_back, identify
from tidegate.pipeline.operation import CHAT_COMPLETION, EMBEDDING, TEXT_COMPLETION, Operation
from tidegate.pipeline.translation import read_ahead


async def serve_model(gateway: Gateway, call: Call) -> None:
    """Serve a request that names a model and is passed on in its own dialect."""
    try:
        principal = identify(gateway, call)
    except Unauthenticated as error:
        await hold_back(gateway, call, error)
        raise
    body = call.exchange.body
    state = call.state
    if body is None:
        body = await call.exchange.read_body(state.snapshot.edge.max_body_bytes)
    request = ModelRequest(body, streams=call.endpoint.streams)
    if request.stream:
        call.stream = True
        call.wants_usage = request.wants_usage
        call.choices = request.choices
    route = state.route(request.model, principal)
    call.model = route.name
    if call.operation.name not in route.targets[0].paths:
        read_ahead(call, request, route)
    if watches(gateway, call):
        await check_named(gateway, call, principal, body, route)
    if not admit_at_once(gateway, call, principal, route):
        await admit_later(gateway, call, principal, route)
    await run_attempts(gateway, call, request, route)


async def serve_embeddings(gateway: Gateway, call: Call) -> None:
    """Serve a request for vectors, whose bytes are no tokens."""
    call.estimates = "input"
    await serve_model(gateway, call)


def _endpoints(
    name: str,
    path: bytes,
    operation: Operation,
    *,
    streams: bool,
    run: Callable[[Gateway, Call], Awaitable[None]] = serve_model,
) -> tuple[Endpoint, Endpoint]:
    """One endpoint at `/v1/…`, and again without `/v1` for base URLs that lack it."""
    plain = run is serve_model
    return (
        Endpoint(name, b"POST", b"/v1" + path, OPENAI, run, operation, streams, plain=plain),
        Endpoint(name, b"POST", path, OPENAI, run, operation, streams, plain=plain),
    )


ENDPOINTS = (
    *_endpoints("chat_completions", b"/chat/completions", CHAT_COMPLETION, streams=True),
    *_endpoints("completions", b"/completions", TEXT_COMPLETION, streams=True),
    *_endpoints("embeddings", b"/embeddings", EMBEDDING, streams=False, run=serve_embeddings),
)
