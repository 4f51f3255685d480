"""Which provider a request that names no model goes to."""

from __future__ import annotations

from urllib.parse import parse_qs

from tidegate.config.snapshot import ProviderSnapshot
from tidegate.errors import BadRequest
from tidegate.keys.principal import Principal
from tidegate.pipeline.call import Call
from tidegate.pipeline.gateway import State

HEADER = b"x-tidegate-provider"
PARAMETER = "provider"


def choose_provider(call: Call, principal: Principal, operation: str) -> str:
    """Return the name of the provider that has *operation* and that this key may use.

    The request may name one, in the header `x-tidegate-provider` or as `?provider=`; else it is
    the only one, or the only one that is configured with `files: true`.

    Raises `BadRequest` where there is none, or more than one.
    """
    able = _able(call.state, principal, operation)
    wanted = _wanted(call)
    names = ", ".join(sorted(provider.name for provider in able)) or "none"
    if wanted is not None:
        if wanted not in {provider.name for provider in able}:
            raise BadRequest(f"No such provider for this endpoint; there are: {names}.")
        return wanted
    chosen = [provider for provider in able if provider.files] or able
    if not chosen:
        raise BadRequest("No provider of this key's models has this endpoint.")
    if len(chosen) > 1:
        raise BadRequest(
            f"More than one provider could serve this: {names}. Name one in the header "
            "x-tidegate-provider, or as ?provider=."
        )
    return chosen[0].name


def _wanted(call: Call) -> str | None:
    raw = call.exchange.headers.get(HEADER)
    if raw is not None:
        return raw.decode("latin-1")
    found = parse_qs(call.exchange.query.decode("latin-1")).get(PARAMETER)
    return None if found is None else found[-1]


def _able(state: State, principal: Principal, operation: str) -> list[ProviderSnapshot]:
    """Return the providers with *operation* that answer one of the key's models, or all."""
    near: set[str] | None = None
    if principal.models is not None:
        near = {
            target.provider
            for name in principal.models
            if name in state.routes
            for target in state.routes[name].targets
        }
    return [
        provider
        for provider in state.snapshot.providers
        if operation in provider.operations
        and provider.kind != "demo"
        and (near is None or provider.name in near)
    ]
