"""`POST /v1/messages` and `/v1/messages/count_tokens`: Anthropic's Messages API."""

from __future__ import annotations

from tidegate.dialects.anthropic.wire import MESSAGES
from tidegate.endpoints.count_tokens import count_tokens
from tidegate.endpoints.model_request import read_model_request
from tidegate.endpoints.openai_completions import serve_model
from tidegate.endpoints.ownership import check_named, watches
from tidegate.pipeline.call import Call
from tidegate.pipeline.endpoint import Endpoint
from tidegate.pipeline.gateway import Gateway
from tidegate.pipeline.handle import admit
from tidegate.pipeline.operation import MESSAGE, MESSAGE_COUNT


async def serve_count(gateway: Gateway, call: Call) -> None:
    """Count the tokens of a prompt."""
    principal, request, route = await read_model_request(gateway, call)
    if watches(gateway, call):
        await check_named(gateway, call, principal, request.body, route)
    await admit(gateway, call, principal, route)
    await count_tokens(gateway, call, request, route)


def _endpoints(prefix: bytes) -> tuple[Endpoint, Endpoint]:
    dialect, path = MESSAGES.dialect, prefix + b"/messages"
    return (
        Endpoint(
            "messages", b"POST", path, dialect, serve_model, MESSAGE, streams=True, plain=True
        ),
        Endpoint(
            "count_tokens", b"POST", path + b"/count_tokens", dialect, serve_count, MESSAGE_COUNT
        ),
    )


ENDPOINTS = (*_endpoints(b"/v1"), *_endpoints(b"/anthropic/v1"))
