"""The small one-route chat API that `/api/v1/chat` keeps alive.

request  {"messages": [{"role": "user", "content": "…"}], "model": …, "model_hint": …,
          "max_tokens": 512, "temperature": 0.7, "stream": false}
answer   {"id": "<uuid>", "provider": "…", "content": "…",
          "usage": {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}}
error    {"detail": "…"}, and for a body that does not fit {"detail": [{"loc", "msg", "type"}]}
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Annotated, Any

import msgspec

from tidegate.dialects.dialect import Dialect
from tidegate.dialects.openai.errors import limit_headers, retry_headers
from tidegate.dialects.unreadable import UNREADABLE
from tidegate.errors import BadUpstream, GatewayError, RateLimited, Unauthenticated

_encode = msgspec.json.Encoder().encode

#: What `model_hint` (and the generic words of `model`) ask for.
ONLINE_WORDS = frozenset({"online", "gemini", "fast"})
LOCAL_WORDS = frozenset({"local", "ollama", "secure"})


class SeedMessage(msgspec.Struct, frozen=True):
    """One message; both fields are needed."""

    role: str
    content: str


class SeedRequest(msgspec.Struct, frozen=True):
    """Body of `POST /api/v1/chat`. `stream` is accepted; the answer is always whole."""

    messages: Annotated[list[SeedMessage], msgspec.Meta(min_length=1)]
    model: str | None = None
    model_hint: str | None = None
    max_tokens: Annotated[int, msgspec.Meta(gt=0)] = 512
    temperature: Annotated[float, msgspec.Meta(ge=0, le=2)] = 0.7
    stream: bool = False


class InvalidSeedRequest(GatewayError):
    """The body does not fit (422); `detail` is a list, as validators of this API answer."""

    status, kind, code = 422, "invalid_request_error", "invalid_request"
    should_retry = False


class _Message(msgspec.Struct):
    content: str | None = None


class _Choice(msgspec.Struct):
    message: _Message


class _Usage(msgspec.Struct):
    prompt_tokens: int = 0
    completion_tokens: int = 0
    total_tokens: int = 0


class _Completion(msgspec.Struct):
    choices: list[_Choice]
    usage: _Usage | None = None


_decode_request = msgspec.json.Decoder(SeedRequest).decode
_decode_completion = msgspec.json.Decoder(_Completion).decode


def read_request(body: bytes) -> SeedRequest:
    """Read and check a body; raises `InvalidSeedRequest`."""
    try:
        return _decode_request(body)
    except UNREADABLE as error:
        raise InvalidSeedRequest(str(error)) from None


def completion_request(request: SeedRequest, model: str) -> bytes:
    """Write *request* as a chat completion request for *model*."""
    return _encode(
        {
            "model": model,
            "messages": request.messages,
            "max_tokens": request.max_tokens,
            "temperature": request.temperature,
        }
    )


def answer_of_completion(body: bytes, provider: str) -> bytes:
    """Turn a chat completion into this API's answer; raises `BadUpstream` if it is none."""
    try:
        completion = _decode_completion(body)
    except UNREADABLE:
        raise BadUpstream("The provider's answer is not a chat completion.") from None
    if not completion.choices:
        raise BadUpstream("The provider's answer holds no choice.")
    return _encode(
        {
            "id": str(uuid.uuid4()),
            "provider": provider,
            "content": completion.choices[0].message.content or "",
            "usage": completion.usage or _Usage(),
        }
    )


def _detail(error: GatewayError) -> Any:
    if isinstance(error, Unauthenticated):
        return "Invalid or missing API Key"
    if isinstance(error, RateLimited):
        return "Too many requests. Please wait before trying again."
    if isinstance(error, InvalidSeedRequest):
        return [{"loc": ["body"], "msg": error.message, "type": "value_error"}]
    if error.status == 500:
        return "Internal server error occurred while processing your request"
    return error.message


def _error_body(error: GatewayError) -> bytes:
    return _encode({"detail": _detail(error)})


def _error_event(error: GatewayError) -> bytes:
    return b"data: " + _error_body(error) + b"\n\n"


def _limit_headers(states: Sequence[Any]) -> bytes:
    return limit_headers(states)


SEED = Dialect(
    name="seed",
    error_body=_error_body,
    error_event=_error_event,
    retry_headers=retry_headers,
    limit_headers=_limit_headers,
)
