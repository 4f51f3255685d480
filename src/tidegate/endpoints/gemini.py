"""`POST /v1beta/models/{model}:{method}` and the same under `/v1`: Google's Gemini API.

:generateContent            a whole answer
:streamGenerateContent      `alt=sse`: an event stream; without it a JSON list, sent whole
:countTokens                the provider's count, or an estimate that says so
:embedContent, :batchEmbedContents
"""

from __future__ import annotations

from urllib.parse import parse_qs, unquote_to_bytes

from tidegate.dialects.embeddings.gemini import EmbedPathRequest
from tidegate.dialects.gemini import GEMINI
from tidegate.dialects.gemini.request import PathRequest
from tidegate.endpoints.count_tokens import count_tokens
from tidegate.endpoints.ownership import check_named, watches
from tidegate.errors import BadRequest, NotFound
from tidegate.pipeline.attempt import run_attempts
from tidegate.pipeline.call import Call
from tidegate.pipeline.endpoint import Endpoint
from tidegate.pipeline.gateway import Gateway
from tidegate.pipeline.handle import admit, authenticate
from tidegate.pipeline.operation import (
    GEMINI_BATCH_EMBED,
    GEMINI_COUNT,
    GEMINI_EMBED,
    GENERATE_CONTENT,
    Operation,
)
from tidegate.pipeline.translation import read_ahead
from tidegate.routing.target import Target


async def serve_method(gateway: Gateway, call: Call) -> None:
    """Serve one method of a model."""
    principal = await authenticate(gateway, call)
    tail = unquote_to_bytes(call.plan.tail).decode("utf-8", "replace")
    model, colon, method = tail.rpartition(":")
    endpoint = _METHODS.get(method)
    if not colon or not model or endpoint is None or endpoint.operation is None:
        raise NotFound(f"There is no method '{method[:100]}' of a model.")
    call.endpoint = endpoint
    body = call.exchange.body
    if body is None:
        body = await call.exchange.read_body(call.state.snapshot.edge.max_body_bytes)
    if body[:1] != b"{" and body.lstrip()[:1] != b"{":
        raise BadRequest("The request body must be a JSON object.")
    call.estimates = endpoint.operation.estimates
    embeds = endpoint.operation.embeds is not None
    request = EmbedPathRequest(body, model) if embeds else PathRequest(body, model)
    listed = False
    if method == "streamGenerateContent":
        query = parse_qs(call.exchange.query.decode("latin-1"))
        listed = query.get("alt", ["json"])[-1] != "sse"
        call.stream = not listed
        call.choices = request.choices
        call.wants_usage = True
    route = call.state.route(model, principal)
    call.model = route.name
    read_ahead(call, request, route)
    if watches(gateway, call):
        await check_named(gateway, call, principal, body, route)
    await admit(gateway, call, principal, route)
    if endpoint.operation is GEMINI_COUNT:
        await count_tokens(gateway, call, request, route)
    else:
        await run_attempts(gateway, call, request, route, _as_list if listed else None)


def _as_list(whole: bytes, target: Target) -> bytes:
    return b"[" + whole + b"]"


def _endpoint(name: str, path: bytes, operation: Operation, *, streams: bool = False) -> Endpoint:
    return Endpoint(
        name, b"POST", path, GEMINI, serve_method, operation, streams=streams, takes_name=True
    )


_PATH = b"/v1beta/models"
_GENERATE = _endpoint("generate_content", _PATH, GENERATE_CONTENT, streams=True)
_METHODS = {
    "generateContent": _GENERATE,
    "streamGenerateContent": _GENERATE,
    "countTokens": _endpoint("count_tokens", _PATH, GEMINI_COUNT),
    "embedContent": _endpoint("embed_content", _PATH, GEMINI_EMBED),
    "batchEmbedContents": _endpoint("embed_content", _PATH, GEMINI_BATCH_EMBED),
}

ENDPOINTS = tuple(
    _endpoint("generate_content", path, GENERATE_CONTENT, streams=True)
    for path in (_PATH, b"/v1/models", b"/gemini/v1beta/models", b"/gemini/v1/models")
)
