"""A target's ConverseStream as neutral events.

    messageStart        {"role": "assistant"}
    contentBlockStart   {"contentBlockIndex": 1, "start": {"toolUse": {"toolUseId", "name"}}}
    contentBlockDelta   {"contentBlockIndex": 0, "delta": {"text": "Hi"}}
    contentBlockStop    {"contentBlockIndex": 0}
    messageStop         {"stopReason": "end_turn"}
    metadata            {"usage": {…}}                     the last one

Source: the API reference of ConverseStream.
"""

from __future__ import annotations

import msgspec

from tidegate.dialects.bedrock.answer import FINISH_READ, NAME, WireUsage, neutral_usage
from tidegate.dialects.bedrock.errors import decode_error
from tidegate.dialects.bedrock.eventstream import BadFrame, Frame, FrameReader
from tidegate.dialects.neutral import (
    Event,
    Finish,
    PartEnd,
    SignatureDelta,
    Start,
    StreamError,
    TextDelta,
    ThinkingDelta,
    ToolDelta,
    ToolStart,
    UsageEvent,
    WireError,
)
from tidegate.dialects.unreadable import UNREADABLE
from tidegate.dialects.usage import Usage


class _ToolInput(msgspec.Struct):
    input: str = ""


class _Reasoning(msgspec.Struct, rename="camel"):
    text: str = ""
    signature: str = ""
    redacted_content: str | None = None


class _Delta(msgspec.Struct, rename="camel"):
    text: str = ""
    tool_use: _ToolInput | None = None
    reasoning_content: _Reasoning | None = None


class _ToolStart(msgspec.Struct, rename="camel"):
    tool_use_id: str
    name: str


class _BlockStart(msgspec.Struct, rename="camel"):
    tool_use: _ToolStart | None = None


class _Event(msgspec.Struct, rename="camel"):
    content_block_index: int = 0
    start: _BlockStart | None = None
    delta: _Delta | None = None
    stop_reason: str = ""
    usage: WireUsage | None = None


_decode = msgspec.json.Decoder(_Event).decode


class ConverseStreamDecoder:
    """Reads one stream; see `wire.StreamDecoder`."""

    __slots__ = ("_calls", "_open", "_reader", "_started", "done", "finished", "usage")

    def __init__(self, *, max_event_bytes: int) -> None:
        self._reader = FrameReader(max_event_bytes)
        self._started = False
        self._calls: dict[int, int] = {}
        self._open: set[int] = set()
        self.usage: Usage | None = None
        self.finished = False
        self.done = False

    def feed(self, data: bytes) -> list[Event]:
        """Take what was read; return the events it completes."""
        events: list[Event] = []
        if self.done:
            return events
        try:
            for frame in self._reader.feed(data):
                self._take(frame, events)
                if self.done:
                    break
        except BadFrame as error:
            self._fail(f"The provider's stream cannot be read: {error}.", events)
        return events

    def end(self) -> list[Event]:
        """Take the end of the body."""
        events: list[Event] = []
        if self.done:
            return events
        if self.finished and not self._reader.is_inside:
            self.done = True
        else:
            self._fail("The provider's stream ended before it was finished.", events)
        return events

    def _fail(self, message: str, events: list[Event]) -> None:
        self.done = True
        events.append(StreamError(WireError(502, message, "api_error", "upstream_error")))

    def _take(self, frame: Frame, events: list[Event]) -> None:
        kind = frame.headers.get(":message-type", "event")
        if kind != "event":
            name = frame.headers.get(":exception-type") or frame.headers.get(":error-code", "")
            self.done = True
            events.append(StreamError(decode_error(0, frame.payload, name)))
            return
        name = frame.headers.get(":event-type", "")
        if not self._started:
            self._started = True
            events.append(Start())
        try:
            event = _decode(frame.payload)
        except UNREADABLE:
            self._fail("The provider's stream holds an event that cannot be read.", events)
            return
        if name == "contentBlockDelta" and event.delta is not None and not self.finished:
            self._take_delta(event.content_block_index, event.delta, events)
        elif name == "contentBlockStart" and event.start is not None:
            self._take_start(event.content_block_index, event.start, events)
        elif name == "contentBlockStop":
            if event.content_block_index in self._open:
                self._open.discard(event.content_block_index)
                events.append(PartEnd())
        elif name == "messageStop" and not self.finished:
            self.finished = True
            events.append(Finish(FINISH_READ.get(event.stop_reason, "other")))
        elif name == "metadata" and event.usage is not None:
            usage = neutral_usage(event.usage)
            if usage is not None:
                self.usage = usage
                events.append(UsageEvent(usage))

    def _take_start(self, index: int, start: _BlockStart, events: list[Event]) -> None:
        if start.tool_use is None:
            return
        number = self._calls[index] = len(self._calls)
        self._open.add(index)
        events.append(ToolStart(number, start.tool_use.tool_use_id, start.tool_use.name))

    def _take_delta(self, index: int, delta: _Delta, events: list[Event]) -> None:
        self._open.add(index)
        if delta.text:
            events.append(TextDelta(delta.text))
        if delta.tool_use is not None and index in self._calls and delta.tool_use.input:
            events.append(ToolDelta(self._calls[index], delta.tool_use.input))
        thought = delta.reasoning_content
        if thought is None:
            return
        if thought.redacted_content is not None:
            events.append(SignatureDelta("", thought.redacted_content, origin=NAME))
        if thought.text:
            events.append(ThinkingDelta(thought.text))
        if thought.signature:
            events.append(SignatureDelta(thought.signature, origin=NAME))
