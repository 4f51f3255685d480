"""What all events of a Responses stream share: their numbers, and the items they build."""

from __future__ import annotations

from typing import Any

from tidegate.dialects.encode import encode_json, json_object
from tidegate.dialects.neutral import ToolDelta, ToolStart
from tidegate.dialects.responses.answer import call_item, item_id, state_item
from tidegate.dialects.responses.parts import reasoning_item
from tidegate.dialects.wire import AnswerContext


class EventWriter:
    """Numbers the events of one stream, and its items.

    Attributes:
        sequence: Number of the next event.
        output: Items by number; None for one that is open.
    """

    __slots__ = ("_context", "output", "sequence")

    def __init__(self, context: AnswerContext) -> None:
        self._context = context
        self.sequence = 0
        self.output: list[Any] = []

    def event(self, kind: str, fields: dict[str, Any]) -> bytes:
        """Return one event."""
        body = encode_json({"type": kind, "sequence_number": self.sequence, **fields})
        self.sequence += 1
        return b"event: %b\ndata: %b\n\n" % (kind.encode(), body)

    def piece(self, head: bytes, text: str, tail: bytes = b"") -> bytes:
        """Return one event with a piece of text; *head* is from `piece_head`."""
        number = self.sequence
        self.sequence = number + 1
        return b'%b%b%b,"sequence_number":%d}\n\n' % (head, encode_json(text), tail, number)

    def next(self, prefix: str) -> tuple[int, str]:
        """Number a new item: `(output_index, id)`."""
        index = len(self.output)
        self.output.append(None)
        return index, item_id(prefix, self._context, index)

    def add_item(self, index: int, item: Any) -> bytes:
        """Begin an item."""
        return self.event("response.output_item.added", {"output_index": index, "item": item})

    def end_item(self, index: int, item: Any) -> bytes:
        """End an item, which is whole now."""
        self.output[index] = item
        return self.event("response.output_item.done", {"output_index": index, "item": item})

    def whole_item(self, index: int, item: Any) -> bytes:
        """Begin and end an item that has no pieces."""
        return self.add_item(index, item) + self.end_item(index, item)


def piece_head(kind: str, place: dict[str, Any]) -> bytes:
    """Return an event up to its piece of text, which many of the same kind share."""
    name = kind.encode()
    return b'event: %b\ndata: {"type":"%b",%b,"delta":' % (name, name, encode_json(place)[1:-1])


class _Call:
    """A call whose item is open."""

    __slots__ = ("head", "index", "item_id", "pieces", "start")

    def __init__(self, start: ToolStart, index: int, identifier: str, head: bytes) -> None:
        self.start = start
        self.index = index
        self.item_id = identifier
        self.head = head
        self.pieces: list[str] = []


class CallWriter:
    """Writes the calls of one stream; several may be open, and their pieces mix."""

    __slots__ = ("_last", "_open", "_writer")

    def __init__(self, writer: EventWriter) -> None:
        self._writer = writer
        self._open: dict[int, _Call] = {}
        self._last = -1

    def start(self, event: ToolStart) -> bytes:
        """Begin a call; the one before it ends, if no more of it can come."""
        writer = self._writer
        out = self._end_whole()
        if event.signature:
            index, identifier = writer.next("rs")
            out += writer.whole_item(index, state_item(identifier, event.id, event.signature))
        index, identifier = writer.next("ctc" if event.custom else "fc")
        step = "custom_tool_call_input" if event.custom else "function_call_arguments"
        place = {"item_id": identifier, "output_index": index}
        head = piece_head(f"response.{step}.delta", place)
        self._open[event.call] = _Call(event, index, identifier, head)
        self._last = event.call
        item = call_item(identifier, event.id, event.name, "", event.custom, "in_progress")
        return out + writer.add_item(index, item)

    def delta(self, event: ToolDelta) -> bytes:
        """Write a piece of a call's arguments."""
        call = self._open.get(event.call)
        if call is None:
            return b""  # its item was ended: what it held was whole
        call.pieces.append(event.arguments)
        return self._writer.piece(call.head, event.arguments)

    def end_last(self) -> bytes:
        """End the call that began last, if it is open."""
        return self._end(self._last, "completed") if self._last in self._open else b""

    def end_all(self, status: str) -> bytes:
        """End all that are open, whole or not: no more will come."""
        return b"".join([self._end(number, status) for number in list(self._open)])

    def _end_whole(self) -> bytes:
        call = self._open.get(self._last)
        if call is None or call.start.custom or not call.pieces:
            return b""
        if json_object("".join(call.pieces)) is None:
            return b""
        return self._end(self._last, "completed")

    def _end(self, number: int, status: str) -> bytes:
        call = self._open.pop(number)
        start = call.start
        arguments = "".join(call.pieces)
        place = {"item_id": call.item_id, "output_index": call.index}
        if start.custom:
            kind, field = "response.custom_tool_call_input.done", "input"
        else:
            kind, field = "response.function_call_arguments.done", "arguments"
            arguments = arguments or "{}"
        item = call_item(call.item_id, start.id, start.name, arguments, start.custom, status)
        return self._writer.event(kind, {**place, field: arguments}) + self._writer.end_item(
            call.index, item
        )


class ThinkingWriter:
    """Writes readable thinking as the summary of a reasoning item, one item at a time."""

    __slots__ = ("_head", "_index", "_item_id", "_pieces", "_writer")

    def __init__(self, writer: EventWriter) -> None:
        self._writer = writer
        self._index = 0
        self._item_id = ""
        self._pieces: list[str] = []
        self._head = b""

    def begin(self) -> bytes:
        """Begin an item."""
        writer = self._writer
        self._index, self._item_id = writer.next("rs")
        self._pieces = []
        place = self._place()
        self._head = piece_head("response.reasoning_summary_text.delta", place)
        part = {"type": "summary_text", "text": ""}
        item = reasoning_item(self._item_id, "", None, "in_progress")
        return writer.add_item(self._index, item) + writer.event(
            "response.reasoning_summary_part.added", {**place, "part": part}
        )

    def piece(self, text: str) -> bytes:
        """Write a piece of it."""
        self._pieces.append(text)
        return self._writer.piece(self._head, text)

    def end(self, proof: str | None) -> bytes:
        """End the item; *proof* is what its provider wants to see again."""
        writer, place = self._writer, self._place()
        text = "".join(self._pieces)
        part = {"type": "summary_text", "text": text}
        return (
            writer.event("response.reasoning_summary_text.done", {**place, "text": text})
            + writer.event("response.reasoning_summary_part.done", {**place, "part": part})
            + writer.end_item(self._index, reasoning_item(self._item_id, text, proof, "completed"))
        )

    def _place(self) -> dict[str, Any]:
        return {"item_id": self._item_id, "output_index": self._index, "summary_index": 0}
