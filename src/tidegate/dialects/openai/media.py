"""Usage and streams of images, speech and transcriptions.

    "usage": {"input_tokens": 50, "output_tokens": 4160, "total_tokens": 4210}
    "usage": {"type": "duration", "seconds": 12.3}

Streams are events of one JSON object whose `type` says when a result is whole:
`transcript.text.done`, `speech.audio.done`, `image_generation.completed`, `image_edit.completed`.
Source: types `ImagesResponse`, `Transcription`, `TranscriptionTextDoneEvent` and
`ImageGenCompletedEvent` of the openai package, 3.x.
"""

from __future__ import annotations

import msgspec

from tidegate.dialects.neutral import (
    Event,
    Finish,
    StreamError,
    TextDelta,
    UsageEvent,
    WireError,
)
from tidegate.dialects.openai.chat_answer import error_of_object
from tidegate.dialects.openai.usage import MAX_TOKENS
from tidegate.dialects.sse import event_data
from tidegate.dialects.unreadable import UNREADABLE
from tidegate.dialects.usage import Usage

SIGNS = (b'.done"', b'.completed"', b'"error"', b"[DONE]")
"""What an event may hold that matters; `passing.PassingStream` looks for these alone."""

_LAST = frozenset(
    {
        "transcript.text.done",
        "speech.audio.done",
        "image_generation.completed",
        "image_edit.completed",
    }
)
_MAX_AUDIO_S = 1e7
_USAGE = b'"usage":'


class _WireUsage(msgspec.Struct):
    input_tokens: int | None = None
    output_tokens: int | None = None
    seconds: float | None = None


class _Answer(msgspec.Struct):
    usage: _WireUsage | None = None


class _StreamEvent(msgspec.Struct):
    type: str = ""
    usage: _WireUsage | None = None
    error: msgspec.Raw = msgspec.Raw(b"null")


_decode_answer = msgspec.json.Decoder(_Answer).decode
_decode_event = msgspec.json.Decoder(_StreamEvent).decode


def usage_of_media(body: bytes) -> Usage | None:
    """Read the usage out of a whole JSON answer; None when it has none or is malformed.

    A picture in base64 is not read through: usage stands behind it.
    """
    start = body.rfind(_USAGE)
    if start < 0:
        return None
    for text in (b"{" + body[start:], body):
        try:
            wire = _decode_answer(text).usage
        except UNREADABLE:
            continue
        return None if wire is None else _neutral(wire)
    return None


def no_usage(body: bytes) -> Usage | None:
    """Return None: answers of this kind tell no usage."""
    return None


def _neutral(wire: _WireUsage) -> Usage | None:
    if wire.input_tokens is None and wire.output_tokens is None:
        seconds = wire.seconds
        if seconds is None or not 0 <= seconds <= _MAX_AUDIO_S:
            return None
        return Usage(audio_s=seconds)
    counts = (wire.input_tokens or 0, wire.output_tokens or 0)
    if min(counts) < 0 or max(counts) > MAX_TOKENS:
        return None
    return Usage(*counts)


class MediaStreamDecoder:
    """Reads single events of a stream; see `dialects.wire.StreamDecoder`.

    Attributes:
        done: Nothing that follows counts.
        usage: Sum over the results seen whole; None until one has told.
    """

    __slots__ = ("_choices", "_whole", "done", "usage")

    def __init__(self, choices: int) -> None:
        self._choices = choices
        self._whole = 0
        self.done = False
        self.usage: Usage | None = None

    @property
    def finished(self) -> bool:
        """Whether every result has been seen whole."""
        return self._whole >= self._choices

    def feed(self, data: bytes) -> list[Event]:
        """Take one whole event."""
        payload = event_data(data)
        if payload is None:
            return []
        if payload.strip() == b"[DONE]":
            self.done = True
            return []
        try:
            event = _decode_event(payload)
        except UNREADABLE:
            self.done = True
            error = WireError(502, "The provider's stream is not valid JSON.")
            return [StreamError(error, broken=True)]
        if event.type == "error" or bytes(event.error) != b"null":
            self.done = True
            raw = bytes(event.error)
            return [StreamError(error_of_object(payload if raw == b"null" else raw, 502))]
        if event.type not in _LAST:
            return [TextDelta("")]
        choice = self._whole
        self._whole += 1
        told = None if event.usage is None else _neutral(event.usage)
        if told is not None:
            self.usage = told if self.usage is None else _sum(self.usage, told)
            return [UsageEvent(self.usage), Finish("stop", choice=choice)]
        return [Finish("stop", choice=choice)]

    def end(self) -> list[Event]:
        """Take the end of the body."""
        if self.finished or self.done:
            return []
        self.done = True
        return [StreamError(WireError(502, "The provider's stream ended early."), broken=True)]


def _sum(first: Usage, second: Usage) -> Usage:
    return Usage(
        first.input_tokens + second.input_tokens,
        first.output_tokens + second.output_tokens,
        audio_s=first.audio_s + second.audio_s,
    )
