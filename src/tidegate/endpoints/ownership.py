"""Whether a key may name the objects that its request names.

A provider sees one account, ours, and would hand any of its objects to any of our keys. An id
that belongs to another key is as unknown here as one that never was: 404. What nobody is known
to own goes on or not by `files.unknown_ids`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable

from tidegate.endpoints.object_ids import Named, ids_in, ids_of_form, may_name
from tidegate.errors import NotFound
from tidegate.keys.principal import Principal
from tidegate.pipeline.call import Call
from tidegate.pipeline.gateway import Gateway
from tidegate.routing.plan import ModelRoute


def watches(gateway: Gateway, call: Call) -> bool:
    """Whether there is anything to look for in this request: 0.1 µs."""
    objects = gateway.objects
    return objects is not None and (objects.in_use or call.state.snapshot.refuse_unknown_ids)


async def check_named(
    gateway: Gateway, call: Call, principal: Principal, body: bytes, route: ModelRoute
) -> None:
    """Raise `NotFound` where a JSON body names what is not this key's. Call if `watches`."""
    if may_name(body, call.operation.name):
        await check_body(gateway, call, principal, body, _providers(route))


async def check_form(
    gateway: Gateway, call: Call, principal: Principal, body: bytes, route: ModelRoute
) -> None:
    """Raise `NotFound` where a plain form names what is not this key's. Call if `watches`."""
    await check_ids(gateway, call, principal, set(ids_of_form(body)), _providers(route))


def _providers(route: ModelRoute) -> set[str]:
    return {target.provider for step in route.chain for target in step.targets}


async def check_body(
    gateway: Gateway, call: Call, principal: Principal, body: bytes, providers: Collection[str]
) -> None:
    """Raise `NotFound` where a JSON body on its way to *providers* names what is not this key's."""
    found: set[Named] = set()
    for named in ids_in(body):
        if named is None:
            await asyncio.sleep(0)  # others' requests have their turn
        else:
            found.add(named)
    if found:
        await check_ids(gateway, call, principal, found, providers)


async def check_ids(
    gateway: Gateway,
    call: Call,
    principal: Principal,
    found: Iterable[Named],
    providers: Collection[str],
) -> None:
    """Raise `NotFound` where one of *found* is not this key's to name."""
    objects = gateway.objects
    if objects is None:
        return
    refuses = call.state.snapshot.refuse_unknown_ids
    for number, named in enumerate(found, 1):
        standing = objects.standing(principal.key_id, named.id, providers)
        if standing == "other" or (standing == "unknown" and refuses and not named.given):
            raise NotFound(f"No such object: {named.id[:128]}", param=named.field)
        if number % 50 == 0:
            await asyncio.sleep(0)
