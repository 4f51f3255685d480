"""`POST /v1/responses` and what can be asked of a response later: OpenAI's Responses API.

POST   /v1/responses                    a response; `previous_response_id` goes on from another
GET    /v1/responses/{id}               the response again
DELETE /v1/responses/{id}
POST   /v1/responses/{id}/cancel        for those that a provider makes in the background
GET    /v1/responses/{id}/input_items   what it was asked with

`/v1/responses/input_tokens` is `responses_count`'s.
"""

from __future__ import annotations

from urllib.parse import unquote_to_bytes

from tidegate.dialects.openai.request import ModelRequest
from tidegate.dialects.responses import RESPONSES
from tidegate.endpoints.ownership import check_named, watches
from tidegate.endpoints.responses_background import asks_for_background, serve_background
from tidegate.endpoints.responses_compact import check_sealed
from tidegate.endpoints.responses_state import State, begin
from tidegate.endpoints.responses_stored import cancel, delete, input_items, retrieve
from tidegate.errors import NotFound
from tidegate.pipeline.attempt import run_attempts
from tidegate.pipeline.call import Call
from tidegate.pipeline.endpoint import Endpoint
from tidegate.pipeline.gateway import Gateway
from tidegate.pipeline.handle import admit, admit_reading, authenticate
from tidegate.pipeline.operation import RESPONSE
from tidegate.pipeline.translation import read_ahead


async def create(gateway: Gateway, call: Call) -> None:
    """Answer with a new response."""
    principal = await authenticate(gateway, call)
    body = call.exchange.body
    if body is None:
        body = await call.exchange.read_body(call.state.snapshot.edge.max_body_bytes)
    request = ModelRequest(body)
    call.stream = request.stream
    call.wants_usage = True
    call.choices = 1
    route = call.state.route(request.model, principal)
    call.model = route.name
    if watches(gateway, call):
        await check_named(gateway, call, principal, body, route)
    check_sealed(request, route)
    if (
        "background" in request.fields
        and asks_for_background(request)
        and await serve_background(gateway, call, principal, request, route)
    ):
        return
    state: State = await begin(gateway, call, principal, request, route)
    try:
        read_ahead(call, state.request, state.route)
        await admit(gateway, call, principal, route)
        await run_attempts(gateway, call, state.request, state.route, state.keep_whole)
    finally:
        await state.end()


async def get(gateway: Gateway, call: Call) -> None:
    """Answer with a response, or with its input."""
    principal = await authenticate(gateway, call)
    identifier, _, part = _tail(call).partition("/")
    if part not in ("", "input_items"):
        raise NotFound("Invalid URL")
    await admit_reading(gateway, call, principal)
    if part:
        await input_items(gateway, call, principal, identifier)
    else:
        await retrieve(gateway, call, principal, identifier)


async def remove(gateway: Gateway, call: Call) -> None:
    """Delete a response."""
    principal = await authenticate(gateway, call)
    identifier = _tail(call)
    await admit_reading(gateway, call, principal)
    await delete(gateway, call, principal, identifier)


async def post(gateway: Gateway, call: Call) -> None:
    """Cancel a response."""
    principal = await authenticate(gateway, call)
    identifier, _, part = _tail(call).partition("/")
    if part != "cancel":
        raise NotFound("Invalid URL")
    await admit_reading(gateway, call, principal)
    await cancel(gateway, call, principal, identifier)


def _tail(call: Call) -> str:
    return unquote_to_bytes(call.plan.tail).decode("utf-8", "replace")


def _endpoints(path: bytes) -> tuple[Endpoint, ...]:
    return (
        Endpoint("responses", b"POST", path, RESPONSES, create, RESPONSE, streams=True),
        Endpoint("responses_stored", b"GET", path, RESPONSES, get, takes_name=True),
        Endpoint("responses_stored", b"DELETE", path, RESPONSES, remove, takes_name=True),
        Endpoint("responses_stored", b"POST", path, RESPONSES, post, takes_name=True),
    )


ENDPOINTS = (*_endpoints(b"/v1/responses"), *_endpoints(b"/responses"))
