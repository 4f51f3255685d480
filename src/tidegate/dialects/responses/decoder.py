"""A target's Responses stream as neutral events.

    event: response.created                 {"response": {"id", "model", "status", …}}
    event: response.output_item.added       {"output_index": 0, "item": {"type": "message", …}}
    event: response.output_text.delta       {"output_index": 0, "content_index": 0, "delta": "Hi"}
    event: response.output_item.done        {"output_index": 0, "item": {…, whole}}
    event: response.completed               {"response": {…, whole, "usage"}}

Source: `ResponseStreamEvent` of the openai package, 3.x. What an event is, its `type` says, and
its `event:` line where it has none. Pieces that a server never sent are taken from what is whole.
"""

from __future__ import annotations

import msgspec

from tidegate.dialects.answer_reader import unix_time
from tidegate.dialects.event_decoder import NAMELESS_CALL, BrokenStream, EventDecoder, override
from tidegate.dialects.neutral import (
    CitationDelta,
    Event,
    Finish,
    OpaqueDelta,
    OpaquePart,
    Part,
    PartEnd,
    Refusal,
    RefusalDelta,
    SignatureDelta,
    Start,
    StreamError,
    Text,
    TextDelta,
    Thinking,
    ThinkingDelta,
    ToolDelta,
    ToolStart,
    ToolUse,
    UsageEvent,
)
from tidegate.dialects.openai.chat_answer import error_of_object
from tidegate.dialects.responses.answer import (
    OutputItem,
    WireResponse,
    decode_item,
    finish_of,
    parts_of_output,
)
from tidegate.dialects.responses.errors import FlatError, error_of_flat
from tidegate.dialects.responses.parts import (
    NAME,
    citation_of_annotation,
    logprobs_object,
    unseal,
)
from tidegate.dialects.responses.usage import usage_of_json
from tidegate.dialects.sse_reader import SseReader

_NULL = msgspec.Raw(b"null")


class _Event(msgspec.Struct):
    type: str = ""
    output_index: int = 0
    summary_index: int = 0
    delta: str | None = None
    arguments: str | None = None
    input: str | None = None
    text: str | None = None
    logprobs: list[msgspec.Raw] | None = None
    item: msgspec.Raw = _NULL
    annotation: msgspec.Raw = _NULL
    response: WireResponse | None = None
    error: msgspec.Raw = _NULL
    code: str | int | None = None
    message: str | None = None
    param: str | None = None


_decode_event = msgspec.json.Decoder(_Event).decode

_ENDS = frozenset(
    {"response.completed", "response.incomplete", "response.failed", "response.cancelled"}
)
_CALLS = frozenset({"function_call", "custom_tool_call"})


class _ItemState:
    """What came of one output item."""

    __slots__ = ("call", "told")

    def __init__(self) -> None:
        self.call = -1
        self.told = False  # whether any of its content came in pieces


class ResponsesStreamDecoder(EventDecoder[bytes]):
    """Reads one stream; see `wire.StreamDecoder`.

    Attributes:
        response_id: The provider's id of the response, once seen.
        last: The event that ended the response, as JSON.
    """

    __slots__ = (
        "_calls",
        "_items",
        "_started",
        "_states",
        "last",
        "response_id",
    )

    def __init__(self, *, max_event_bytes: int) -> None:
        super().__init__(SseReader(max_event_bytes))
        self._started = False
        self._calls = 0
        self._items: dict[int, _ItemState] = {}
        #: State of another provider on a call, by the call's id.
        self._states: dict[str, str] = {}
        self.response_id = ""
        self.last = b""

    @override
    def _take(self, head: bytes, payload: bytes, events: list[Event]) -> None:
        if payload[:6] == b"[DONE]":
            return  # some servers end every stream with it; what counts came before
        event = _decode_event(payload)
        kind = event.type or str(head, "utf-8", "replace")
        if kind == "response.output_text.delta":
            self._text(event, events)
        elif kind == "error" or (not kind.startswith("response.") and event.error != _NULL):
            self._error(event, payload, events)
        elif kind in _ENDS:
            self.last = payload
            self._terminate(event.response or WireResponse(), events)
        elif kind.startswith("response."):
            self._take_rare(kind, event, events)
        elif not kind:
            raise BrokenStream("The provider's stream holds an event of no type.")

    def _error(self, event: _Event, payload: bytes, events: list[Event]) -> None:
        """Take an error: flat as documented, or an `error` object as in whole answers."""
        self.done = True
        if event.error != _NULL:
            error = error_of_object(bytes(event.error), 502)
        elif event.message is None and event.code is None:
            error = error_of_object(payload, 502)
        else:
            error = error_of_flat(FlatError(event.message, event.code, event.param))
        events.append(StreamError(error))

    def _start(self, response: WireResponse | None, events: list[Event]) -> None:
        if self._started:
            return
        self._started = True
        found = response or WireResponse()
        self.response_id = found.id or ""
        events.append(Start(self.response_id, found.model or "", unix_time(found.created_at)))

    def _item(self, index: int, events: list[Event]) -> _ItemState:
        self._start(None, events)
        state = self._items.get(index)
        if state is None:
            state = self._items[index] = _ItemState()
        return state

    def _text(self, event: _Event, events: list[Event]) -> None:
        self._item(event.output_index, events).told = True
        if event.delta:
            logprobs = logprobs_object(event.logprobs) if event.logprobs else None
            events.append(TextDelta(event.delta, 0, logprobs))

    def _take_rare(self, kind: str, event: _Event, events: list[Event]) -> None:
        step = kind[9:]
        if event.response is not None:
            self._start(event.response, events)
        elif step == "output_item.added":
            self._added(event, events)
        elif step == "output_item.done":
            self._item_done(event, events)
        elif step in ("function_call_arguments.delta", "custom_tool_call_input.delta"):
            self._arguments(event.output_index, event.delta, events)
        elif step in ("function_call_arguments.done", "custom_tool_call_input.done"):
            state = self._item(event.output_index, events)
            if not state.told:
                self._arguments(event.output_index, event.arguments or event.input, events)
        elif step in ("reasoning_summary_text.delta", "reasoning_text.delta"):
            self._item(event.output_index, events).told = True
            if event.delta:
                events.append(ThinkingDelta(event.delta))
        elif step == "reasoning_summary_part.added":
            if event.summary_index and self._item(event.output_index, events).told:
                events.append(ThinkingDelta("\n\n"))
        elif step == "refusal.delta":
            self._item(event.output_index, events).told = True
            if event.delta:
                events.append(RefusalDelta(event.delta))
        elif step == "output_text.annotation.added":
            if event.annotation != _NULL:
                self._item(event.output_index, events).told = True
                events.append(CitationDelta(citation_of_annotation(event.annotation)))
        elif step == "content_part.done":
            self._item(event.output_index, events)
            events.append(PartEnd())

    def _added(self, event: _Event, events: list[Event]) -> None:
        state = self._item(event.output_index, events)
        item = decode_item(event.item)
        if item.type in _CALLS and state.call < 0:
            self._begin_call(state, item, events)

    def _begin_call(self, state: _ItemState, item: OutputItem, events: list[Event]) -> None:
        if not item.name:
            raise BrokenStream(NAMELESS_CALL)
        state.call = self._calls
        self._calls += 1
        custom = item.type == "custom_tool_call"
        identifier = item.call_id or item.id or f"call_{self.response_id[-12:]}_{state.call}"
        events.append(
            ToolStart(
                state.call,
                identifier,
                item.name,
                0,
                custom,
                self._states.get(identifier, ""),
            )
        )
        given = item.input if custom else item.arguments
        if given:
            state.told = True
            events.append(ToolDelta(state.call, given))

    def _arguments(self, index: int, piece: str | None, events: list[Event]) -> None:
        state = self._item(index, events)
        if piece and state.call >= 0:
            state.told = True
            events.append(ToolDelta(state.call, piece))

    def _item_done(self, event: _Event, events: list[Event]) -> None:
        """Take a whole item: what of it did not come in pieces, and its proof."""
        state = self._item(event.output_index, events)
        item = decode_item(event.item)
        if item.type in _CALLS:
            if state.call < 0:
                self._begin_call(state, item, events)
            elif not state.told:
                self._arguments(event.output_index, item.arguments or item.input, events)
            events.append(PartEnd())
        elif item.type == "reasoning":
            self._reasoning_done(state, item, events)
        elif item.type == "message":
            if not state.told:
                parts, _ = parts_of_output([event.item])
                self._add_parts(parts, events)
            state.told = True
        else:
            events.append(OpaqueDelta(OpaquePart(NAME, item.type, bytes(event.item))))
        state.told = True

    def _reasoning_done(self, state: _ItemState, item: OutputItem, events: list[Event]) -> None:
        text = "\n\n".join([words.text for words in item.summary or item.content or ()])
        content = item.encrypted_content
        envelope = None if content is None else unseal(content)
        if envelope is not None and envelope.kind == "call":
            self._states[envelope.call_id] = envelope.value
            return
        if text and not state.told:
            events.append(ThinkingDelta(text))
        if envelope is not None and envelope.kind == "signature":
            events.append(SignatureDelta(envelope.value, None, 0, envelope.origin))
        elif envelope is not None:
            events.append(SignatureDelta("", envelope.value, 0, envelope.origin))
        else:
            events.append(PartEnd())
            if content:
                events.append(SignatureDelta("", content, 0, NAME))

    def _add_parts(self, parts: list[Part], events: list[Event]) -> None:
        for part in parts:
            if isinstance(part, Text):
                events.append(TextDelta(part.text))
                events.extend([CitationDelta(citation) for citation in part.citations])
            elif isinstance(part, Refusal):
                events.append(RefusalDelta(part.text))
            elif isinstance(part, Thinking):
                if part.text:
                    events.append(ThinkingDelta(part.text))
                if part.signature or part.redacted is not None:
                    events.append(
                        SignatureDelta(part.signature or "", part.redacted, 0, part.origin)
                    )
            elif isinstance(part, ToolUse):
                if not part.name:
                    raise BrokenStream(NAMELESS_CALL)
                number = self._calls
                self._calls += 1
                events.append(ToolStart(number, part.id, part.name, 0, part.custom, part.signature))
                events.append(ToolDelta(number, part.arguments))
            elif isinstance(part, OpaquePart):
                events.append(OpaqueDelta(part))
            events.append(PartEnd())

    def _terminate(self, response: WireResponse, events: list[Event]) -> None:
        """Take the end of the response, which holds it as a whole once more."""
        self._start(response, events)
        if response.id:
            self.response_id = response.id
        usage = usage_of_json(response.usage)
        if usage is not None:
            self.usage = usage
            events.append(UsageEvent(usage))
        if response.status in ("failed", "cancelled") or response.error is not None:
            self.done = True
            events.append(StreamError(error_of_flat(response.error or FlatError())))
            return
        parts, _ = parts_of_output(response.output or [])
        if not self._items and parts:
            self._add_parts(parts, events)
        self.done = self.finished = True
        finish = finish_of(response, parts)
        if finish == "stop" and self._calls:
            finish = "tool_use"
        events.append(Finish(finish))
