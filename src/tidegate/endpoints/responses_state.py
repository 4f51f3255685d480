"""The state of one `POST /v1/responses`: what it goes on from, and who keeps what comes of it.

A provider that keeps responses is sent the request as it is, and only remembered. For any other
the earlier items are put in front of `input`, and the response is kept here.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec

from tidegate.dialects.encode import encode_json
from tidegate.dialects.neutral import WireError
from tidegate.dialects.openai.request import ModelRequest
from tidegate.dialects.passing import Scanner
from tidegate.dialects.responses import RESPONSES
from tidegate.dialects.responses.answer import response_of_item
from tidegate.dialects.responses.errors import error_event
from tidegate.dialects.responses.passing import ResponsesPassing
from tidegate.dialects.responses.request_read import echo_of
from tidegate.dialects.responses.wire import ResponsesWire, Turn
from tidegate.dialects.unreadable import UNREADABLE
from tidegate.endpoints.responses_items import (
    check_references,
    id_of,
    is_unproven,
    note_items,
    reference_of,
    without_id,
)
from tidegate.errors import BadRequest, GatewayError, NotFound
from tidegate.keys.principal import Principal
from tidegate.pipeline.call import Call
from tidegate.pipeline.gateway import Gateway
from tidegate.pipeline.operation import RESPONSE
from tidegate.responses.record import Record
from tidegate.responses.record_files import Missing
from tidegate.responses.store import INLINE_INPUT_BYTES, ResponseStore
from tidegate.routing.plan import ModelRoute
from tidegate.routing.target import Target

#: Ids that providers give; any other is not remembered, as it would stand in a path one day.
_ID = re.compile(r"[A-Za-z0-9_-]{1,200}")

_decode_items = msgspec.json.Decoder(list[msgspec.Raw]).decode
_decode_text = msgspec.json.Decoder(str).decode


class PreviousResponseNotFound(NotFound):
    """The response to go on from does not exist, or is not this key's (404)."""

    code = "previous_response_not_found"


class _Answer(msgspec.Struct):
    id: str = ""
    output: list[msgspec.Raw] = []


class _LastEvent(msgspec.Struct):
    response: msgspec.Raw


_decode_answer = msgspec.json.Decoder(_Answer).decode
_decode_last = msgspec.json.Decoder(_LastEvent).decode


class State:
    """One request's state.

    Attributes:
        request: As it is sent on; earlier items stand in it where no provider has them.
        route: Where it may be answered.
    """

    __slots__ = (
        "_call",
        "_input",
        "_key_id",
        "_previous",
        "_principal",
        "_staged",
        "_store",
        "_stored",
        "_stream",
        "_turn",
        "request",
        "route",
    )

    def __init__(
        self, call: Call, principal: Principal, request: ModelRequest, route: ModelRoute
    ) -> None:
        self._call = call
        self._principal = principal
        self._key_id = principal.key_id
        self._store: ResponseStore | None = None
        self._stored = False
        self._input = b"[]"
        self._previous = ""
        self._staged: Path | None = None
        self._stream: ResponsesPassing | None = None
        self._turn: Turn | None = None
        self.request = request
        self.route = route

    async def load(self, store: ResponseStore | None) -> None:
        """Look back, and get ready to keep what comes; raises `GatewayError` as `look_back`."""
        fields = self.request.fields
        await self.look_back(store)
        self._stored = store is not None and bytes(fields.get("store", b"true")) != b"false"
        if self._stored and len(self._input) > INLINE_INPUT_BYTES and self._keeps_content:
            assert store is not None
            self._staged = await store.stage(self._input)
            self._stored = self._staged is not None
        self._prepare(fields)

    async def look_back(self, store: ResponseStore | None) -> None:
        """Find what the request goes on from; raises `GatewayError` where that is not there."""
        fields = self.request.fields
        self._store = store
        self._previous = _text(fields, "previous_response_id")
        self._input = _input_items(fields)
        chain: list[Record] = []
        if self._previous:
            chain = await self._chain(self._previous)
        if chain and chain[-1].provider:
            self.route = _pinned(self.route, chain[-1])
        else:
            await self._put_in_front(chain)
        await self._check_references()

    async def _check_references(self) -> None:
        """Raise `NotFound` where an item is referred to that a provider keeps for another key."""
        store = self._store
        targets = [target for step in self.route.chain for target in step.targets]
        if store is None or not any(keeps(target) for target in targets):
            return
        items = _input_items(self.request.fields)
        await check_references(store, self._call, self._principal, items)

    @property
    def _keeps_content(self) -> bool:
        """Whether we may be the ones who keep the response."""
        return (
            self._store is not None
            and self._store.keeps_content
            and not all(keeps(target) for target in self.route.targets)
        )

    async def _chain(self, identifier: str) -> list[Record]:
        store = self._store
        try:
            if store is None:
                raise Missing
            chain = await store.chain(self._key_id, identifier)
            if chain[-1].running and store.is_live(self._key_id, identifier):
                raise BadRequest(
                    "The previous response is still being made.", param="previous_response_id"
                )
            if chain[0].provider and len(chain) > 1:
                raise Missing  # its provider kept responses once: what came before is there
        except Missing:
            pass
        else:
            return chain
        if store is None or not store.keeps_content:
            raise BadRequest(
                "This gateway keeps no responses: send the whole conversation as 'input', "
                "without 'previous_response_id'.",
                param="previous_response_id",
            )
        raise PreviousResponseNotFound(
            f"Previous response with id '{identifier[:100]}' not found.",
            param="previous_response_id",
        )

    async def _put_in_front(self, chain: list[Record]) -> None:
        """Write the request anew where it has earlier items, or refers to some."""
        body = self.request.body
        first = self.route.targets[0]
        native = RESPONSE.name in first.paths
        if not chain and b"item_reference" not in body:
            return
        items = [item for record in chain for item in _items_of(record)]
        items = await self._resolved(items, keeps=keeps(first))
        given = await self._resolved(_decode_items(self._input), keeps=keeps(first))
        if native:
            given = [item for item in given if not is_unproven(item)]
            items = [without_id(item) for item in items if not is_unproven(item)]
        fields: dict[str, Any] = {**self.request.fields, "input": [*items, *given]}
        fields.pop("previous_response_id", None)
        request = ModelRequest(encode_json(fields))
        self.request = request

    async def _resolved(self, items: list[msgspec.Raw], *, keeps: bool) -> list[msgspec.Raw]:
        """Return *items* with references to items of ours replaced by those."""
        resolved = []
        known: dict[str, list[msgspec.Raw]] = {}
        for item in items:
            reference = reference_of(item)
            owner = response_of_item(reference)
            if owner and owner not in known and self._store is not None:
                try:
                    known[owner] = _output_of(await self._store.get(self._key_id, owner))
                except Missing:
                    known[owner] = []
            found = [one for one in known.get(owner, ()) if id_of(one) == reference]
            if reference and not found and not keeps:
                raise PreviousResponseNotFound(
                    f"Item with id '{reference[:100]}' not found; send the item itself.",
                    param="input",
                )
            resolved.append(found[0] if found else item)
        return resolved

    def _prepare(self, fields: dict[str, msgspec.Raw]) -> None:
        """Give the call an operation of its own, which knows this state."""
        echo = echo_of(fields)
        echo["store"] = self._stored and self._keeps_content
        self._turn = Turn(echo, self._keep)
        operation = replace(RESPONSE, wire=ResponsesWire(self._turn), scanner=self._scanner)
        dialect = replace(RESPONSES, error_event=self._error_event)
        self._call.endpoint = replace(self._call.endpoint, operation=operation, dialect=dialect)

    async def end(self) -> None:
        """Clean up behind a request that brought no response."""
        if self._staged is not None and self._store is not None:
            await self._store.discard(self._staged)

    # --- what comes back --------------------------------------------------------------------

    def _scanner(self, call: Call) -> Scanner:
        """Return what stands between a native stream and the caller."""
        self._stream = ResponsesPassing(self._begun, self._ended)
        return self._stream

    def _begun(self, response_id: str) -> None:
        """Remember who keeps a response, from its first event on: it can be cancelled."""
        target = self._call.target
        if target is not None and keeps(target):
            self._pin(response_id, target)

    def _ended(self, last_event: bytes) -> None:
        """Keep a response that a provider has streamed and keeps not; else, whose its items are."""
        target = self._call.target
        if target is None:
            return
        try:
            response = bytes(_decode_last(last_event).response)
        except UNREADABLE:
            return
        if not keeps(target):
            self._keep(response)
        elif self._stored and self._store is not None:
            note_items(self._store, self._key_id, response)

    def keep_whole(self, whole: bytes, target: Target) -> bytes:
        """Keep a whole answer of a provider that speaks this API, or remember where it is."""
        if RESPONSE.name in target.paths:
            if not keeps(target):
                self._keep(whole)
            elif self._stored:
                try:
                    self._pin(_decode_answer(whole).id, target)
                except UNREADABLE:
                    return whole
                if self._store is not None:
                    note_items(self._store, self._key_id, whole)
        return whole

    def _pin(self, response_id: str, target: Target) -> None:
        if self._stored and self._store is not None and _ID.fullmatch(response_id):
            record = Record(provider=target.provider, model=target.model)
            self._store.put(self._key_id, response_id, record, None)

    def _keep(self, response: bytes) -> None:
        """Keep a whole response here; its caller has not seen the end of it yet."""
        store = self._store
        if not self._stored or store is None or not store.keeps_content:
            return
        try:
            response_id = _decode_answer(response).id
        except UNREADABLE:
            return
        if not _ID.fullmatch(response_id) or response_id == self._previous:
            return
        staged, self._staged = self._staged, None
        given = b"" if staged is not None else self._input
        record = Record(response=response, input=given, previous=self._previous)
        store.put(self._key_id, response_id, record, staged)

    def _error_event(self, error: GatewayError) -> bytes:
        """Render *error* as the end of the stream as far as it came."""
        told = WireError(error.status, error.message, error.kind, error.code, error.param)
        if self._turn is not None and self._turn.encoders:
            return self._turn.encoders[-1].fail(told)
        if self._stream is not None:
            return self._stream.fail(told)
        return error_event(error)


async def begin(
    gateway: Gateway, call: Call, principal: Principal, request: ModelRequest, route: ModelRoute
) -> State:
    """Return the state of a request. Raises `GatewayError` where what it needs is not there."""
    state = State(call, principal, request, route)
    await state.load(gateway.responses)
    return state


def keeps(target: Target) -> bool:
    """Whether the target's provider keeps responses itself."""
    return target.quirks.keeps_responses and RESPONSE.name in target.paths


def _pinned(route: ModelRoute, record: Record) -> ModelRoute:
    """Narrow *route* to the provider that keeps the response to go on from."""
    targets = [
        target
        for step in route.chain
        for target in step.targets
        if target.provider == record.provider and RESPONSE.name in target.paths
    ]
    if not targets:
        raise BadRequest(
            f"The previous response is kept by provider '{record.provider}', which does not "
            f"serve the model `{route.name}`; send the conversation as 'input'.",
            param="previous_response_id",
        )
    same = [target for target in targets if target.model == record.model]
    narrow = ModelRoute(
        route.name,
        (same or targets)[:1],
        retries=route.retries,
        total_s=route.total_s,
        unsupported=route.unsupported,
    )
    narrow.budget = route.budget
    return narrow


def _text(fields: dict[str, msgspec.Raw], name: str) -> str:
    raw = fields.get(name)
    if raw is None or bytes(raw) == b"null":
        return ""
    try:
        return _decode_text(raw)
    except UNREADABLE:
        raise BadRequest(f"'{name}' must be a string.", param=name) from None


def _input_items(fields: dict[str, msgspec.Raw]) -> bytes:
    """Return the input as a JSON list of items."""
    raw = bytes(fields.get("input", b"null"))
    if raw[:1] == b'"':
        return b'[{"type":"message","role":"user","content":' + raw + b"}]"
    if raw == b"null":
        return b"[]"
    if raw[:1] != b"[":
        raise BadRequest("'input' must be a string or a list of items.", param="input")
    return raw


def _items_of(record: Record) -> Iterable[msgspec.Raw]:
    """Return the items of a response: what was asked, then what came of it."""
    yield from _decode_items(record.input)
    yield from _output_of(record)


def _output_of(record: Record) -> list[msgspec.Raw]:
    try:
        return _decode_answer(record.response).output
    except UNREADABLE:
        return []
