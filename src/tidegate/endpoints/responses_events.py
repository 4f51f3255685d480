"""The events of a response that is kept here, from any place on: while it is made, or afterwards.

What was made in the background has its events in a file. Of any other response only the end was
kept: its events are written anew, a text in one piece.
"""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec

from tidegate.dialects.encode import encode_json
from tidegate.dialects.openai.stream import KEEP_ALIVE
from tidegate.dialects.unreadable import UNREADABLE
from tidegate.endpoints.background_exchange import told_in
from tidegate.endpoints.responses_ends import ended
from tidegate.errors import NotFound
from tidegate.keys.principal import Principal
from tidegate.pipeline.call import Call
from tidegate.pipeline.gateway import Gateway
from tidegate.pipeline.relay import SILENCE_S, STREAM_HEADERS
from tidegate.pipeline.settle import settle
from tidegate.responses.record import Record
from tidegate.responses.record_files import Missing
from tidegate.responses.store import ResponseStore

#: How long a reader waits before it looks for more.
_LOOK_S = 0.05
_decode_response = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_decode_items = msgspec.json.Decoder(list[dict[str, Any]]).decode


class _Client:
    """Watches the reader of a stream: it may leave, and it may be slow."""

    def __init__(self, call: Call) -> None:
        self._call = call
        self.can_take = asyncio.Event()
        self.can_take.set()

    def client_gone(self) -> None:
        """See `edge.exchange.ClientWatcher`."""
        self._call.client_gone()

    def client_slow(self) -> None:
        """See `edge.exchange.ClientWatcher`."""
        self.can_take.clear()

    def client_ready(self) -> None:
        """See `edge.exchange.ClientWatcher`."""
        self.can_take.set()


async def stream_log(
    gateway: Gateway,
    call: Call,
    store: ResponseStore,
    principal: Principal,
    response_id: str,
    starting_after: int = -1,
) -> None:
    """Answer with a response's events behind number *starting_after*, to the last one.

    The last event is sent in any case. A reader that leaves ends nothing but its own reading.
    Raises `NotFound` where there is no such response any more.
    """
    key_id = principal.key_id
    client = _Client(call)
    call.stream = True
    sent = -1
    try:
        with store.read_log(key_id, response_id) as reader:
            call.exchange.watcher = client
            silent_s = 0.0
            while True:
                is_live = reader.is_live  # asked first: what was written before is read below
                events = reader.read()
                for event in events:
                    told = told_in(event)
                    if told is None:
                        continue
                    if told.is_last:
                        _end(gateway, call, event)
                        return
                    if told.sequence_number > starting_after:
                        _send(call, event)
                        sent = told.sequence_number
                if events:
                    silent_s = 0.0
                    await asyncio.sleep(0)  # a long log is read while others have their turn
                    await client.can_take.wait()
                elif not is_live:
                    break
                else:
                    await asyncio.sleep(_LOOK_S)
                    silent_s += _LOOK_S
                    if silent_s >= SILENCE_S:
                        silent_s = 0.0
                        _send(call, KEEP_ALIVE)
    except OSError:
        pass  # its events are gone, or were never written
    try:
        record = await ended(store, key_id, response_id)
    except Missing:
        if not call.status:
            raise NotFound(f"Response with id '{response_id[:100]}' not found.") from None
        call.exchange.abort()
        return
    if sent < 0:
        replay(gateway, call, record, starting_after)
    else:  # its maker was killed: only the end is missing
        _end(gateway, call, renumbered(events_of(record.response)[-1], sent + 1))


def renumbered(event: bytes, number: int) -> bytes:
    """Return an event of `events_of` under another number."""
    head, _, data = event.partition(b"\ndata: ")
    fields: dict[str, Any] = {**_decode_response(data)}
    return b"%b\ndata: %b\n\n" % (head, encode_json({**fields, "sequence_number": number}))


def replay(gateway: Gateway, call: Call, record: Record, starting_after: int) -> None:
    """Answer with events that lead to a response as it was kept."""
    call.stream = True
    *before, last = events_of(record.response)
    for number, event in enumerate(before):
        if number > starting_after:
            _send(call, event)
    _end(gateway, call, last)


def events_of(response: bytes) -> list[bytes]:
    """Return the events of a whole response; a single one for what cannot be read."""
    events: list[bytes] = []

    def add(kind: str, **fields: Any) -> None:
        body = encode_json({"type": kind, "sequence_number": len(events), **fields})
        events.append(b"event: %b\ndata: %b\n\n" % (kind.encode(), body))

    status = "completed"
    try:
        whole: dict[str, Any] = {**_decode_response(response)}
        output = _decode_items(whole.get("output", msgspec.Raw(b"[]")))
        status = msgspec.json.decode(whole["status"], type=str)
    except (*UNREADABLE, KeyError):
        add("response.completed", response=msgspec.Raw(response))
        return events
    begun = {**whole, "status": "in_progress", "output": [], "usage": None, "error": None}
    add("response.created", response=begun)
    add("response.in_progress", response=begun)
    for index, item in enumerate(output):
        _add_item(add, index, item)
    add(f"response.{status}", response=msgspec.Raw(response))
    return events


def _add_item(add: Any, index: int, item: dict[str, Any]) -> None:
    """Add the events of one item."""
    kind = item.get("type")
    place = {"item_id": item.get("id", ""), "output_index": index}
    if kind == "message":
        opened = {**item, "status": "in_progress", "content": []}
        add("response.output_item.added", output_index=index, item=opened)
        for number, part in enumerate(item.get("content") or ()):
            _add_part(add, {**place, "content_index": number}, part)
    elif kind == "function_call":
        opened = {**item, "status": "in_progress", "arguments": ""}
        add("response.output_item.added", output_index=index, item=opened)
        text = item.get("arguments", "")
        add("response.function_call_arguments.delta", **place, delta=text)
        add("response.function_call_arguments.done", **place, arguments=text,
            name=item.get("name", ""))  # fmt: skip
    else:
        add("response.output_item.added", output_index=index, item=item)
    add("response.output_item.done", output_index=index, item=item)


def _add_part(add: Any, place: dict[str, Any], part: dict[str, Any]) -> None:
    """Add the events of one part of a message."""
    if part.get("type") == "output_text":
        text, logprobs = part.get("text", ""), part.get("logprobs") or []
        empty = {**part, "text": "", "annotations": [], "logprobs": []}
        add("response.content_part.added", **place, part=empty)
        add("response.output_text.delta", **place, delta=text, logprobs=logprobs)
        for number, annotation in enumerate(part.get("annotations") or ()):
            add("response.output_text.annotation.added", **place, annotation_index=number,
                annotation=annotation)  # fmt: skip
        add("response.output_text.done", **place, text=text, logprobs=logprobs)
    elif part.get("type") == "refusal":
        text = part.get("refusal", "")
        add("response.content_part.added", **place, part={**part, "refusal": ""})
        add("response.refusal.delta", **place, delta=text)
        add("response.refusal.done", **place, refusal=text)
    else:
        add("response.content_part.added", **place, part=part)
    add("response.content_part.done", **place, part=part)


def _send(call: Call, data: bytes) -> None:
    if not call.status:
        call.status = 200
        call.exchange.start(200, call.base_headers() + STREAM_HEADERS)
    call.exchange.write(data)


def _end(gateway: Gateway, call: Call, last: bytes) -> None:
    """Settle the call, then let its last event leave."""
    if not call.status:
        call.status = 200
        call.exchange.start(200, call.base_headers() + STREAM_HEADERS)
    settle(gateway, call, 200)
    call.exchange.watcher = None
    call.exchange.write(last)
    call.exchange.end()
