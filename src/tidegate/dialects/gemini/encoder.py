"""Neutral events as a `streamGenerateContent` stream for a caller.

Calls come whole here, so their pieces are collected. The finish reason is held back for `end`:
usage belongs into the same event, and everything is settled before it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from tidegate.dialects.encode import encode_json
from tidegate.dialects.fidelity import Loss, Losses
from tidegate.dialects.gemini.answer import (
    signature_of,
    write_call,
    write_citations,
    write_finish,
    write_part,
)
from tidegate.dialects.gemini.errors import wire_error_event
from tidegate.dialects.gemini.parts import usage_object
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
    ToolUse,
    UsageEvent,
    WireError,
)
from tidegate.dialects.usage import Usage
from tidegate.dialects.wire import AnswerContext, UnreadableAnswer


class GeminiStreamEncoder:
    """Writes one stream; see `wire.StreamEncoder`."""

    __slots__ = (
        "_calls",
        "_context",
        "_finishes",
        "_id",
        "_losses",
        "_pieces",
        "_sources",
        "_usage",
        "failed",
    )

    def __init__(self, context: AnswerContext) -> None:
        self._context = context
        self._losses = Losses()
        self._id = context.id
        self._usage: Usage | None = None
        self._calls: dict[tuple[int, int], ToolUse] = {}
        self._pieces: dict[tuple[int, int], list[str]] = {}  # of each call's arguments
        self._finishes: dict[int, Finish] = {}
        self._sources: dict[int, list[dict[str, Any]]] = {}
        self.failed = False

    @property
    def losses(self) -> list[Loss]:
        """What could not be expressed so far."""
        return self._losses.listed()

    def feed(self, events: Iterable[Event]) -> bytes:
        """Return the bytes of *events*; calls and the end are held back until they are whole."""
        parts: dict[int, list[dict[str, Any]]] = {}
        out = b""
        for event in events:
            if isinstance(event, TextDelta):
                if event.logprobs is not None:
                    self._losses.drop("answer.logprobs")
                self._add_text(parts.setdefault(event.choice, []), event.text)
            elif isinstance(event, ThinkingDelta):
                parts.setdefault(event.choice, []).append({"text": event.text, "thought": True})
            elif isinstance(event, SignatureDelta):
                self._add_signature(parts.setdefault(event.choice, []), event)
            elif isinstance(event, ToolStart):
                self._calls[event.choice, event.call] = ToolUse(
                    event.id, event.name, "", event.custom, event.signature
                )
            elif isinstance(event, ToolDelta):
                self._pieces.setdefault((event.choice, event.call), []).append(event.arguments)
            elif isinstance(event, StreamError):
                self.failed = True
                return out + self._chunks(parts) + wire_error_event(event.error)
            elif isinstance(event, PartEnd):
                continue
            else:
                self._take(event, parts)
        return out + self._chunks(parts)

    def end(self) -> bytes:
        """Return calls, finish reasons and usage; an error for arguments that are none."""
        if self.failed:
            return b""
        finishes = self._finishes or {0: Finish("stop")}
        candidates = []
        for place, call in self._calls.items():
            call.arguments = "".join(self._pieces.get(place, ()))
        try:
            for choice, finish in sorted(finishes.items()):
                cut = finish.reason == "length"
                calls = [
                    write_call(call, cut, self._losses)
                    for (of_choice, _), call in sorted(self._calls.items())
                    if of_choice == choice
                ]
                candidate: dict[str, Any] = {
                    "content": {"role": "model", "parts": calls or [{"text": ""}]},
                    "finishReason": write_finish(finish.reason, finish.stop_sequence, self._losses),
                    "index": choice,
                }
                if self._sources.get(choice):
                    candidate["citationMetadata"] = {"citationSources": self._sources[choice]}
                candidates.append(candidate)
        except UnreadableAnswer as error:
            self.failed = True
            return wire_error_event(WireError(502, str(error), "api_error", "upstream_error"))
        return self._event(
            {"candidates": candidates, "usageMetadata": usage_object(self._usage or Usage())}
        )

    def _take(self, event: Event, parts: dict[int, list[dict[str, Any]]]) -> None:
        """Take what is seldom."""
        if isinstance(event, Start):
            self._id = event.id or self._id
            self._usage = event.usage or self._usage
        elif isinstance(event, UsageEvent):
            self._usage = event.usage
        elif isinstance(event, Finish):
            self._finishes[event.choice] = event
        elif isinstance(event, RefusalDelta):
            self._losses.bend("answer.refusal")
            self._add_text(parts.setdefault(event.choice, []), event.text)
        elif isinstance(event, CitationDelta):
            found = write_citations([event.citation], self._losses)
            self._sources.setdefault(event.choice, []).extend(found)
        elif isinstance(event, OpaqueDelta):
            written = write_part(event.part, False, self._losses)
            if written is not None:
                parts.setdefault(event.choice, []).append(written)

    def _add_text(self, parts: list[dict[str, Any]], text: str) -> None:
        if parts and len(parts[-1]) == 1 and isinstance(parts[-1].get("text"), str):
            parts[-1]["text"] += text
        else:
            parts.append({"text": text})

    def _add_signature(self, parts: list[dict[str, Any]], event: SignatureDelta) -> None:
        """Write the proof of the thinking at hand, or of thinking that cannot be read."""
        proof = signature_of(Thinking("", event.signature, event.redacted, event.origin))
        last = parts[-1] if parts else {}
        if event.redacted is None and last.get("thought") and "thoughtSignature" not in last:
            last["thoughtSignature"] = proof
        else:
            parts.append({"text": "", "thought": True, "thoughtSignature": proof})

    def _chunks(self, parts: dict[int, list[dict[str, Any]]]) -> bytes:
        """Return one event with the new pieces of every alternative, if there are any."""
        candidates = [
            {"content": {"role": "model", "parts": pieces}, "index": choice}
            for choice, pieces in sorted(parts.items())
            if pieces
        ]
        return self._event({"candidates": candidates}) if candidates else b""

    def _event(self, body: dict[str, Any]) -> bytes:
        body["modelVersion"] = self._context.model
        body["responseId"] = self._id
        return b"data: " + encode_json(body) + b"\n\n"
