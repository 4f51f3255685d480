"""Neutral events as a Responses stream for a caller.

Items are numbered in the order they begin; a call stays open until its arguments are whole, so
the pieces of several calls may mix. The last event, which holds the whole response and its
usage, is held back for `end`: everything is settled, and the response is kept, before it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal

import msgspec

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
from tidegate.dialects.responses.answer import (
    message_item,
    response_object,
    status_of,
)
from tidegate.dialects.responses.errors import failed_events
from tidegate.dialects.responses.events import CallWriter, EventWriter, ThinkingWriter, piece_head
from tidegate.dialects.responses.parts import (
    NAME,
    annotation_of_citation,
    logprob_items,
    reasoning_item,
    sealed_thinking,
)
from tidegate.dialects.usage import Usage
from tidegate.dialects.wire import AnswerContext

#: Takes a whole response, as JSON, before its caller has the end of it.
Keep = Callable[[bytes], None]


class ResponsesStreamEncoder:
    """Writes one stream; see `wire.StreamEncoder`.

    Args:
        context: What the upstream may not have told.
        echo: What the response says again of its request.
        keep: Takes the whole response before its last event is handed out.
    """

    __slots__ = (
        "_calls",
        "_content",
        "_context",
        "_created_s",
        "_echo",
        "_finish",
        "_head",
        "_index",
        "_item_id",
        "_keep",
        "_kind",
        "_logprobs",
        "_losses",
        "_pieces",
        "_refused",
        "_thinking",
        "_usage",
        "_writer",
        "_writers",
        "failed",
    )

    def __init__(
        self, context: AnswerContext, echo: Mapping[str, Any], keep: Keep | None = None
    ) -> None:
        self._context = context
        self._echo = echo
        self._keep = keep
        self._losses = Losses()
        self._writer = EventWriter(context)
        self._calls = CallWriter(self._writer)
        self._thinking = ThinkingWriter(self._writer)
        self._created_s = 0
        self._usage: Usage | None = None
        self._finish: Finish | None = None
        #: The open item that is no call: what its part at hand is, its id, its parts so far.
        self._kind: Literal["", "text", "refusal", "message", "thinking"] = ""
        self._index = 0
        self._item_id = ""
        self._content: list[dict[str, Any]] = []
        self._pieces: list[str] = []
        self._logprobs: list[msgspec.Raw] = []
        self._head = b""
        self._refused = False
        self.failed = False
        self._writers: dict[type, Callable[[Any], bytes]] = {
            Start: self._start,
            TextDelta: self._text,
            ThinkingDelta: self._thinking_piece,
            SignatureDelta: self._signature,
            ToolStart: self._tool_start,
            ToolDelta: self._tool_delta,
            PartEnd: self._part_end,
            CitationDelta: self._citation,
            RefusalDelta: self._refusal,
            OpaqueDelta: self._opaque,
            UsageEvent: self._take_usage,
            Finish: self._take_finish,
            StreamError: self._error,
        }

    @property
    def losses(self) -> list[Loss]:
        """What could not be expressed so far."""
        return self._losses.listed()

    def feed(self, events: Iterable[Event]) -> bytes:
        """Return the bytes of *events*; only the first alternative is written."""
        writers = self._writers
        return b"".join([writers[type(event)](event) for event in events])

    def end(self) -> bytes:
        """Return what was still open, and the event that holds the whole response."""
        if self.failed:
            return b""
        finish = self._finish or Finish("stop")
        status, reason = status_of(finish, self._refused, self._losses)
        closed = self._close_all("completed" if reason is None else "incomplete")
        raw = encode_json(self._response(status, reason))
        if self._keep is not None:
            self._keep(raw)
        return closed + self._writer.event(f"response.{status}", {"response": msgspec.Raw(raw)})

    # --- events -----------------------------------------------------------------------------

    def _response(self, status: str, reason: str | None = None) -> dict[str, Any]:
        return response_object(
            self._context,
            self._echo,
            created_s=self._created_s,
            status=status,
            reason=reason,
            output=[item for item in self._writer.output if item is not None],
            usage=self._usage if status in ("completed", "incomplete") else None,
        )

    def _start(self, event: Start) -> bytes:
        self._created_s = event.created_s
        self._usage = event.usage
        response = self._response("in_progress")
        return self._writer.event("response.created", {"response": response}) + self._writer.event(
            "response.in_progress", {"response": response}
        )

    # --- items ------------------------------------------------------------------------------

    def _place(self) -> dict[str, Any]:
        return {"item_id": self._item_id, "output_index": self._index}

    def _open_message(self) -> bytes:
        """Begin a message, if none is open."""
        if self._kind in ("text", "refusal", "message"):
            return self._close_part()
        ended = self._close()
        self._index, self._item_id = self._writer.next("msg")
        self._kind = "message"
        self._content = []
        return ended + self._writer.add_item(
            self._index, message_item(self._item_id, [], "in_progress")
        )

    def _open_part(self, kind: Literal["text", "refusal"]) -> bytes:
        """Begin a part of a message."""
        opened = self._open_message()
        place = {**self._place(), "content_index": len(self._content)}
        self._kind = kind
        self._pieces = []
        self._logprobs = []
        if kind == "text":
            part: dict[str, Any] = _text_part("", [], [])
            self._head = piece_head("response.output_text.delta", place)
        else:
            part = {"type": "refusal", "refusal": ""}
            self._head = piece_head("response.refusal.delta", place)
        self._content.append(part)
        return opened + self._writer.event("response.content_part.added", {**place, "part": part})

    def _close_part(self) -> bytes:
        """End the part at hand; its message stays open."""
        if self._kind not in ("text", "refusal"):
            return b""
        place = {**self._place(), "content_index": len(self._content) - 1}
        text = "".join(self._pieces)
        part = self._content[-1]
        if self._kind == "text":
            part["text"], part["logprobs"] = text, self._logprobs
            done = self._writer.event(
                "response.output_text.done", {**place, "text": text, "logprobs": self._logprobs}
            )
        else:
            part["refusal"] = text
            done = self._writer.event("response.refusal.done", {**place, "refusal": text})
        self._kind = "message"
        return done + self._writer.event("response.content_part.done", {**place, "part": part})

    def _close(self, status: str = "completed", proof: str | None = None) -> bytes:
        """End the open item that is no call."""
        if not self._kind:
            return b""
        if self._kind == "thinking":
            self._kind = ""
            return self._thinking.end(proof)
        ended = self._close_part()
        self._kind = ""
        return ended + self._writer.end_item(
            self._index, message_item(self._item_id, self._content, status)
        )

    def _close_all(self, status: str) -> bytes:
        return self._close(status) + self._calls.end_all(status)

    # --- text -------------------------------------------------------------------------------

    def _text(self, event: TextDelta) -> bytes:
        if event.choice:
            return self._drop_choice()
        opened = b"" if self._kind == "text" else self._open_part("text")
        self._pieces.append(event.text)
        if event.logprobs is None:
            return opened + self._writer.piece(self._head, event.text, b',"logprobs":[]')
        found = logprob_items(event.logprobs)
        self._logprobs.extend(found)
        return opened + self._writer.piece(
            self._head, event.text, b',"logprobs":' + encode_json(found)
        )

    def _citation(self, event: CitationDelta) -> bytes:
        if event.choice:
            return self._drop_choice()
        length = sum([len(piece) for piece in self._pieces]) if self._kind == "text" else 0
        annotation = annotation_of_citation(event.citation, length)
        if annotation is None:
            self._losses.drop("answer.citations")
            return b""
        if event.citation.dialect != NAME:
            self._losses.bend("answer.citations")
        opened = b"" if self._kind == "text" else self._open_part("text")
        annotations = self._content[-1]["annotations"]
        annotations.append(annotation)
        return opened + self._writer.event(
            "response.output_text.annotation.added",
            {
                **self._place(),
                "content_index": len(self._content) - 1,
                "annotation_index": len(annotations) - 1,
                "annotation": annotation,
            },
        )

    def _refusal(self, event: RefusalDelta) -> bytes:
        if event.choice:
            return self._drop_choice()
        self._refused = True
        opened = b"" if self._kind == "refusal" else self._open_part("refusal")
        self._pieces.append(event.text)
        return opened + self._writer.piece(self._head, event.text)

    # --- thinking ---------------------------------------------------------------------------

    def _thinking_piece(self, event: ThinkingDelta) -> bytes:
        if event.choice:
            return self._drop_choice()
        if self._kind == "thinking":
            return self._thinking.piece(event.text)
        ended = self._close()
        self._kind = "thinking"
        return ended + self._thinking.begin() + self._thinking.piece(event.text)

    def _signature(self, event: SignatureDelta) -> bytes:
        """Take the proof of the thinking at hand, or reasoning that cannot be read."""
        if event.choice:
            return self._drop_choice()
        proof = sealed_thinking(Thinking("", event.signature or None, event.redacted, event.origin))
        if self._kind == "thinking" and event.redacted is None:
            return self._close("completed", proof)
        ended = self._close()
        if proof is None:
            return ended
        index, identifier = self._writer.next("rs")
        return ended + self._writer.whole_item(index, reasoning_item(identifier, "", proof))

    # --- calls ------------------------------------------------------------------------------

    def _tool_start(self, event: ToolStart) -> bytes:
        if event.choice:
            return self._drop_choice()
        return self._close() + self._calls.start(event)

    def _tool_delta(self, event: ToolDelta) -> bytes:
        return self._drop_choice() if event.choice else self._calls.delta(event)

    # --- the rest ---------------------------------------------------------------------------

    def _part_end(self, event: PartEnd) -> bytes:
        if event.choice:
            return b""
        ended = self._close() if self._kind == "thinking" else self._close_part()
        return ended or self._calls.end_last()

    def _opaque(self, event: OpaqueDelta) -> bytes:
        if event.part.dialect != NAME:
            self._losses.drop("answer.part")
            return b""
        ended = self._close()
        index, _ = self._writer.next("")
        return ended + self._writer.whole_item(index, msgspec.Raw(event.part.raw))

    def _drop_choice(self) -> bytes:
        self._losses.drop("answer.choices")
        return b""

    def _take_usage(self, event: UsageEvent) -> bytes:
        self._usage = event.usage
        return b""

    def _take_finish(self, event: Finish) -> bytes:
        """Take the reason; what is open ends now, the response once it is settled."""
        if event.choice:
            return self._drop_choice()
        self._finish = event
        cut = event.reason in ("length", "context")
        return self._close_all("incomplete" if cut else "completed")

    def _error(self, event: StreamError) -> bytes:
        return self.fail(event.error)

    def fail(self, error: WireError) -> bytes:
        """Return the end of a stream that failed; nothing may follow it."""
        self.failed = True
        return failed_events(error, self._writer.sequence, self._response("failed"))


def _text_part(text: str, annotations: list[Any], logprobs: list[Any]) -> dict[str, Any]:
    return {
        "type": "output_text",
        "text": text,
        "annotations": annotations,
        "logprobs": logprobs,
    }
