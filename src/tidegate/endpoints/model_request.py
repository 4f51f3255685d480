"""How endpoints begin that ask a model and stream nothing: who asks, for what, and where it may go.

Those that every chat goes through do the same in place, which saves a coroutine a request.
"""

from __future__ import annotations

from tidegate.dialects.openai.request import ModelRequest
from tidegate.keys.principal import Principal
from tidegate.pipeline.call import Call
from tidegate.pipeline.gateway import Gateway
from tidegate.pipeline.handle import authenticate
from tidegate.routing.plan import ModelRoute


async def read_model_request(
    gateway: Gateway, call: Call
) -> tuple[Principal, ModelRequest, ModelRoute]:
    """Return whose request it is, what it says, and the route of its model.

    Raises `GatewayError` for a wrong key, a body that cannot be read, or a model that is unknown.
    """
    principal = await authenticate(gateway, call)
    body = await call.exchange.read_body(call.state.snapshot.edge.max_body_bytes)
    request = ModelRequest(body, streams=False)
    route = call.state.route(request.model, principal)
    call.model = route.name
    return principal, request, route
