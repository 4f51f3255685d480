"""Counting the tokens of a prompt: by the provider where it can, else estimated and marked so."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final

import msgspec

from tidegate.pipeline.attempt import Request, run_attempts
from tidegate.pipeline.call import Call
from tidegate.pipeline.gateway import Gateway
from tidegate.pipeline.settle import finish
from tidegate.routing.plan import ModelRoute

#: Dialect → the answer that tells a count.
_ANSWERS: Final[Mapping[str, Callable[[int], dict[str, Any]]]] = MappingProxyType(
    {
        "anthropic": lambda tokens: {"input_tokens": tokens},
        "gemini": lambda tokens: {"totalTokens": tokens},
        "responses": lambda tokens: {"object": "response.input_tokens", "input_tokens": tokens},
    }
)


def counts_natively(call: Call, route: ModelRoute) -> bool:
    """Whether a first-choice target of *route* counts for itself.

    Not a fallback: who counts must not be another place than who would answer.
    """
    return any(call.operation.name in target.paths for target in route.targets)


async def count_tokens(gateway: Gateway, call: Call, request: Request, route: ModelRoute) -> None:
    """Answer with the number of input tokens; `x-tidegate-usage: estimated` marks an estimate."""
    # No tokens are used by counting some: there is nothing to estimate or to pay.
    call.estimates = call.operation.estimates
    if counts_natively(call, route):
        await run_attempts(gateway, call, request, route)
        return
    estimator = route.targets[0].estimator
    tokens = estimator.estimate(len(request.body), 0, stream=False).input_tokens
    finish(
        gateway,
        call,
        200,
        b"content-type: application/json\r\nx-tidegate-usage: estimated\r\n",
        msgspec.json.encode(_ANSWERS[call.endpoint.dialect.name](max(1, tokens))),
    )
