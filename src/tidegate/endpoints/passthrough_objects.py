"""Objects that are made, named and deleted below a provider's own paths (`/{provider}/…`).

What a key makes there is its own, as under `/v1`: the answer's id is remembered, and any other
key that names it, in path, query or body, is told that there is no such object.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Awaitable, Callable
from typing import Final
from urllib.parse import parse_qsl, unquote

import msgspec

from tidegate.config.snapshot import ProviderSnapshot
from tidegate.dialects.openai.form import FormFields
from tidegate.dialects.unreadable import UNREADABLE
from tidegate.endpoints.object_ids import Named, ids_of_form, object_name
from tidegate.endpoints.ownership import check_body, check_ids
from tidegate.errors import BadRequest, Forbidden, Unavailable
from tidegate.keys.principal import Principal
from tidegate.pipeline.call import Call
from tidegate.pipeline.gateway import Gateway
from tidegate.stores.owned_objects import OwnedObject

log = logging.getLogger("tidegate.files")

#: Last parts of paths below which objects stand, each by its id.
_COLLECTIONS: Final = frozenset(
    {
        "assistants",
        "batches",
        "cachedContents",
        "containers",
        "conversations",
        "evals",
        "files",
        "fileSearchStores",
        "jobs",
        "responses",
        "skills",
        "threads",
        "uploads",
        "vector_stores",
        "videos",
    }
)
_ID: Final = re.compile(r"[A-Za-z0-9_./-]{1,200}")
#: Fields of a query that name an object.
_IN_QUERY: Final = frozenset({"after", "after_id", "before", "before_id", "file_id", "name"})


class _Named(msgspec.Struct):
    id: str | None = None
    name: str | None = None


class _Made(_Named):
    file: _Named | None = None


_decode_made = msgspec.json.Decoder(_Made).decode
_check_json = msgspec.json.Decoder(msgspec.Raw).decode


async def check_request(
    gateway: Gateway,
    call: Call,
    principal: Principal,
    provider: ProviderSnapshot,
    path: bytes,
    body: bytes,
) -> None:
    """Raise `NotFound` where a request names what is not this key's.

    Raises `BadRequest` for a body that cannot be looked into, and `Forbidden` for a list of all
    keys' objects where unknown ones are refused.

    Args:
        gateway: Services.
        call: The request; call this if `watches`.
        principal: Who asks.
        provider: Whose path it is.
        path: As it goes on, query included.
        body: May be empty.
    """
    plain, _, query = path.decode("latin-1").partition("?")
    segments = [unquote(segment) for segment in plain.split("/") if segment]
    refuses = call.state.snapshot.refuse_unknown_ids
    last = segments[-1] if segments else ""
    if refuses and call.exchange.method in (b"GET", b"HEAD") and last in _COLLECTIONS:
        raise Forbidden("A list would show what other keys have made.")
    found = {Named(name, "id", given=not below) for name, below in _names_in(segments)}
    for field, text in parse_qsl(query):
        if field in _IN_QUERY:
            found.add(Named(object_name(text) or text, field, given=True))
    content_type = call.exchange.headers.get(b"content-type", b"").lower()
    if body and call.exchange.headers.get(b"content-encoding", b"identity") != b"identity":
        raise BadRequest("A compressed body cannot be looked into; send it as it is.")
    if content_type.startswith(b"multipart/form-data"):
        FormFields(body, call.exchange.headers[b"content-type"], frozenset())
        found.update(ids_of_form(body))
    elif _is_json(content_type, body):
        await check_body(gateway, call, principal, body, (provider.name,))
    await check_ids(gateway, call, principal, found, (provider.name,))


def notes_of(
    gateway: Gateway, call: Call, principal: Principal, provider: str, path: bytes
) -> Callable[[bytes], Awaitable[None]] | None:
    """Return what takes the answer to a request that makes or deletes an object."""
    objects = gateway.objects
    plain = path.decode("latin-1").partition("?")[0]
    segments = [unquote(part) for part in plain.split("/") if part]
    method = call.exchange.method
    if objects is None or not segments:
        return None
    if method == b"POST" and segments[-1] in _COLLECTIONS:

        async def made(whole: bytes) -> None:
            name = _name_of(whole)
            if name is None or objects.find(principal.key_id, name) is not None:
                return
            try:
                found = OwnedObject(name, "other", provider)
                await asyncio.to_thread(objects.add, principal.key_id, found)
            except OSError as error:
                fields = {"fields": {"reason": error.strerror or "", "kind": "other"}}
                log.error("an object could not be remembered", extra=fields)
                raise Unavailable("The gateway cannot remember objects now.") from None

        return made
    if method == b"DELETE" and len(segments) > 1 and segments[-2] in _COLLECTIONS:
        collection, name = segments[-2:]

        async def deleted(whole: bytes) -> None:
            for one in (name, f"{collection}/{name}"):
                await asyncio.to_thread(objects.drop, principal.key_id, one)

        return deleted
    return None


def _names_in(segments: list[str]) -> list[tuple[str, bool]]:
    """Return what may be ids in a path, and whether each stands below a collection."""
    found = []
    for number, segment in enumerate(segments):
        above = segments[number - 1] if number else ""
        if above in ("files", "cachedContents"):
            name = f"{above}/{segment.partition(':')[0]}"
            found.append((name, False))
        found.append((segment, above in _COLLECTIONS and segment not in _COLLECTIONS))
    return found


def _name_of(whole: bytes) -> str | None:
    """Return the id of the object that an answer is; None for any other answer."""
    try:
        made = _decode_made(whole)
    except UNREADABLE:
        return None
    place = made.file or made
    name = place.id or (object_name(place.name) if place.name else None)
    return name if name is not None and _ID.fullmatch(name) else None


def _is_json(content_type: bytes, body: bytes) -> bool:
    """Whether a body is JSON; raises `BadRequest` for one that only says so."""
    says_so = b"json" in content_type and b"jsonl" not in content_type
    try:
        _check_json(body)
    except UNREADABLE:
        if says_so and body:
            raise BadRequest("The request body is not valid JSON.") from None
        return False
    return True
