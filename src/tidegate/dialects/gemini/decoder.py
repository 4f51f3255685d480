"""A target's `streamGenerateContent` stream (with `alt=sse`) as neutral events.

    data: {"candidates":[{"content":{"role":"model","parts":[{"text":"Hi"}]},"index":0}],
           "usageMetadata":{…so far…},"modelVersion":"…","responseId":"…"}
    data: {"candidates":[{"content":{…},"finishReason":"STOP","index":0}],"usageMetadata":{…}}

There is no terminator: the body ends. Each event is a whole answer that holds the next pieces;
calls come whole. Source: `GenerateContentResponse` of the google-genai package, 3.x.
"""

from __future__ import annotations

from tidegate.dialects.event_decoder import NAMELESS_CALL, BrokenStream, EventDecoder, override
from tidegate.dialects.gemini.answer import (
    Candidate,
    WireAnswer,
    decode_wire,
    read_citations,
    read_finish,
    read_part,
)
from tidegate.dialects.gemini.errors import decode_error
from tidegate.dialects.gemini.parts import read_usage
from tidegate.dialects.neutral import (
    Audio,
    CitationDelta,
    Event,
    Finish,
    Image,
    OpaqueDelta,
    OpaquePart,
    PartEnd,
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
from tidegate.dialects.sse_reader import SseReader

_NULL = b"null"


class GeminiStreamDecoder(EventDecoder[bytes]):
    """Reads one stream; see `wire.StreamDecoder`."""

    __slots__ = (
        "_calls",
        "_choices",
        "_finished",
        "_response_id",
        "_seen",
        "_started",
    )

    def __init__(self, *, choices: int, max_event_bytes: int) -> None:
        super().__init__(SseReader(max_event_bytes))
        self._choices = choices
        self._calls: dict[int, int] = {}
        self._finished: set[int] = set()
        self._seen: set[int] = set()
        self._response_id = ""
        self._started = False

    @override
    def _take(self, head: bytes, payload: bytes, events: list[Event]) -> None:
        if payload.strip() == b"[DONE]":  # some compatible servers send it
            return
        wire = decode_wire(payload)
        if bytes(wire.error) != _NULL:
            self.done = True
            events.append(StreamError(decode_error(0, payload)))
            return
        if not self._started:
            self._start(wire, events)
        for candidate in wire.candidates or ():
            self._take_candidate(candidate, events)
        self._take_usage(wire, events)
        self._take_finishes(wire, events)

    def _start(self, wire: WireAnswer, events: list[Event]) -> None:
        self._started = True
        self._response_id = wire.response_id
        events.append(Start(wire.response_id, wire.model_version))

    def _take_usage(self, wire: WireAnswer, events: list[Event]) -> None:
        usage = read_usage(wire.usage_metadata)
        if usage is not None and usage != self.usage:
            self.usage = usage
            events.append(UsageEvent(usage))

    def _take_candidate(self, candidate: Candidate, events: list[Event]) -> None:
        choice = candidate.index
        if choice in self._finished:
            return
        raw_parts = candidate.content.parts if candidate.content is not None else None
        for raw in raw_parts or ():
            number = self._calls.get(choice, 0)
            call_id = f"call_{self._response_id or '0'}_{choice}_{number}"
            for part in read_part(raw, call_id):
                if isinstance(part, Text):
                    events.append(TextDelta(part.text, choice))
                elif isinstance(part, Thinking):
                    if part.text:
                        events.append(ThinkingDelta(part.text, choice))
                    if part.signature:
                        events.append(
                            SignatureDelta(part.signature, choice=choice, origin=part.origin)
                        )
                elif isinstance(part, ToolUse):
                    if not part.name:
                        raise BrokenStream(NAMELESS_CALL)
                    self._calls[choice] = number + 1
                    events.append(
                        ToolStart(number, part.id, part.name, choice, signature=part.signature)
                    )
                    events.append(ToolDelta(number, part.arguments, choice))
                    events.append(PartEnd(choice))
                elif isinstance(part, OpaquePart):
                    events.append(OpaqueDelta(part, choice))
                elif isinstance(part, (Image, Audio)):
                    events.append(OpaqueDelta(OpaquePart("gemini", "media", bytes(raw)), choice))
        events.extend([CitationDelta(citation, choice) for citation in read_citations(candidate)])

    def _take_finishes(self, wire: WireAnswer, events: list[Event]) -> None:
        """Finish after the usage of the same event, which is the last one."""
        for candidate in wire.candidates or ():
            choice, reason = candidate.index, candidate.finish_reason
            if reason is None or choice in self._finished:
                continue
            self._finished.add(choice)
            finish = read_finish(reason, calls=bool(self._calls.get(choice)))
            events.append(Finish(finish, choice=choice))
        feedback = wire.prompt_feedback
        if feedback is not None and feedback.block_reason and not self._finished:
            self._finished.update(range(self._choices))
            events.append(RefusalDelta("The prompt was blocked by the provider."))
            events.append(Finish("refusal"))
        self.finished = len(self._finished) >= self._choices
