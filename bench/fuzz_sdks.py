"""What the SDKs' own types say of what our writers wrote."""

from __future__ import annotations

from typing import Any

from anthropic.types import Message, RawMessageStreamEvent
from google.genai.types import GenerateContentResponse
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import TypeAdapter, ValidationError

_ANSWERS: dict[str, TypeAdapter[Any]] = {
    "openai": TypeAdapter(ChatCompletion),
    "responses": TypeAdapter(Response),
    "anthropic": TypeAdapter(Message),
    "gemini": TypeAdapter(GenerateContentResponse),
}
_EVENTS: dict[str, TypeAdapter[Any]] = {
    "openai": TypeAdapter(ChatCompletionChunk),
    "responses": TypeAdapter(ResponseStreamEvent),
    "anthropic": TypeAdapter(RawMessageStreamEvent),
    "gemini": TypeAdapter(GenerateContentResponse),
}


def refused_by_sdk(name: str, body: bytes) -> str:
    """Return why the SDK's type refuses a whole answer; empty if it does not."""
    return _refused(_ANSWERS[name], body)


def refused_event_by_sdk(name: str, payload: bytes) -> str:
    """Return why the SDK's type refuses an event; empty if it does not.

    Errors and the end are read by the SDKs before any type is.
    """
    if payload == b"[DONE]" or b'"error"' in payload[:200]:
        return ""
    return _refused(_EVENTS[name], payload)


def _refused(type_: TypeAdapter[Any], text: bytes) -> str:
    try:
        type_.validate_json(text)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        return f"{'.'.join(str(step) for step in first['loc'])}: {first['msg']}"
    return ""
