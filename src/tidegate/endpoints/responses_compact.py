"""`POST /v1/responses/compact`: a long conversation made short, by the provider that can read it.

What comes of it is sealed: only the provider that made it can open it. So a provider without the
endpoint cannot be stood in for, and what another one has sealed cannot be sent to it.
"""

from __future__ import annotations

import msgspec

from tidegate.dialects.openai.request import ModelRequest
from tidegate.dialects.responses import RESPONSES
from tidegate.dialects.unreadable import UNREADABLE
from tidegate.endpoints.model_request import read_model_request
from tidegate.endpoints.ownership import check_named, watches
from tidegate.endpoints.responses_state import State
from tidegate.errors import BadRequest, NotFound
from tidegate.pipeline.attempt import run_attempts
from tidegate.pipeline.call import Call
from tidegate.pipeline.endpoint import Endpoint
from tidegate.pipeline.gateway import Gateway
from tidegate.pipeline.handle import admit
from tidegate.pipeline.operation import RESPONSE, RESPONSE_COMPACTION
from tidegate.routing.plan import ModelRoute

_SIGN = b'"compaction'
#: Items that only the provider that has the endpoint understands.
_SEALED = frozenset({"compaction", "compaction_trigger"})


class _Item(msgspec.Struct):
    type: str | None = None


_decode_items = msgspec.json.Decoder(list[_Item]).decode


async def serve_compaction(gateway: Gateway, call: Call) -> None:
    """Pass a conversation on to a provider that has the endpoint; 404 where none has."""
    principal, request, route = await read_model_request(gateway, call)
    if watches(gateway, call):
        await check_named(gateway, call, principal, request.body, route)
    state = State(call, principal, request, route)
    await state.look_back(gateway.responses)
    if not any(RESPONSE_COMPACTION.name in target.paths for target in state.route.targets):
        raise NotFound(
            f"The model `{route.name}` is served by a provider that compacts no conversations; "
            "make a summary with the model instead.",
            param="model",
        )
    await admit(gateway, call, principal, route)
    await run_attempts(gateway, call, state.request, state.route)


def check_sealed(request: ModelRequest, route: ModelRoute) -> None:
    """Raise `BadRequest` where a request holds compacted items that its target cannot read.

    Leaving them out would leave out the conversation.
    """
    if _SIGN not in request.body or RESPONSE.name in route.targets[0].paths:
        return
    try:
        items = _decode_items(request.fields.get("input", msgspec.Raw(b"[]")))
    except UNREADABLE:
        return  # it is read, and refused, later
    if any(item.type in _SEALED for item in items):
        raise BadRequest(
            f"A compacted conversation can only be read by the provider that made it; the model "
            f"`{route.name}` is at another. Send the conversation itself.",
            param="input",
        )


ENDPOINTS = tuple(
    Endpoint("responses_compact", b"POST", path, RESPONSES, serve_compaction, RESPONSE_COMPACTION)
    for path in (b"/v1/responses/compact", b"/responses/compact")
)
