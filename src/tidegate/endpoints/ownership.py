"""Whether a key may name the objects that its request names.

A provider sees one account, ours, and would hand any of its objects to any of our keys. An id
that belongs to another key is as unknown here as one that never was: 404. What nobody is known
to own goes on or not by `files.unknown_ids`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection

from tidegate.endpoints.object_ids import ITEM, Named, ids_in, ids_of_form, may_name
from tidegate.errors import NotFound
from tidegate.keys.principal import Principal
from tidegate.pipeline.call import Call
from tidegate.pipeline.gateway import Gateway
from tidegate.responses.store import ResponseStore
from tidegate.routing.plan import ModelRoute


def watches(gateway: Gateway, call: Call) -> bool:
    """Whether there is anything to look for in this request: 0.1 µs."""
    objects = gateway.objects
    return objects is not None and (objects.in_use or call.state.snapshot.refuse_unknown_ids)


async def check_named(
    gateway: Gateway, call: Call, principal: Principal, body: bytes, route: ModelRoute
) -> None:
    """Raise `NotFound` where a JSON body names what is not this key's. Call if `watches`.

    References to items of responses are left out: some are ours (`responses_state`).
    """
    if may_name(body, call.operation.name):
        found = {named for named in await _named_in(body) if named.field != ITEM}
        await check_ids(gateway, call, principal, found, _providers(route))


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
    await check_ids(gateway, call, principal, await _named_in(body), providers)


async def references_in(body: bytes) -> set[str]:
    """Return the ids of items of responses that a JSON body refers to by type."""
    return {named.id for named in await _named_in(body) if named.field == ITEM}


async def _named_in(body: bytes) -> set[Named]:
    found: set[Named] = set()
    for named in ids_in(body):
        if named is None:
            await asyncio.sleep(0)  # others' requests have their turn
        else:
            found.add(named)
    return found


async def check_items(
    store: ResponseStore, call: Call, principal: Principal, item_ids: Collection[str]
) -> None:
    """Raise `NotFound` where an item that a provider keeps is not this key's to name."""
    refuses = call.state.snapshot.refuse_unknown_ids
    for item_id, standing in (await store.item_standings(principal.key_id, item_ids)).items():
        if standing == "other" or (standing == "unknown" and refuses):
            raise NotFound(f"Item with id '{item_id[:128]}' not found.", param="input")


async def check_ids(
    gateway: Gateway,
    call: Call,
    principal: Principal,
    found: Collection[Named],
    providers: Collection[str],
) -> None:
    """Raise `NotFound` where one of *found* is not this key's to name."""
    objects = gateway.objects
    items = {named for named in found if named.field == ITEM}
    if items and gateway.responses is not None:
        named_items = {named.id for named in items}
        await check_items(gateway.responses, call, principal, named_items)
    if objects is None:
        return
    refuses = call.state.snapshot.refuse_unknown_ids
    for number, named in enumerate(set(found) - items, 1):
        standing = objects.standing(principal.key_id, named.id, providers)
        if standing == "other" or (standing == "unknown" and refuses and not named.given):
            raise NotFound(f"No such object: {named.id[:128]}", param=named.field)
        if number % 50 == 0:
            await asyncio.sleep(0)
