"""What can be asked of a response later, whether we keep it or a provider does."""

from __future__ import annotations

import asyncio
from typing import Any
from urllib.parse import parse_qs, quote

import msgspec

from tidegate.dialects.encode import encode_json
from tidegate.endpoints.responses_ends import ended
from tidegate.endpoints.responses_events import replay, stream_log
from tidegate.endpoints.responses_items import note_items
from tidegate.errors import BadRequest, NotFound, Unavailable
from tidegate.keys.principal import Principal
from tidegate.pipeline.call import Call
from tidegate.pipeline.failure import UpstreamRefusal, failure_of_answer, failure_of_fault
from tidegate.pipeline.gateway import Gateway
from tidegate.pipeline.operation import RESPONSE
from tidegate.pipeline.settle import finish
from tidegate.responses.record import Record
from tidegate.responses.record_files import Missing
from tidegate.routing.target import Target
from tidegate.upstream.answer import UpstreamFault

_JSON = b"content-type: application/json\r\n"
_MAX_ANSWER_BYTES = 256 * 1024 * 1024
_TIMEOUT_S = 60.0
_MAX_LIMIT = 100
_STOP_LOOK_S = 0.05
_STOP_LOOKS = 100

_decode_items = msgspec.json.Decoder(list[dict[str, msgspec.Raw]]).decode


async def retrieve(gateway: Gateway, call: Call, principal: Principal, identifier: str) -> None:
    """Answer with a response as it was."""
    record = await _find(gateway, principal, identifier)
    query = _query(call)
    streams = query.get("stream", ["false"])[-1] == "true"
    if record.provider and streams:
        raise BadRequest(
            "A response that its provider keeps cannot be streamed again here.", param="stream"
        )
    if record.provider:
        await _forward(gateway, call, principal, record, f"/{quote(identifier, safe='')}")
    elif streams:
        after = query.get("starting_after", [""])[-1]
        if after and not (after.isascii() and after.isdigit() and len(after) <= 9):
            raise BadRequest("'starting_after' must be a number.", param="starting_after")
        number = int(after) if after else -1
        store = gateway.responses
        assert store is not None
        if record.background:
            await stream_log(gateway, call, store, principal, identifier, number)
        else:
            replay(gateway, call, record, number)
    else:
        finish(gateway, call, 200, _JSON, record.response)


async def delete(gateway: Gateway, call: Call, principal: Principal, identifier: str) -> None:
    """Delete a response, at its provider first where that one keeps it."""
    store = gateway.responses
    try:
        record = await _find(gateway, principal, identifier)
        if record.running:
            await _stop(gateway, principal, identifier)
        if record.provider:
            answer = await _ask(gateway, call, record, b"DELETE", f"/{quote(identifier, safe='')}")
        else:
            done = {"id": identifier, "object": "response", "deleted": True}
            answer = encode_json(done)
    except (NotFound, UpstreamRefusal) as error:
        if error.status == NotFound.status and store is not None:
            # What a worker left that was killed while it deleted; a provider's own 404, too.
            await store.delete(principal.key_id, identifier)
        raise
    assert store is not None
    await store.delete(principal.key_id, identifier)
    finish(gateway, call, 200, _JSON, answer)


async def cancel(gateway: Gateway, call: Call, principal: Principal, identifier: str) -> None:
    """Cancel a response that a provider makes in the background."""
    record = await _find(gateway, principal, identifier)
    if record.provider:
        below = f"/{quote(identifier, safe='')}/cancel"
        finish(gateway, call, 200, _JSON, await _ask(gateway, call, record, b"POST", below))
        return
    if not record.background:
        raise BadRequest("Only a response in the background can be cancelled.")
    if record.running:
        record = await _stop(gateway, principal, identifier)
    finish(gateway, call, 200, _JSON, record.response)


async def _stop(gateway: Gateway, principal: Principal, identifier: str) -> Record:
    """Ask the worker that makes a response to stop; return the response once it has ended.

    Raises `Unavailable` where that takes too long, and `NotFound` where somebody deletes it.
    """
    store = gateway.responses
    assert store is not None
    try:
        store.ask_to_cancel(principal.key_id, identifier)
    except OSError:
        raise Unavailable("The gateway cannot stop this response now.") from None
    for _ in range(_STOP_LOOKS):
        record = await _find(gateway, principal, identifier)
        if not record.running:
            return record
        await asyncio.sleep(_STOP_LOOK_S)
    raise Unavailable("The response has not stopped yet; ask again.", retry_after_s=1.0)


async def input_items(gateway: Gateway, call: Call, principal: Principal, identifier: str) -> None:
    """Answer with the items that a response was asked with, a page at a time."""
    record = await _find(gateway, principal, identifier)
    if record.provider:
        below = f"/{quote(identifier, safe='')}/input_items"
        await _forward(gateway, call, principal, record, below)
        return
    query = _query(call)
    items = _listed(identifier, record)
    if query.get("order", ["desc"])[-1] != "asc":
        items.reverse()
    after = query.get("after", [""])[-1]
    if after:
        places = [number for number, item in enumerate(items) if item["id"] == after]
        if not places:
            raise NotFound(f"Item with id '{after[:100]}' not found.", param="after")
        items = items[places[0] + 1 :]
    limit = query.get("limit", ["20"])[-1]
    if not limit.isdigit() or not 1 <= int(limit[:4]) <= _MAX_LIMIT:
        raise BadRequest(f"'limit' must be between 1 and {_MAX_LIMIT}.", param="limit")
    page = items[: int(limit)]
    body = {
        "object": "list",
        "data": page,
        "first_id": page[0]["id"] if page else None,
        "last_id": page[-1]["id"] if page else None,
        "has_more": len(items) > len(page),
    }
    finish(gateway, call, 200, _JSON, encode_json(body))


def _listed(identifier: str, record: Record) -> list[dict[str, Any]]:
    """Return the input's items as the API lists them: each with an id, text as parts."""
    listed: list[dict[str, Any]] = []
    for number, given in enumerate(_decode_items(record.input)):
        item: dict[str, Any] = {"id": "", **given}
        raw_id = given.get("id")
        if raw_id is None or bytes(raw_id) == b"null":
            item["id"] = f"msg_{identifier.removeprefix('resp_')}_in{number}"
        else:
            item["id"] = msgspec.json.decode(raw_id, type=str)
        if "role" in given:
            item.setdefault("type", "message")
            item.setdefault("status", "completed")
            content = given.get("content")
            if content is not None and bytes(content)[:1] == b'"':
                spoken = bytes(given["role"]) == b'"assistant"'
                kind = "output_text" if spoken else "input_text"
                item["content"] = [{"type": kind, "text": content}]
        listed.append(item)
    return listed


def _query(call: Call) -> dict[str, list[str]]:
    return parse_qs(call.exchange.query.decode("latin-1"))


async def _find(gateway: Gateway, principal: Principal, identifier: str) -> Record:
    """Return a response of this key. Another key's is as unknown as one that never was."""
    try:
        if gateway.responses is None:
            raise Missing
        return await ended(gateway.responses, principal.key_id, identifier)
    except Missing:
        raise NotFound(f"Response with id '{identifier[:100]}' not found.") from None


# --- at a provider --------------------------------------------------------------------------


async def _forward(
    gateway: Gateway, call: Call, principal: Principal, record: Record, below: str
) -> None:
    """Answer with what a provider keeps, and remember whose the items are that it shows."""
    answer = await _ask(gateway, call, record, b"GET", below)
    assert gateway.responses is not None
    note_items(gateway.responses, principal.key_id, answer)
    finish(gateway, call, 200, _JSON, answer)


async def _ask(gateway: Gateway, call: Call, record: Record, method: bytes, below: str) -> bytes:
    """Ask the provider that keeps a response, with the credential that it was made with."""
    target = _target_of(call, record)
    path, mark, fixed = target.paths[RESPONSE.name].partition(b"?")
    path += below.encode("ascii")
    query = call.exchange.query
    if mark or query:
        path += b"?" + b"&".join([part for part in (fixed, query) if part])
    lines = call.plan.forwarded_always
    try:
        if target.signer is not None:
            lines += await target.signed_lines(path, b"", method)
        answer = await target.client.send(
            b"%b%bcontent-length: 0\r\n\r\n" % (target.request_head(method, path), lines),
            b"",
            deadline=gateway.loop.time() + _TIMEOUT_S,
        )
        try:
            if answer.status != 200:
                _, failure = await failure_of_answer(answer, None)
                raise failure.error
            return await answer.read(_MAX_ANSWER_BYTES)
        finally:
            answer.cancel()
    except UpstreamFault as fault:
        raise failure_of_fault(fault).error from fault


def _target_of(call: Call, record: Record) -> Target:
    """Return a target at the provider that keeps a response, its own model's first."""
    found: Target | None = None
    for route in call.state.routes.values():
        for target in route.targets:
            if target.provider == record.provider and RESPONSE.name in target.paths:
                if target.model == record.model:
                    return target
                found = found or target
    if found is None:
        open_route = call.state.open_route(f"{record.provider}/{record.model}")
        if open_route is None:
            raise Unavailable("The provider that keeps this response is not configured any more.")
        found = open_route.targets[0]
    return found
