"""A target's Messages stream as neutral events.

    event: message_start        {"message": {"id", "model", "usage": {"input_tokens", …}}}
    event: content_block_start  {"index": 0, "content_block": {"type": "text", "text": ""}}
    event: content_block_delta  {"index": 0, "delta": {"type": "text_delta", "text": "Hi"}}
    event: content_block_stop   {"index": 0}
    event: message_delta        {"delta": {"stop_reason": "end_turn"}, "usage": {cumulative}}
    event: message_stop         {}

Source: `RawMessageStreamEvent` of the anthropic package, 2.x. What an event is, its `type`
says; its `event:` line is not needed here.
"""

from __future__ import annotations

import msgspec

from tidegate.dialects.anthropic.answer import StopDetails, decode_block
from tidegate.dialects.anthropic.errors import decode_error
from tidegate.dialects.anthropic.parts import FINISH_READ, NAME, read_citation
from tidegate.dialects.anthropic.usage import WireUsage, neutral_usage, read_usage
from tidegate.dialects.event_decoder import NAMELESS_CALL, BrokenStream, EventDecoder, override
from tidegate.dialects.neutral import (
    CitationDelta,
    Event,
    Finish,
    OpaqueDelta,
    OpaquePart,
    PartEnd,
    RefusalDelta,
    SignatureDelta,
    Start,
    StreamError,
    TextDelta,
    ThinkingDelta,
    ToolDelta,
    ToolStart,
    UsageEvent,
)
from tidegate.dialects.sse_reader import SseReader
from tidegate.dialects.unreadable import UNREADABLE

_NULL = msgspec.Raw(b"null")


class _Delta(msgspec.Struct):
    type: str = ""
    text: str = ""
    partial_json: str = ""
    thinking: str = ""
    signature: str = ""
    citation: msgspec.Raw = _NULL
    stop_reason: str | None = None
    stop_sequence: str | None = None
    stop_details: StopDetails | None = None


class _Message(msgspec.Struct):
    id: str = ""
    model: str = ""
    usage: msgspec.Raw = _NULL


class _Event(msgspec.Struct):
    type: str
    index: int = 0
    delta: _Delta | None = None
    content_block: msgspec.Raw = _NULL
    message: _Message | None = None
    usage: msgspec.Raw = _NULL


_decode_event = msgspec.json.Decoder(_Event).decode


class _Tool:
    """A call whose block is open."""

    __slots__ = ("given", "number", "told")

    def __init__(self, number: int, given: str) -> None:
        self.number = number
        self.given = given  # arguments that its start held, for servers that send no pieces
        self.told = False


class MessagesStreamDecoder(EventDecoder[bytes]):
    """Reads one stream; see `wire.StreamDecoder`."""

    __slots__ = (
        "_calls",
        "_open",
        "_skipped",
        "_started",
        "_tools",
        "_usage",
    )

    def __init__(self, *, max_event_bytes: int) -> None:
        super().__init__(SseReader(max_event_bytes))
        self._started = False
        self._calls = 0
        self._tools: dict[int, _Tool] = {}
        self._open: set[int] = set()
        self._skipped: set[int] = set()  # blocks that were handed on whole at their start
        self._usage: WireUsage | None = None

    @override
    def _take(self, head: bytes, payload: bytes, events: list[Event]) -> None:
        try:
            event = _decode_event(payload)
            kind = event.type
            if kind == "content_block_delta":
                if not self._started:
                    self._start(_Message(), events)
                if event.delta is not None:
                    self._take_delta(event.index, event.delta, events)
            elif kind == "content_block_start":
                if not self._started:
                    self._start(_Message(), events)
                self._take_start(event, events)
            elif kind == "content_block_stop":
                self._take_stop(event.index, events)
            elif kind == "message_delta":
                self._take_message_delta(event, events)
            elif kind == "message_start":
                if not self._started:
                    self._start(event.message or _Message(), events)
            elif kind == "message_stop":
                self._terminate(events)
            elif kind == "error" or head == b"error":
                self._take_error(payload, events)
        except UNREADABLE:
            if head == b"error" or not self._started:
                self._take_foreign(head, payload, events)
            else:
                raise

    def _take_foreign(self, head: bytes, payload: bytes, events: list[Event]) -> None:
        """Take an event without a type: an error object by itself, or nothing of this dialect."""
        if head == b"error" or b'"error"' in payload:
            self._take_error(payload, events)
        elif payload.strip() != b"[DONE]":
            raise BrokenStream("The provider's stream begins with an event that cannot be read.")

    def _take_error(self, payload: bytes, events: list[Event]) -> None:
        self.done = True
        events.append(StreamError(decode_error(0, payload)))

    def _start(self, message: _Message, events: list[Event]) -> None:
        self._started = True
        self._usage = read_usage(message.usage)
        usage = None if self._usage is None else neutral_usage(self._usage)
        if usage is not None:
            self.usage = usage
        events.append(Start(message.id, message.model, 0, usage))

    def _take_delta(self, index: int, delta: _Delta, events: list[Event]) -> None:
        if self.finished or index in self._skipped:
            return
        kind = delta.type
        if kind == "text_delta":
            if delta.text:
                events.append(TextDelta(delta.text))
        elif kind == "input_json_delta":
            tool = self._tools.get(index)
            if tool is not None and delta.partial_json:
                tool.told = True
                events.append(ToolDelta(tool.number, delta.partial_json))
        elif kind == "thinking_delta":
            if delta.thinking:
                events.append(ThinkingDelta(delta.thinking))
        elif kind == "signature_delta":
            events.append(SignatureDelta(delta.signature, origin=NAME))
        elif kind == "citations_delta":
            events.append(CitationDelta(read_citation(delta.citation)))

    def _take_start(self, event: _Event, events: list[Event]) -> None:
        if self.finished:
            return
        block = decode_block(event.content_block)
        self._open.add(event.index)
        kind = block.type
        if kind == "text":
            if block.text:
                events.append(TextDelta(block.text))
        elif kind == "tool_use":
            if not block.name:
                raise BrokenStream(NAMELESS_CALL)
            given = str(bytes(block.input), "utf-8")
            tool = self._tools[event.index] = _Tool(self._calls, "" if given == "{}" else given)
            self._calls += 1
            events.append(ToolStart(tool.number, block.id, block.name))
        elif kind == "thinking":
            if block.thinking:
                events.append(ThinkingDelta(block.thinking))
            if block.signature:
                events.append(SignatureDelta(block.signature, origin=NAME))
        elif kind == "redacted_thinking":
            events.append(SignatureDelta("", block.data, origin=NAME))
        else:
            self._skipped.add(event.index)
            events.append(OpaqueDelta(OpaquePart(NAME, kind, bytes(event.content_block))))

    def _take_stop(self, index: int, events: list[Event]) -> None:
        if index not in self._open or self.finished:
            return
        self._open.discard(index)
        tool = self._tools.get(index)
        if tool is not None and not tool.told and tool.given:
            events.append(ToolDelta(tool.number, tool.given))
        events.append(PartEnd())

    def _take_message_delta(self, event: _Event, events: list[Event]) -> None:
        if not self._started:
            self._start(_Message(), events)
        if event.usage != _NULL:
            wire = read_usage(event.usage, self._usage)
            usage = None if wire is None else neutral_usage(wire)
            if usage is not None:
                self._usage, self.usage = wire, usage
                events.append(UsageEvent(usage))
        delta = event.delta
        if delta is not None and delta.stop_reason is not None and not self.finished:
            self.finished = True
            finish = FINISH_READ.get(delta.stop_reason, "other")
            if finish == "refusal" and delta.stop_details is not None:
                explanation = delta.stop_details.explanation
                if explanation:
                    events.append(RefusalDelta(explanation))
            events.append(Finish(finish, delta.stop_sequence))

    def _terminate(self, events: list[Event]) -> None:
        if not self._started:
            raise BrokenStream("The provider's stream held no answer.")
        self.done = True
        if not self.finished:
            self.finished = True
            events.append(Finish("tool_use" if self._calls else "stop"))
