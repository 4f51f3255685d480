"""Counting the tokens of a prompt: by the provider where it can, else estimated and marked so."""

from __future__ import annotations

import msgspec

from tidegate.pipeline.attempt import Request, run_attempts
from tidegate.pipeline.call import Call
from tidegate.pipeline.gateway import Gateway
from tidegate.pipeline.settle import finish
from tidegate.routing.plan import ModelRoute

#: Dialect → the field that holds the count.
_FIELDS = {"anthropic": "input_tokens", "gemini": "totalTokens"}


async def count_tokens(gateway: Gateway, call: Call, request: Request, route: ModelRoute) -> None:
    """Answer with the number of input tokens; `x-tidegate-usage` marks an estimate."""
    # Not by a fallback: who counts must not be another place than who would answer.
    if any(call.operation.name in target.paths for target in route.targets):
        await run_attempts(gateway, call, request, route)
        return
    estimator = route.targets[0].estimator
    tokens = estimator.estimate(len(request.body), 0, stream=False).input_tokens
    body = msgspec.json.encode({_FIELDS[call.endpoint.dialect.name]: max(1, tokens)})
    finish(
        gateway,
        call,
        200,
        b"content-type: application/json\r\nx-tidegate-usage: estimated\r\n",
        body,
    )
