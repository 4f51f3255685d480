"""`/v1/files` and `/v1/batches`: objects that live at a provider and belong to one key.

The provider sees one account, ours. Which of its objects a key has made is remembered here, and
any other is as unknown to that key as one that never was.
"""

from __future__ import annotations

import asyncio
import logging
import re
from urllib.parse import parse_qs, quote, urlencode

import msgspec

from tidegate.dialects.openai import OPENAI
from tidegate.dialects.openai.form import FormFields
from tidegate.dialects.unreadable import UNREADABLE
from tidegate.endpoints.provider_choice import choose_provider
from tidegate.errors import BadRequest, BadUpstream, Forbidden, NotFound, Unavailable
from tidegate.keys.principal import Principal
from tidegate.pipeline.call import Call
from tidegate.pipeline.endpoint import Endpoint
from tidegate.pipeline.gateway import Gateway
from tidegate.pipeline.handle import admit, authenticate
from tidegate.pipeline.operation import BATCHES, FILES, Operation
from tidegate.pipeline.pass_on import Onward, fetch, relay
from tidegate.pipeline.settle import finish
from tidegate.routing.target import Target
from tidegate.stores.owned_objects import OwnedObject, OwnedObjects

log = logging.getLogger("tidegate.files")

_ID = re.compile(r"[A-Za-z0-9_-]{1,128}")
_JSON = b"content-type: application/json\r\n"
#: What providers are asked for at once, by kind, and how many such pages one answer may take.
_PAGE = {"file": 1_000, "batch": 100}
_MAX_PAGES = 20
_MAX_LIMIT = {"file": 10_000, "batch": 100}
_DEFAULT_LIMIT = {"file": 10_000, "batch": 20}


class _Object(msgspec.Struct):
    """What is read of a file or a batch."""

    id: str
    output_file_id: str | None = None
    error_file_id: str | None = None


class _Page(msgspec.Struct):
    data: list[msgspec.Raw] = []
    has_more: bool = False


_decode_object = msgspec.json.Decoder(_Object).decode
_decode_page = msgspec.json.Decoder(_Page).decode
_decode_fields = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_decode_text = msgspec.json.Decoder(str).decode
_encode = msgspec.json.Encoder().encode


# --- files ------------------------------------------------------------------------------------


async def upload(gateway: Gateway, call: Call) -> None:
    """Pass a form with a file on to the key's provider, and remember whose it is."""
    principal = await authenticate(gateway, call)
    target = _target(call, choose_provider(call, principal, FILES.name))
    body = await call.exchange.read_body(call.state.snapshot.edge.max_body_bytes)
    content_type = call.exchange.headers.get(b"content-type", b"")
    form = FormFields(body, content_type, frozenset({b"purpose"}))
    await admit(gateway, call, principal, None)
    onward = Onward(b"POST", _path(target, FILES), _lines(call), body, form.content_type)
    await _answer(gateway, call, principal, target, onward, "file")


async def files_at(gateway: Gateway, call: Call) -> None:
    """`GET /v1/files/{id}` and `/v1/files/{id}/content`."""
    principal = await authenticate(gateway, call)
    name, _, rest = _tail(call).partition("/")
    if rest not in ("", "content"):
        raise NotFound("Invalid URL")
    owned = await _owned(gateway, principal, name, "file")
    await admit(gateway, call, principal, None)
    target = _target(call, owned.provider)
    if not rest:
        onward = Onward(b"GET", _path(target, FILES, name), _lines(call))
        await _answer(gateway, call, principal, target, onward, "file")
        return
    onward = Onward(b"GET", _path(target, FILES, name, "content"), _lines(call))
    await relay(gateway, call, target, onward, _content_lines)


async def delete_file(gateway: Gateway, call: Call) -> None:
    """`DELETE /v1/files/{id}`: at the provider first, then forgotten here."""
    principal = await authenticate(gateway, call)
    name = _tail(call)
    owned = await _owned(gateway, principal, name, "file")
    await admit(gateway, call, principal, None)
    target = _target(call, owned.provider)
    onward = Onward(b"DELETE", _path(target, FILES, name), _lines(call))
    whole = await fetch(gateway, call, target, onward)
    await asyncio.to_thread(_store(gateway).drop, principal.key_id, name)
    finish(gateway, call, 200, target.note + _JSON, whole)


async def list_files(gateway: Gateway, call: Call) -> None:
    """`GET /v1/files`: those of this key at one provider."""
    await _list(gateway, call, FILES, "file")


# --- batches ----------------------------------------------------------------------------------


async def create_batch(gateway: Gateway, call: Call) -> None:
    """`POST /v1/batches` where the key's own input file lies."""
    principal = await authenticate(gateway, call)
    if principal.models is not None:
        # The file's lines name models of the provider's, and nobody looks into them.
        raise Forbidden("This key is for certain models only; a batch could use any.")
    body = await call.exchange.read_body(call.state.snapshot.edge.max_body_bytes)
    try:
        raw = _decode_fields(body)
        source = _decode_text(raw["input_file_id"])
    except KeyError:
        raise BadRequest("You must provide 'input_file_id'.", param="input_file_id") from None
    except UNREADABLE:
        raise BadRequest("The request body must be a JSON object with texts.") from None
    owned = await _owned(gateway, principal, source, "file")
    await admit(gateway, call, principal, None)
    target = _target(call, owned.provider)
    # Written anew: of two equal names, the provider must see the one that was checked.
    onward = Onward(
        b"POST", _path(target, BATCHES), _lines(call), _encode(raw), b"application/json"
    )
    await _answer(gateway, call, principal, target, onward, "batch")


async def batches_at(gateway: Gateway, call: Call) -> None:
    """`GET /v1/batches/{id}`, and `POST` with `/cancel` behind."""
    principal = await authenticate(gateway, call)
    name, _, rest = _tail(call).partition("/")
    method = b"GET" if call.exchange.method == b"HEAD" else call.exchange.method
    if rest != ("cancel" if method == b"POST" else ""):
        raise NotFound("Invalid URL")
    owned = await _owned(gateway, principal, name, "batch")
    await admit(gateway, call, principal, None)
    target = _target(call, owned.provider)
    below = (name, rest) if rest else (name,)
    onward = Onward(method, _path(target, BATCHES, *below), _lines(call))
    await _answer(gateway, call, principal, target, onward, "batch")


async def list_batches(gateway: Gateway, call: Call) -> None:
    """`GET /v1/batches`: those of this key at one provider."""
    await _list(gateway, call, BATCHES, "batch")


# --- both -------------------------------------------------------------------------------------


async def _answer(
    gateway: Gateway,
    call: Call,
    principal: Principal,
    target: Target,
    onward: Onward,
    kind: str,
) -> None:
    """Answer with one object, remembered before the client hears of it."""
    whole = await fetch(gateway, call, target, onward)
    await _remember(gateway, principal, target, kind, whole)
    finish(gateway, call, 200, target.note + _JSON, whole)


async def _remember(
    gateway: Gateway, principal: Principal, target: Target, kind: str, raw: bytes
) -> None:
    """Note that an object is this key's, and so is what a batch has written."""
    try:
        made = _decode_object(raw)
    except UNREADABLE:
        raise BadUpstream("The provider's answer is no object of the API.") from None
    found = [OwnedObject(made.id, kind, target.provider)]
    if kind == "batch":
        found += [
            OwnedObject(output, "file", target.provider)
            for output in (made.output_file_id, made.error_file_id)
            if output is not None
        ]
    store = _store(gateway)
    for one in found:
        if not _ID.fullmatch(one.id):
            raise BadUpstream("The provider's object has an id that cannot be used.")
        if store.find(principal.key_id, one.id) is None:
            try:
                await asyncio.to_thread(store.add, principal.key_id, one)
            except OSError as error:
                fields = {"fields": {"reason": error.strerror or "", "kind": one.kind}}
                log.error("an object could not be remembered", extra=fields)
                raise Unavailable("The gateway cannot remember objects now.") from None


async def _list(gateway: Gateway, call: Call, operation: Operation, kind: str) -> None:
    """Collect one page of this key's objects out of the provider's pages of all keys'."""
    principal = await authenticate(gateway, call)
    query = parse_qs(call.exchange.query.decode("latin-1"))
    target = _target(call, choose_provider(call, principal, operation.name))
    limit = _limit(query, kind)
    asked = {name: query[name][-1] for name in ("order", "purpose", "after") if name in query}
    if kind == "batch":
        asked = {name: text for name, text in asked.items() if name == "after"}
    if "after" in asked:
        await _owned(gateway, principal, asked["after"], kind)
    await admit(gateway, call, principal, None)
    mine: list[msgspec.Raw] = []
    names: list[str] = []
    more = True
    for _ in range(_MAX_PAGES):
        path = _path(target, operation)
        joint = b"&" if b"?" in path else b"?"
        path += joint + urlencode([*asked.items(), ("limit", str(_PAGE[kind]))]).encode()
        whole = await fetch(gateway, call, target, Onward(b"GET", path, _lines(call)))
        page, last = await _own(gateway, principal, target, kind, whole)
        for name, raw in page:
            names.append(name)
            mine.append(raw)
        more = last is not None
        if last is None or len(mine) > limit:
            break
        asked["after"] = last
    body = {
        "object": "list",
        "data": mine[:limit],
        "first_id": names[0] if names else None,
        "last_id": names[:limit][-1] if names else None,
        "has_more": len(mine) > limit or (more and bool(mine)),
    }
    finish(gateway, call, 200, target.note + _JSON, _encode(body))


async def _own(
    gateway: Gateway, principal: Principal, target: Target, kind: str, whole: bytes
) -> tuple[list[tuple[str, msgspec.Raw]], str | None]:
    """Return a page's objects that are this key's, and the last id of all if more follow."""
    store = _store(gateway)
    mine: list[tuple[str, msgspec.Raw]] = []
    last: str | None = None
    try:
        page = _decode_page(whole)
        for number, raw in enumerate(page.data):
            last = _decode_object(raw).id
            owned = store.find(principal.key_id, last)
            if owned is not None and owned.kind == kind and owned.provider == target.provider:
                # A copy: the raw value would keep the whole page.
                mine.append((last, msgspec.Raw(bytes(raw))))
                if kind == "batch":
                    await _remember(gateway, principal, target, kind, bytes(raw))
            if number % 100 == 99:
                await asyncio.sleep(0)  # others' requests have their turn
    except UNREADABLE:
        raise BadUpstream("The provider's list is not one of the API.") from None
    return mine, last if page.has_more else None


def _limit(query: dict[str, list[str]], kind: str) -> int:
    text = query.get("limit", [str(_DEFAULT_LIMIT[kind])])[-1]
    most = _MAX_LIMIT[kind]
    if not (text.isascii() and text.isdigit() and len(text) <= 5 and 1 <= int(text) <= most):
        raise BadRequest(f"'limit' must be between 1 and {most}.", param="limit")
    return int(text)


async def _owned(gateway: Gateway, principal: Principal, name: str, kind: str) -> OwnedObject:
    """Return an object of this key. Another key's is as unknown as one that never was."""
    owned = _store(gateway).find(principal.key_id, name) if _ID.fullmatch(name) else None
    if owned is None or owned.kind != kind:
        raise NotFound(f"No such {kind}: {name[:128]}", param="id")
    return owned


def _store(gateway: Gateway) -> OwnedObjects:
    if gateway.objects is None:
        raise Unavailable("The gateway has nowhere to remember objects.")
    return gateway.objects


def _target(call: Call, provider: str) -> Target:
    target = call.state.place(provider)
    if target is None:
        raise Unavailable("The provider that holds this object is not configured any more.")
    return target


def _path(target: Target, operation: Operation, *below: str) -> bytes:
    path, mark, query = target.paths[operation.name].partition(b"?")
    tail = "".join("/" + quote(name, safe="") for name in below)
    return path + tail.encode() + mark + query


def _lines(call: Call) -> bytes:
    return call.plan.forwarded


def _tail(call: Call) -> str:
    return call.plan.tail.decode("latin-1")


def _content_lines(headers: dict[bytes, bytes]) -> bytes:
    shown = headers.get(b"content-disposition")
    return b"" if shown is None else b"content-disposition: " + shown + b"\r\n"


def _endpoints(prefix: bytes) -> tuple[Endpoint, ...]:
    files, batches = prefix + b"/files", prefix + b"/batches"
    return (
        Endpoint("files", b"POST", files, OPENAI, upload, FILES),
        Endpoint("files", b"GET", files, OPENAI, list_files, FILES),
        Endpoint("files", b"GET", files, OPENAI, files_at, FILES, takes_name=True),
        Endpoint("files", b"DELETE", files, OPENAI, delete_file, FILES, takes_name=True),
        Endpoint("batches", b"POST", batches, OPENAI, create_batch, BATCHES),
        Endpoint("batches", b"GET", batches, OPENAI, list_batches, BATCHES),
        Endpoint("batches", b"GET", batches, OPENAI, batches_at, BATCHES, takes_name=True),
        Endpoint("batches", b"POST", batches, OPENAI, batches_at, BATCHES, takes_name=True),
    )


ENDPOINTS = (*_endpoints(b"/v1"), *_endpoints(b""))
