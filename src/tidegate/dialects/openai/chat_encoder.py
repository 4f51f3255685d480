"""Neutral events as a chat completion stream for a caller.

What all chunks of a stream have in common is written once; a piece of text costs one JSON
string. Usage and `[DONE]` are held back for `end`, so that everything is settled before them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from tidegate.dialects.encode import encode_json
from tidegate.dialects.fidelity import Loss, Losses
from tidegate.dialects.neutral import (
    CitationDelta,
    Event,
    Finish,
    OpaqueDelta,
    PartEnd,
    RefusalDelta,
    SignatureDelta,
    Start,
    StreamError,
    TextDelta,
    Thinking,
    ThinkingDelta,
    ToolDelta,
    ToolStart,
    UsageEvent,
    WireError,
)
from tidegate.dialects.openai.chat_answer import (
    FINISH_WRITE,
    answer_id,
    google_content,
    note_finish,
    usage_object,
)
from tidegate.dialects.openai.chat_parts import (
    NAME,
    annotation_of_citation,
    details_of_thinking,
)
from tidegate.dialects.openai.stream import DONE
from tidegate.dialects.usage import Usage
from tidegate.dialects.wire import AnswerContext


class _ChoiceState:
    """What was written of one alternative."""

    __slots__ = ("custom_calls", "details", "head", "text_head", "text_length", "thought")

    def __init__(self, head: bytes, index: int) -> None:
        self.head = head + b'"choices":[{"index":%d,"delta":' % index
        self.text_head = self.head + b'{"content":'
        self.text_length = 0
        self.thought: list[str] = []
        self.custom_calls: set[int] = set()
        #: Reasoning items written so far.
        self.details = 0


class ChatStreamEncoder:
    """Writes one stream; see `wire.StreamEncoder`.

    Attributes:
        finish_reasons: What the caller reads of each finish reason.
    """

    finish_reasons = FINISH_WRITE

    __slots__ = (
        "_choices",
        "_context",
        "_head",
        "_losses",
        "_tail",
        "_text_tail",
        "_usage",
        "_writers",
        "failed",
    )

    def __init__(self, context: AnswerContext) -> None:
        self._context = context
        self._losses = Losses()
        self._usage: Usage | None = None
        self._choices: dict[int, _ChoiceState] = {}
        self._head = b""
        end = b"]," + b'"usage":null}\n\n' if context.include_usage else b"]}\n\n"
        self._tail = b',"logprobs":null,"finish_reason":null}' + end
        self._text_tail = b"}" + self._tail
        self.failed = False
        # One look-up for an event is half the cost of a chain of type tests.
        self._writers: dict[type, Callable[[Any], bytes]] = {
            Start: self._start,
            TextDelta: self._text,
            ThinkingDelta: self._thinking,
            SignatureDelta: self._signature,
            ToolStart: self._tool_start,
            ToolDelta: self._tool_delta,
            PartEnd: self._part_end,
            CitationDelta: self._citation,
            RefusalDelta: self._refusal,
            OpaqueDelta: self._opaque,
            UsageEvent: self._take_usage,
            Finish: self._finish,
            StreamError: self._error,
        }

    @property
    def losses(self) -> list[Loss]:
        """What could not be expressed so far."""
        return self._losses.listed()

    def feed(self, events: Iterable[Event]) -> bytes:
        """Return the bytes of *events*."""
        writers = self._writers
        return b"".join([writers[type(event)](event) for event in events])

    def end(self) -> bytes:
        """Return the usage chunk, where asked for, and `[DONE]`."""
        if self.failed:
            return b""
        if not self._context.include_usage or self._usage is None:
            return DONE
        usage = encode_json(usage_object(self._usage))
        return self._head + b'"choices":[],"usage":' + usage + b"}\n\n" + DONE

    def _start(self, event: Start) -> bytes:
        head = {
            "id": answer_id(event.id, self._context),
            "object": "chat.completion.chunk",
            "created": event.created_s or self._context.created_s,
            "model": self._context.model,
        }
        self._head = b"data: " + encode_json(head)[:-1] + b","
        if event.usage is not None:
            self._usage = event.usage
        return self._open(0)

    def _open(self, index: int) -> bytes:
        """Write the first chunk of a choice, which names the role."""
        state = self._choices[index] = _ChoiceState(self._head, index)
        return state.head + b'{"role":"assistant","content":""}' + self._tail

    def _chunk(self, index: int, delta: Any) -> bytes:
        opening = b"" if index in self._choices else self._open(index)
        return opening + self._choices[index].head + encode_json(delta) + self._tail

    def _text(self, event: TextDelta) -> bytes:
        state = self._choices.get(event.choice)
        if state is None:
            return self._open(event.choice) + self._text(event)
        text = event.text
        state.text_length += len(text)
        if state.thought:
            state.thought = []
        if event.logprobs is None:
            return state.text_head + encode_json(text) + self._text_tail
        tail = self._text_tail.replace(b"null", event.logprobs, 1)
        return state.text_head + encode_json(text) + tail

    def _thinking(self, event: ThinkingDelta) -> bytes:
        chunk = self._chunk(event.choice, {"reasoning_content": event.text})
        self._choices[event.choice].thought.append(event.text)
        return chunk

    def _signature(self, event: SignatureDelta) -> bytes:
        """Write the whole reasoning part once more, with its proof, as it has to come back."""
        thought: list[str] = []
        index = 0
        if event.choice in self._choices:
            index = self._choices[event.choice].details
            if event.redacted is None:
                thought = self._choices[event.choice].thought
        part = Thinking("".join(thought), event.signature or None, event.redacted, event.origin)
        chunk = self._chunk(event.choice, {"reasoning_details": details_of_thinking([part], index)})
        state = self._choices[event.choice]
        state.thought, state.details = [], index + 1
        return chunk

    def _tool_start(self, event: ToolStart) -> bytes:
        if event.custom:
            call: dict[str, Any] = {
                "index": event.call,
                "id": event.id,
                "type": "custom",
                "custom": {"name": event.name, "input": ""},
            }
        else:
            call = {
                "index": event.call,
                "id": event.id,
                "type": "function",
                "function": {"name": event.name, "arguments": ""},
            }
        if event.signature:
            call["extra_content"] = google_content(event.signature)
        chunk = self._chunk(event.choice, {"tool_calls": [call]})
        state = self._choices[event.choice]
        state.thought = []
        if event.custom:
            state.custom_calls.add(event.call)
        return chunk

    def _tool_delta(self, event: ToolDelta) -> bytes:
        state = self._choices.get(event.choice)
        if state is not None and event.call in state.custom_calls:
            call: dict[str, Any] = {"index": event.call, "custom": {"input": event.arguments}}
        else:
            call = {"index": event.call, "function": {"arguments": event.arguments}}
        return self._chunk(event.choice, {"tool_calls": [call]})

    def _part_end(self, event: PartEnd) -> bytes:
        state = self._choices.get(event.choice)
        if state is not None:
            state.thought = []
        return b""

    def _citation(self, event: CitationDelta) -> bytes:
        state = self._choices.get(event.choice)
        annotation = annotation_of_citation(
            event.citation, 0 if state is None else state.text_length
        )
        if annotation is None:
            self._losses.drop("answer.citations")
            return b""
        if event.citation.dialect != NAME:
            self._losses.bend("answer.citations")
        return self._chunk(event.choice, {"annotations": [annotation]})

    def _refusal(self, event: RefusalDelta) -> bytes:
        return self._chunk(event.choice, {"refusal": event.text})

    def _opaque(self, event: OpaqueDelta) -> bytes:
        self._losses.drop("answer.part")
        return b""

    def _take_usage(self, event: UsageEvent) -> bytes:
        self._usage = event.usage
        return b""

    def _finish(self, event: Finish) -> bytes:
        note_finish(event.reason, event.stop_sequence, self._losses)
        opening = b"" if event.choice in self._choices else self._open(event.choice)
        reason = self.finish_reasons[event.reason].encode()
        tail = self._tail.replace(b'"finish_reason":null', b'"finish_reason":"%b"' % reason, 1)
        return opening + self._choices[event.choice].head + b"{}" + tail

    def _error(self, event: StreamError) -> bytes:
        self.failed = True
        return b"data: " + encode_json({"error": error_object(event.error)}) + b"\n\n"


def error_object(error: WireError) -> dict[str, Any]:
    """Write an error as SDKs read it."""
    return {
        "message": error.message,
        "type": error.kind,
        "param": error.param,
        "code": error.code or None,
    }
