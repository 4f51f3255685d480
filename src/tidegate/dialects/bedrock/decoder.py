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

from tidegate.dialects.bedrock.answer import FINISH_READ, NAME, NULL, read_usage
from tidegate.dialects.bedrock.errors import decode_error
from tidegate.dialects.bedrock.eventstream import FrameReader
from tidegate.dialects.event_decoder import NAMELESS_CALL, BrokenStream, EventDecoder, override
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
)


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
    usage: msgspec.Raw = NULL


_decode = msgspec.json.Decoder(_Event).decode


class ConverseStreamDecoder(EventDecoder[dict[str, str]]):
    """Reads one stream; see `wire.StreamDecoder`."""

    __slots__ = ("_begun", "_calls", "_open", "_started")

    def __init__(self, *, max_event_bytes: int) -> None:
        super().__init__(FrameReader(max_event_bytes))
        self._started = False
        self._begun = 0
        self._calls: dict[int, int] = {}
        self._open: set[int] = set()

    @override
    def _take(self, head: dict[str, str], payload: bytes, events: list[Event]) -> None:
        kind = head.get(":message-type", "event")
        if kind != "event":
            name = head.get(":exception-type") or head.get(":error-code", "")
            self.done = True
            events.append(StreamError(decode_error(0, payload, name)))
            return
        name = head.get(":event-type", "")
        if not self._started:
            self._started = True
            events.append(Start())
        event = _decode(payload)
        if name == "metadata":
            usage = read_usage(event.usage)
            if usage is not None:
                self.usage = usage
                events.append(UsageEvent(usage))
        elif self.finished:
            return
        elif name == "contentBlockDelta" and event.delta is not None:
            self._take_delta(event.content_block_index, event.delta, events)
        elif name == "contentBlockStart" and event.start is not None:
            self._take_start(event.content_block_index, event.start, events)
        elif name == "contentBlockStop":
            if event.content_block_index in self._open:
                self._open.discard(event.content_block_index)
                events.append(PartEnd())
        elif name == "messageStop":
            self.finished = True
            events.append(Finish(FINISH_READ.get(event.stop_reason, "other")))

    def _take_start(self, index: int, start: _BlockStart, events: list[Event]) -> None:
        if start.tool_use is None:
            return
        if not start.tool_use.name:
            raise BrokenStream(NAMELESS_CALL)
        number = self._calls[index] = self._begun
        self._begun += 1
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
