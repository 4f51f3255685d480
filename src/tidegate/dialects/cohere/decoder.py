"""A target's Chat stream as neutral events.

    event: content-delta    {"index": 0, "delta": {"message": {"content": {"text": "Hi"}}}}
    event: tool-call-start  {"index": 0, "delta": {"message": {"tool_calls": {"id", "function"}}}}
    event: message-end      {"delta": {"finish_reason": "COMPLETE", "usage": {…}}}

Source: the API reference of Chat v2, streaming. What an event is, its `type` says.
"""

from __future__ import annotations

import msgspec

from tidegate.dialects.cohere.answer import (
    FINISH_READ,
    NULL,
    WireCall,
    WireFunction,
    decode_error,
    read_usage,
)
from tidegate.dialects.event_decoder import NAMELESS_CALL, BrokenStream, EventDecoder, override
from tidegate.dialects.neutral import (
    Event,
    Finish,
    PartEnd,
    Start,
    StreamError,
    TextDelta,
    ThinkingDelta,
    ToolDelta,
    ToolStart,
    UsageEvent,
    WireError,
)
from tidegate.dialects.sse_reader import SseReader


class _Content(msgspec.Struct):
    text: str = ""
    thinking: str = ""


class _Message(msgspec.Struct):
    content: _Content | list[_Content] | None = None
    tool_plan: str = ""
    tool_calls: WireCall | list[WireCall] | None = None


class _Delta(msgspec.Struct):
    message: _Message | None = None
    finish_reason: str = ""
    usage: msgspec.Raw = NULL
    error: str | None = None


class _Event(msgspec.Struct):
    type: str = ""
    id: str = ""
    index: int = 0
    delta: _Delta | None = None


_decode = msgspec.json.Decoder(_Event).decode


class CohereStreamDecoder(EventDecoder[bytes]):
    """Reads one stream; see `wire.StreamDecoder`."""

    __slots__ = ("_begun", "_calls", "_started")

    def __init__(self, *, max_event_bytes: int) -> None:
        super().__init__(SseReader(max_event_bytes))
        self._started = False
        self._begun = 0
        self._calls: dict[int, int] = {}

    @override
    def _take(self, head: bytes, payload: bytes, events: list[Event]) -> None:
        if payload.strip() == b"[DONE]":
            return
        if head == b"error":
            self.done = True
            events.append(StreamError(decode_error(0, payload)))
            return
        event = _decode(payload)
        if not self._started:
            if not event.type:
                self.done = True
                events.append(StreamError(decode_error(0, payload)))
                return
            self._started = True
            events.append(Start(event.id))
        delta = event.delta
        if delta is None:
            if event.type == "tool-call-end":
                events.append(PartEnd())
            return
        if delta.message is not None and not self.finished:
            self._take_message(event, delta.message, events)
        if event.type == "message-end":
            self._take_end(delta, events)

    def _take_message(self, event: _Event, message: _Message, events: list[Event]) -> None:
        contents = message.content if isinstance(message.content, list) else [message.content]
        for content in contents:
            if content is not None and content.text:
                events.append(TextDelta(content.text))
            if content is not None and content.thinking:
                events.append(ThinkingDelta(content.thinking))
        if message.tool_plan:
            events.append(ThinkingDelta(message.tool_plan))
        calls = message.tool_calls if isinstance(message.tool_calls, list) else [message.tool_calls]
        for call in calls:
            if call is None:
                continue
            function = call.function or WireFunction()
            if event.type == "tool-call-start":
                if not function.name:
                    raise BrokenStream(NAMELESS_CALL)
                number = self._calls[event.index] = self._begun
                self._begun += 1
                events.append(ToolStart(number, call.id, function.name))
            if function.arguments and event.index in self._calls:
                events.append(ToolDelta(self._calls[event.index], function.arguments))

    def _take_end(self, delta: _Delta, events: list[Event]) -> None:
        usage = read_usage(delta.usage)
        if usage is not None:
            self.usage = usage
            events.append(UsageEvent(usage))
        if delta.finish_reason in ("ERROR", "TIMEOUT"):
            self.done = True
            message = delta.error or "The provider's stream ended in an error."
            events.append(StreamError(WireError(502, message, "api_error", "upstream_error")))
            return
        self.finished = self.done = True
        events.append(Finish(FINISH_READ.get(delta.finish_reason, "other")))
