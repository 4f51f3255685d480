"""`POST /api/v1/chat`: the small one-route chat API, carried by the same pipeline.

Its words for a provider (`online`, `local`, …) never decide silently: a name that is not
configured is 404, and a local word is never answered by a provider on another host.
"""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit

from tidegate.config.snapshot import ProviderSnapshot
from tidegate.dialects.openai.request import ModelRequest
from tidegate.dialects.seed_chat import (
    LOCAL_WORDS,
    ONLINE_WORDS,
    SEED,
    SeedRequest,
    answer_of_completion,
    completion_request,
    read_request,
)
from tidegate.errors import BadRequest, ModelNotFound
from tidegate.keys.principal import Principal
from tidegate.pipeline.attempt import run_attempts
from tidegate.pipeline.call import Call
from tidegate.pipeline.endpoint import Endpoint
from tidegate.pipeline.gateway import Gateway, State
from tidegate.pipeline.handle import admit, authenticate
from tidegate.pipeline.operation import CHAT_COMPLETION
from tidegate.routing.plan import ModelRoute
from tidegate.routing.target import Target

_LOCAL_KINDS = frozenset({"ollama", "vllm", "lmstudio", "llamacpp", "openai-compatible"})


async def serve_seed_chat(gateway: Gateway, call: Call) -> None:
    """Serve one request: translate, pass it on as a chat completion, translate back."""
    principal = await authenticate(gateway, call)
    state = call.state
    body = call.exchange.body
    if body is None:
        body = await call.exchange.read_body(state.snapshot.edge.max_body_bytes)
    seed = read_request(body)
    route = _route(state, seed, principal)
    call.model = route.name
    await admit(gateway, call, principal, route)
    request = ModelRequest(completion_request(seed, route.name), streams=False)
    await run_attempts(gateway, call, request, route, _encode)


def _encode(whole: bytes, target: Target) -> bytes:
    return answer_of_completion(whole, target.provider)


def _route(state: State, seed: SeedRequest, principal: Principal) -> ModelRoute:
    """Find the model that `model`, else `model_hint`, asks for; `model` wins unless the hint
    asks for a local one, which no other field can undo.
    """
    must_be_local = seed.model_hint in LOCAL_WORDS or seed.model in LOCAL_WORDS
    if seed.model_hint is not None and seed.model_hint not in LOCAL_WORDS | ONLINE_WORDS:
        raise BadRequest(
            f"model_hint must be one of {', '.join(sorted(LOCAL_WORDS | ONLINE_WORDS))}.",
            param="model_hint",
        )
    word = seed.model or seed.model_hint
    if word is not None and (word in state.routes or word not in LOCAL_WORDS | ONLINE_WORDS):
        route = state.route(word, principal)
        if must_be_local and not _is_local(state, route):
            raise ModelNotFound(f"The model `{route.name}` is not a local one.", param="model")
        return route
    wants_online = word in ONLINE_WORDS
    if wants_online and must_be_local:
        raise BadRequest("The request asks for a local and for an online model.", param="model")
    for name in state.visible_models(principal):
        route = state.route(name, principal)  # also of names that were found, not configured
        if _is_local(state, route) != wants_online:
            return route
    raise ModelNotFound(
        f"No {'online' if wants_online else 'local'} model is configured for this key.",
        param="model",
    )


def _is_local(state: State, route: ModelRoute) -> bool:
    """Whether every place that could answer, fallbacks included, is on this host or network."""
    providers = {provider.name: provider for provider in state.snapshot.providers}
    return all(
        target.provider in providers and _is_near(providers[target.provider])
        for step in route.chain
        for target in step.targets
    )


def _is_near(provider: ProviderSnapshot) -> bool:
    """Whether a provider is the built-in one, or a server at a loopback or private address."""
    if provider.kind == "demo":
        return True
    host = urlsplit(provider.base_url).hostname or ""
    if provider.kind not in _LOCAL_KINDS:
        return False
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        # A name without dots, or under a suffix that no public name has.
        return "." not in host or host.endswith((".local", ".internal", ".localhost"))
    return address.is_loopback or address.is_private


ENDPOINTS = (
    Endpoint(
        "seed_chat",
        b"POST",
        b"/api/v1/chat",
        SEED,
        serve_seed_chat,
        operation=CHAT_COMPLETION,
    ),
)
