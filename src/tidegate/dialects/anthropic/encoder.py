"""Neutral events as a Messages stream for a caller.

Blocks come one after the other here, each begun and ended, while other dialects say neither
and may mix the pieces of several calls. A call whose arguments are not whole yet stays open,
and what belongs to later ones waits. The stop reason is held back for `end`: usage belongs
into the same event, and everything is settled before it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Literal

import msgspec

from tidegate.dialects.anthropic.answer import (
    answer_id,
    sealed_block,
    signature_of,
    write_citations,
)
from tidegate.dialects.anthropic.errors import wire_error_event
from tidegate.dialects.anthropic.parts import FINISH_WRITE, KIN, NAME
from tidegate.dialects.anthropic.usage import usage_object
from tidegate.dialects.arguments import ArgumentPieces
from tidegate.dialects.encode import encode_json, json_object
from tidegate.dialects.envelope import envelope_of_call, envelope_of_thinking
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
from tidegate.dialects.usage import Usage
from tidegate.dialects.wire import AnswerContext

_STOP = b'event: message_stop\ndata: {"type":"message_stop"}\n\n'


class _Call(ArgumentPieces):
    """A call that has begun and has its block."""

    __slots__ = ("custom",)

    def __init__(self, start: ToolStart) -> None:
        super().__init__()
        self.custom = start.custom


class MessagesStreamEncoder:
    """Writes one stream; see `wire.StreamEncoder`."""

    __slots__ = (
        "_bad_arguments",
        "_calls",
        "_context",
        "_finish",
        "_index",
        "_kind",
        "_losses",
        "_open_call",
        "_text_head",
        "_unsigned",
        "_usage",
        "_waiting",
        "_writers",
        "failed",
    )

    def __init__(self, context: AnswerContext) -> None:
        self._context = context
        self._losses = Losses()
        self._usage: Usage | None = None
        self._finish: Finish | None = None
        self._index = -1
        #: What the open block is.
        self._kind: Literal["", "text", "thinking", "tool"] = ""
        self._text_head = b""
        #: The open block is thinking whose proof did not come yet.
        self._unsigned = False
        self._calls: dict[int, _Call] = {}
        self._open_call = -1
        self._waiting: list[Event] = []
        self._bad_arguments = False
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
        """Return the stop reason, the usage and the stop; an error for arguments that are none.

        A caller would run the tool with other arguments than the model meant; after a stop for
        length it knows better.
        """
        if self.failed:
            return b""
        finish = self._finish or Finish("stop")
        out = self._flush()
        if self._bad_arguments:
            if finish.reason != "length":
                error = WireError(
                    502,
                    "The model called a tool with arguments that are no JSON object.",
                    "api_error",
                    "upstream_error",
                )
                return out + self._error(StreamError(error))
            self._losses.bend("answer.tool_arguments")
        if finish.reason == "other":
            self._losses.bend("answer.finish_reason")
        return out + _message_end(finish, self._usage or Usage())

    # --- blocks -----------------------------------------------------------------------------

    def _start(self, event: Start) -> bytes:
        self._usage = event.usage
        return _message_start(event, self._context)

    def _open(self, kind: Literal["text", "thinking", "tool"], block: Any) -> bytes:
        """End the open block and begin one of *kind*."""
        ended = self._close()
        self._index += 1
        self._kind = kind
        field = {
            "text": b'"text_delta","text":',
            "thinking": b'"thinking_delta","thinking":',
            "tool": b'"input_json_delta","partial_json":',
        }[kind]
        self._text_head = (
            b'event: content_block_delta\ndata: {"type":"content_block_delta","index":%d,'
            b'"delta":{"type":%b' % (self._index, field)
        )
        start = {"type": "content_block_start", "index": self._index, "content_block": block}
        return ended + b"event: content_block_start\ndata: " + encode_json(start) + b"\n\n"

    def _close(self) -> bytes:
        """End the open block; a call's arguments are looked at then."""
        if not self._kind:
            return b""
        if self._kind == "tool":
            call = self._calls[self._open_call]
            if not call.custom and json_object(call.text()) is None:
                self._bad_arguments = True
            self._open_call = -1
        proof = b""
        if self._unsigned:
            self._unsigned = False
            proof = self._proof(Thinking("", origin=self._context.origin))
        self._kind = ""
        return proof + (
            b'event: content_block_stop\ndata: {"type":"content_block_stop","index":%d}\n\n'
            % self._index
        )

    def _piece(self, text: str) -> bytes:
        return self._text_head + encode_json(text) + b"}}\n\n"

    def _delta(self, delta: Any) -> bytes:
        body = {"type": "content_block_delta", "index": self._index, "delta": delta}
        return b"event: content_block_delta\ndata: " + encode_json(body) + b"\n\n"

    def _text(self, event: TextDelta) -> bytes:
        if event.choice:
            return self._drop_choice()
        if event.logprobs is not None:
            self._losses.drop("answer.logprobs")
        if self._kind == "text":
            return self._piece(event.text)
        if self._must_wait(event):
            return b""
        opened = self._open("text", {"type": "text", "text": ""})
        return opened + self._piece(event.text)

    def _thinking(self, event: ThinkingDelta) -> bytes:
        if event.choice:
            return self._drop_choice()
        if self._kind == "thinking":
            return self._piece(event.text)
        if self._must_wait(event):
            return b""
        return self._open_thinking() + self._piece(event.text)

    def _open_thinking(self) -> bytes:
        opened = self._open("thinking", {"type": "thinking", "thinking": "", "signature": ""})
        self._unsigned = True
        return opened

    def _proof(self, part: Thinking) -> bytes:
        return self._delta({"type": "signature_delta", "signature": signature_of(part)})

    def _whole_block(self, block: Any) -> bytes:
        return self._open("thinking", block) + self._close()

    def _signature(self, event: SignatureDelta) -> bytes:
        if event.choice:
            return self._drop_choice()
        if self._kind != "thinking" and self._must_wait(event):
            return b""
        part = Thinking("", event.signature, event.redacted, event.origin)
        if event.redacted is not None and event.origin in KIN:
            return self._whole_block({"type": "redacted_thinking", "data": event.redacted})
        if event.redacted is not None or (self._kind != "thinking" and event.origin not in KIN):
            return self._whole_block(sealed_block(envelope_of_thinking(part)))
        opened = b"" if self._kind == "thinking" else self._open_thinking()
        self._unsigned = False
        return opened + self._proof(part) + self._close()

    def _citation(self, event: CitationDelta) -> bytes:
        if event.choice:
            return self._drop_choice()
        written = write_citations([event.citation], self._losses)
        if not written:
            return b""
        if self._kind != "text" and self._must_wait(event):
            return b""
        opened = b"" if self._kind == "text" else self._open("text", {"type": "text", "text": ""})
        return opened + self._delta({"type": "citations_delta", "citation": written[0]})

    def _refusal(self, event: RefusalDelta) -> bytes:
        return self._text(TextDelta(event.text, event.choice))

    def _opaque(self, event: OpaqueDelta) -> bytes:
        if event.part.dialect != NAME:
            self._losses.drop("answer.part")
            return b""
        if self._must_wait(event):
            return b""
        return self._whole_block(msgspec.Raw(event.part.raw))

    def _drop_choice(self) -> bytes:
        self._losses.drop("answer.choices")
        return b""

    # --- calls ------------------------------------------------------------------------------

    def _must_wait(self, event: Event) -> bool:
        """Whether an open call is not whole yet: its block cannot be ended for another's sake."""
        if self._waiting or (self._kind == "tool" and not self._calls[self._open_call].is_whole()):
            self._waiting.append(event)
            return True
        return False

    def _tool_start(self, event: ToolStart) -> bytes:
        if event.choice:
            return self._drop_choice()
        if self._must_wait(event):
            return b""
        return self._open_tool(event)

    def _open_tool(self, event: ToolStart) -> bytes:
        state = b""
        if event.signature:
            state = self._whole_block(sealed_block(envelope_of_call(event.id, event.signature)))
        opened = state + self._open(
            "tool", {"type": "tool_use", "id": event.id, "name": event.name, "input": {}}
        )
        self._calls[event.call] = _Call(event)
        self._open_call = event.call
        return opened

    def _tool_delta(self, event: ToolDelta) -> bytes:
        if event.choice:
            return self._drop_choice()
        if event.call == self._open_call:
            self._calls[event.call].add(event.arguments)
            piece = self._piece(event.arguments)
            # A later call may be waiting for just this piece.
            if self._waiting and self._calls[event.call].is_whole():
                return piece + self._go_on()
            return piece
        if event.call not in self._calls:
            self._waiting.append(event)  # as its start does
        elif event.arguments.strip():
            self._bad_arguments = True  # its block was ended: what it held was whole
        return b""

    def _part_end(self, event: PartEnd) -> bytes:
        if event.choice:
            return b""
        ended = self._close()
        return ended + self._go_on() if self._waiting else ended

    def _go_on(self) -> bytes:
        """Write what waited: the pieces of the call that is begun next come right behind it."""
        out = []
        while self._waiting:
            waiting, self._waiting = self._waiting, []
            first = waiting[0]
            rest = waiting[1:]
            if isinstance(first, ToolStart):
                out.append(self._open_tool(first))
                own = [e for e in rest if isinstance(e, ToolDelta) and e.call == first.call]
                out.extend([self._tool_delta(piece) for piece in own])
                rest = [e for e in rest if not (isinstance(e, ToolDelta) and e.call == first.call)]
                if rest and not self._calls[first.call].is_whole():
                    self._waiting = rest
                    break
            elif not isinstance(first, ToolDelta):
                out.append(self._writers[type(first)](first))
            self._waiting = rest
        return b"".join(out)

    def _flush(self) -> bytes:
        """End everything that is open, whole or not: no more will come."""
        out = []
        while True:
            out.append(self._close())
            if not self._waiting:
                return b"".join(out)
            out.append(self._go_on())

    # --- end --------------------------------------------------------------------------------

    def _take_usage(self, event: UsageEvent) -> bytes:
        self._usage = event.usage
        return b""

    def _take_finish(self, event: Finish) -> bytes:
        if event.choice:
            return self._drop_choice()
        self._finish = event
        return b""

    def _error(self, event: StreamError) -> bytes:
        self.failed = True
        return wire_error_event(event.error)


def _message_start(event: Start, context: AnswerContext) -> bytes:
    message: dict[str, Any] = {
        "id": answer_id(event.id, context),
        "type": "message",
        "role": "assistant",
        "model": context.model,
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": usage_object(event.usage or Usage()),
    }
    start = {"type": "message_start", "message": message}
    return b"event: message_start\ndata: " + encode_json(start) + b"\n\n"


def _message_end(finish: Finish, usage: Usage) -> bytes:
    delta = {
        "type": "message_delta",
        "delta": {
            "stop_reason": FINISH_WRITE[finish.reason],
            "stop_sequence": finish.stop_sequence,
        },
        "usage": usage_object(usage),
    }
    return b"event: message_delta\ndata: " + encode_json(delta) + b"\n\n" + _STOP
