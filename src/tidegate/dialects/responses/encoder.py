"""Neutral events as a Responses stream for a caller.

Items are numbered in the order they begin; a call stays open until its arguments are whole, so
the pieces of several calls may mix. The last event, which holds the whole response and its
usage, is held back for `end`: everything is settled, and the response is kept, before it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal

import msgspec

from tidegate.dialects.encode import encode_json, json_object
from tidegate.dialects.fidelity import Loss, Losses
from tidegate.dialects.neutral import (
    CitationDelta,
    Event,
    Finish,
    OpaqueDelta,
    PartEnd,
    Refusal,
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
    call_item,
    item_id,
    message_item,
    response_object,
    state_item,
    status_of,
)
from tidegate.dialects.responses.errors import failed_events
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


class _Call:
    """A call whose item is open."""

    __slots__ = ("head", "index", "item_id", "pieces", "start")

    def __init__(self, start: ToolStart, index: int, identifier: str, head: bytes) -> None:
        self.start = start
        self.index = index
        self.item_id = identifier
        self.head = head
        self.pieces: list[str] = []


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
        "_open_call",
        "_output",
        "_pieces",
        "_refused",
        "_sequence",
        "_usage",
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
        self._sequence = 0
        self._created_s = 0
        self._usage: Usage | None = None
        self._finish: Finish | None = None
        #: Items by number; None for one that is open.
        self._output: list[Any] = []
        #: The open item that is no call: what its part at hand is, its id, its parts so far.
        self._kind: Literal["", "text", "refusal", "message", "thinking"] = ""
        self._index = 0
        self._item_id = ""
        self._content: list[dict[str, Any]] = []
        self._pieces: list[str] = []
        self._logprobs: list[msgspec.Raw] = []
        self._head = b""
        self._calls: dict[int, _Call] = {}
        self._open_call = -1
        self._refused = False
        self.failed = False
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
        refusal = [Refusal("")] if self._refused else []
        status, reason = status_of(finish.reason, finish.stop_sequence, [*refusal], self._losses)
        closed = self._close_all("completed" if reason is None else "incomplete")
        response = self._response(status, reason)
        raw = encode_json(response)
        if self._keep is not None:
            self._keep(raw)
        return closed + self._event(f"response.{status}", {"response": msgspec.Raw(raw)})

    # --- events -----------------------------------------------------------------------------

    def _event(self, kind: str, fields: dict[str, Any]) -> bytes:
        body = encode_json({"type": kind, "sequence_number": self._sequence, **fields})
        self._sequence += 1
        return b"event: %b\ndata: %b\n\n" % (kind.encode(), body)

    def _response(self, status: str, reason: str | None = None) -> dict[str, Any]:
        return response_object(
            self._context,
            self._echo,
            created_s=self._created_s,
            status=status,
            reason=reason,
            output=[item for item in self._output if item is not None],
            usage=self._usage if status in ("completed", "incomplete") else None,
        )

    def _start(self, event: Start) -> bytes:
        self._created_s = event.created_s
        self._usage = event.usage
        response = self._response("in_progress")
        return self._event("response.created", {"response": response}) + self._event(
            "response.in_progress", {"response": response}
        )

    # --- items ------------------------------------------------------------------------------

    def _place(self) -> dict[str, Any]:
        return {"item_id": self._item_id, "output_index": self._index}

    def _add_item(self, index: int, item: Any) -> bytes:
        return self._event("response.output_item.added", {"output_index": index, "item": item})

    def _end_item(self, index: int, item: Any) -> bytes:
        self._output[index] = item
        return self._event("response.output_item.done", {"output_index": index, "item": item})

    def _next(self, prefix: str) -> tuple[int, str]:
        """Number a new item."""
        index = len(self._output)
        self._output.append(None)
        return index, item_id(prefix, self._context, index)

    def _piece_head(self, kind: str, place: dict[str, Any], field: str) -> bytes:
        """Return an event up to its piece of text; the number stands before, the end behind."""
        fixed = encode_json(place)[1:-1]
        return b'event: %b\ndata: {"type":"%b",%b,"%b":' % (
            kind.encode(),
            kind.encode(),
            fixed,
            field.encode(),
        )

    def _piece(self, head: bytes, text: str, tail: bytes = b"") -> bytes:
        number = self._sequence
        self._sequence = number + 1
        return b'%b%b%b,"sequence_number":%d}\n\n' % (head, encode_json(text), tail, number)

    def _open_message(self) -> bytes:
        """Begin a message, if none is open."""
        if self._kind in ("text", "refusal", "message"):
            return self._close_part()
        ended = self._close()
        self._index, self._item_id = self._next("msg")
        self._kind = "message"
        self._content = []
        return ended + self._add_item(self._index, message_item(self._item_id, [], "in_progress"))

    def _open_part(self, kind: Literal["text", "refusal"]) -> bytes:
        """Begin a part of a message."""
        opened = self._open_message()
        place = {**self._place(), "content_index": len(self._content)}
        self._kind = kind
        self._pieces = []
        self._logprobs = []
        if kind == "text":
            part: dict[str, Any] = _text_part("", [], [])
            self._head = self._piece_head("response.output_text.delta", place, "delta")
        else:
            part = {"type": "refusal", "refusal": ""}
            self._head = self._piece_head("response.refusal.delta", place, "delta")
        self._content.append(part)
        return opened + self._event("response.content_part.added", {**place, "part": part})

    def _close_part(self) -> bytes:
        """End the part at hand; its message stays open."""
        if self._kind not in ("text", "refusal"):
            return b""
        place = {**self._place(), "content_index": len(self._content) - 1}
        text = "".join(self._pieces)
        part = self._content[-1]
        if self._kind == "text":
            part["text"], part["logprobs"] = text, self._logprobs
            done = self._event(
                "response.output_text.done", {**place, "text": text, "logprobs": self._logprobs}
            )
        else:
            part["refusal"] = text
            done = self._event("response.refusal.done", {**place, "refusal": text})
        self._kind = "message"
        return done + self._event("response.content_part.done", {**place, "part": part})

    def _close(self, status: str = "completed", proof: str | None = None) -> bytes:
        """End the open item that is no call."""
        if not self._kind:
            return b""
        if self._kind == "thinking":
            self._kind = ""
            return self._end_thinking(proof)
        ended = self._close_part()
        self._kind = ""
        return ended + self._end_item(
            self._index, message_item(self._item_id, self._content, status)
        )

    def _close_all(self, status: str) -> bytes:
        return self._close(status) + b"".join(
            [self._end_call(number, status) for number in list(self._calls)]
        )

    # --- text -------------------------------------------------------------------------------

    def _text(self, event: TextDelta) -> bytes:
        if event.choice:
            return self._drop_choice()
        opened = b"" if self._kind == "text" else self._open_text()
        self._pieces.append(event.text)
        if event.logprobs is None:
            return opened + self._piece(self._head, event.text, b',"logprobs":[]')
        found = logprob_items(event.logprobs)
        self._logprobs.extend(found)
        return opened + self._piece(self._head, event.text, b',"logprobs":' + encode_json(found))

    def _open_text(self) -> bytes:
        return self._open_part("text")

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
        opened = b"" if self._kind == "text" else self._open_text()
        annotations = self._content[-1]["annotations"]
        annotations.append(annotation)
        return opened + self._event(
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
        return opened + self._piece(self._head, event.text)

    # --- thinking ---------------------------------------------------------------------------

    def _thinking(self, event: ThinkingDelta) -> bytes:
        if event.choice:
            return self._drop_choice()
        opened = b"" if self._kind == "thinking" else self._open_thinking()
        self._pieces.append(event.text)
        return opened + self._piece(self._head, event.text)

    def _open_thinking(self) -> bytes:
        ended = self._close()
        self._index, self._item_id = self._next("rs")
        self._kind = "thinking"
        self._pieces = []
        place = {**self._place(), "summary_index": 0}
        self._head = self._piece_head("response.reasoning_summary_text.delta", place, "delta")
        part = {"type": "summary_text", "text": ""}
        return (
            ended
            + self._add_item(self._index, reasoning_item(self._item_id, "", None, "in_progress"))
            + self._event("response.reasoning_summary_part.added", {**place, "part": part})
        )

    def _end_thinking(self, proof: str | None) -> bytes:
        place = {**self._place(), "summary_index": 0}
        text = "".join(self._pieces)
        part = {"type": "summary_text", "text": text}
        return (
            self._event("response.reasoning_summary_text.done", {**place, "text": text})
            + self._event("response.reasoning_summary_part.done", {**place, "part": part})
            + self._end_item(self._index, reasoning_item(self._item_id, text, proof, "completed"))
        )

    def _signature(self, event: SignatureDelta) -> bytes:
        """Take the proof of the thinking at hand, or reasoning that cannot be read."""
        if event.choice:
            return self._drop_choice()
        part = Thinking("", event.signature or None, event.redacted, event.origin)
        proof = sealed_thinking(part)
        if self._kind == "thinking" and event.redacted is None:
            return self._close("completed", proof)
        ended = self._close()
        if proof is None:
            return ended
        index, identifier = self._next("rs")
        return ended + self._whole_item(index, reasoning_item(identifier, "", proof))

    def _whole_item(self, index: int, item: Any) -> bytes:
        return self._add_item(index, item) + self._end_item(index, item)

    # --- calls ------------------------------------------------------------------------------

    def _tool_start(self, event: ToolStart) -> bytes:
        if event.choice:
            return self._drop_choice()
        out = self._close() + self._close_whole_call()
        if event.signature:
            index, identifier = self._next("rs")
            out += self._whole_item(index, state_item(identifier, event.id, event.signature))
        index, identifier = self._next("ctc" if event.custom else "fc")
        place = {"item_id": identifier, "output_index": index}
        step = "custom_tool_call_input" if event.custom else "function_call_arguments"
        head = self._piece_head(f"response.{step}.delta", place, "delta")
        self._calls[event.call] = _Call(event, index, identifier, head)
        self._open_call = event.call
        item = call_item(identifier, event.id, event.name, "", event.custom, "in_progress")
        return out + self._add_item(index, item)

    def _tool_delta(self, event: ToolDelta) -> bytes:
        if event.choice:
            return self._drop_choice()
        call = self._calls.get(event.call)
        if call is None:
            return b""  # its item was ended: what it held was whole
        call.pieces.append(event.arguments)
        return self._piece(call.head, event.arguments)

    def _close_whole_call(self) -> bytes:
        """End the call before the one that begins, if no more of it can come."""
        call = self._calls.get(self._open_call)
        if call is None or call.start.custom or not call.pieces:
            return b""
        if json_object("".join(call.pieces)) is None:
            return b""
        return self._end_call(self._open_call, "completed")

    def _end_call(self, number: int, status: str) -> bytes:
        call = self._calls.pop(number)
        start = call.start
        arguments = "".join(call.pieces)
        place = {"item_id": call.item_id, "output_index": call.index}
        if start.custom:
            done = self._event(
                "response.custom_tool_call_input.done", {**place, "input": arguments}
            )
        else:
            arguments = arguments or "{}"
            done = self._event(
                "response.function_call_arguments.done",
                {**place, "arguments": arguments},
            )
        item = call_item(call.item_id, start.id, start.name, arguments, start.custom, status)
        return done + self._end_item(call.index, item)

    # --- the rest ---------------------------------------------------------------------------

    def _part_end(self, event: PartEnd) -> bytes:
        if event.choice:
            return b""
        if self._kind in ("text", "refusal"):
            return self._close_part()
        if self._kind == "thinking":
            return self._close()
        if self._open_call in self._calls:
            return self._end_call(self._open_call, "completed")
        return b""

    def _opaque(self, event: OpaqueDelta) -> bytes:
        if event.part.dialect != NAME:
            self._losses.drop("answer.part")
            return b""
        ended = self._close()
        index = len(self._output)
        self._output.append(None)
        return ended + self._whole_item(index, msgspec.Raw(event.part.raw))

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
        return failed_events(error, self._sequence, self._response("failed"))


def _text_part(text: str, annotations: list[Any], logprobs: list[Any]) -> dict[str, Any]:
    return {
        "type": "output_text",
        "text": text,
        "annotations": annotations,
        "logprobs": logprobs,
    }
