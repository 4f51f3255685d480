"""Moderations, images and audio in OpenAI's API: JSON or forms in, JSON, sound or events out."""

from __future__ import annotations

from tidegate.dialects.openai import OPENAI
from tidegate.dialects.openai.form import FormRequest
from tidegate.dialects.openai.request import ModelRequest
from tidegate.endpoints.ownership import check_form, check_named, watches
from tidegate.pipeline.attempt import run_attempts
from tidegate.pipeline.call import Call
from tidegate.pipeline.endpoint import Endpoint
from tidegate.pipeline.gateway import Gateway
from tidegate.pipeline.handle import admit, authenticate
from tidegate.pipeline.operation import (
    IMAGE_EDIT,
    IMAGE_GENERATION,
    IMAGE_VARIATION,
    MODERATION,
    SPEECH,
    TRANSCRIPTION,
    TRANSLATION,
    Operation,
)

#: What OpenAI documents for a moderation that names no model.
_MODERATION_MODEL = b"omni-moderation-latest"


async def serve_media(gateway: Gateway, call: Call) -> None:
    """Serve a request that names a model in JSON or in a form."""
    principal = await authenticate(gateway, call)
    operation = call.operation
    call.estimates = operation.estimates
    call.relays_bodies = True
    body = await call.exchange.read_body(call.state.snapshot.edge.max_body_bytes)
    content_type = call.exchange.headers.get(b"content-type", b"")
    request: FormRequest | ModelRequest
    if content_type[:10].lower() == b"multipart/":
        request = FormRequest(body, content_type)
        call.content_type = request.content_type
        call.stream = request.stream
    else:
        if operation is MODERATION:
            body = _with_model(body)
        request = ModelRequest(body)
        call.stream = request.stream or _asks_for_events(request)
    call.choices = request.choices
    route = call.state.route(request.model, principal)
    call.model = route.name
    if watches(gateway, call):
        if isinstance(request, ModelRequest):
            await check_named(gateway, call, principal, body, route)
        else:
            await check_form(gateway, call, principal, body, route)
    await admit(gateway, call, principal, route)
    await run_attempts(gateway, call, request, route)


def _asks_for_events(request: ModelRequest) -> bool:
    """Whether speech is to come as events; otherwise it is a stream of sound by itself."""
    raw = request.fields.get("stream_format")
    return raw is not None and bytes(raw) == b'"sse"'


def _with_model(body: bytes) -> bytes:
    """Return a JSON body with the default model, where it names none."""
    start = body.lstrip()
    if b'"model"' in body or start[:1] != b"{":
        return body
    rest = start[1:]
    comma = b"" if rest.lstrip()[:1] == b"}" else b","
    return b'{"model":"' + _MODERATION_MODEL + b'"' + comma + rest


def _endpoints(
    name: str, path: bytes, operation: Operation, *, streams: bool = True
) -> tuple[Endpoint, Endpoint]:
    """One endpoint at `/v1/…`, and again without `/v1` for base URLs that lack it."""
    return (
        Endpoint(name, b"POST", b"/v1" + path, OPENAI, serve_media, operation, streams),
        Endpoint(name, b"POST", path, OPENAI, serve_media, operation, streams),
    )


ENDPOINTS = (
    *_endpoints("moderations", b"/moderations", MODERATION, streams=False),
    *_endpoints("images_generations", b"/images/generations", IMAGE_GENERATION),
    *_endpoints("images_edits", b"/images/edits", IMAGE_EDIT),
    *_endpoints("images_variations", b"/images/variations", IMAGE_VARIATION, streams=False),
    *_endpoints("audio_speech", b"/audio/speech", SPEECH),
    *_endpoints("audio_transcriptions", b"/audio/transcriptions", TRANSCRIPTION),
    *_endpoints("audio_translations", b"/audio/translations", TRANSLATION, streams=False),
)
