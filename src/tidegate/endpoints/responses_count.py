"""`POST /v1/responses/input_tokens`: how many tokens a response would be asked with.

What it goes on from counts too: items that are kept here are put in front of `input`, as they
would be for the response itself; for those that a provider keeps, that provider is asked.
"""

from __future__ import annotations

from tidegate.dialects.responses import RESPONSES
from tidegate.endpoints.count_tokens import count_tokens, counts_natively
from tidegate.endpoints.model_request import read_model_request
from tidegate.endpoints.ownership import check_named, watches
from tidegate.endpoints.responses_state import State
from tidegate.errors import BadRequest
from tidegate.pipeline.call import Call
from tidegate.pipeline.endpoint import Endpoint
from tidegate.pipeline.gateway import Gateway
from tidegate.pipeline.handle import admit
from tidegate.pipeline.operation import RESPONSE_COUNT


async def serve_count(gateway: Gateway, call: Call) -> None:
    """Count the tokens of a response's input."""
    principal, request, route = await read_model_request(gateway, call)
    state = State(call, principal, request, route)
    await state.look_back(gateway.responses)
    if not counts_natively(call, state.route):
        for name in ("previous_response_id", "conversation"):
            if bytes(state.request.fields.get(name, b"null")) not in (b"null", b'""'):
                raise BadRequest(
                    f"What '{name}' stands for is kept by a provider that counts no tokens; "
                    "send the conversation as 'input'.",
                    param=name,
                )
    if watches(gateway, call):
        await check_named(gateway, call, principal, request.body, route)
    await admit(gateway, call, principal, route)
    await count_tokens(gateway, call, state.request, state.route)


ENDPOINTS = tuple(
    Endpoint("count_tokens", b"POST", path, RESPONSES, serve_count, RESPONSE_COUNT)
    for path in (b"/v1/responses/input_tokens", b"/responses/input_tokens")
)
