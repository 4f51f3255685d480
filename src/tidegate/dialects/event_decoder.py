"""What all stream decoders share: events in, neutral events out, and how a stream may end.

A dialect's decoder only says what each of its events means (`_take`). That nothing follows an
error, that what cannot be read is one, and that a stream which stops before its end never looks
complete is said here once.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

from tidegate.dialects.neutral import Event, StreamError, WireError
from tidegate.dialects.unreadable import UNREADABLE, check_text
from tidegate.dialects.usage import Usage

if TYPE_CHECKING:
    from typing_extensions import override
else:
    from tidegate.config.snapshot import override

__all__ = ["NAMELESS_CALL", "BrokenStream", "EventDecoder", "Framing", "override"]

Head = TypeVar("Head")

NAMELESS_CALL = "The provider's stream holds a tool call without a name."
_UNFINISHED = "The provider's stream ended before it was finished."


class BrokenStream(Exception):
    """What an upstream sent makes no sense; the message is for the caller."""


class Framing(Protocol[Head]):
    """Cuts a stream into its events: `(head, payload)`."""

    @property
    def broken(self) -> str:
        """Why nothing that follows can be read, in words for the caller; empty until then."""
        ...

    def feed(self, data: bytes) -> list[tuple[Head, bytes]]:
        """Take what was read; return the events that are whole, and none behind a broken one."""
        ...

    def end(self) -> list[tuple[Head, bytes]]:
        """Take the end of the body; return what it completes."""
        ...


class EventDecoder(Generic[Head]):
    """Reads one stream; see `wire.StreamDecoder`.

    Attributes:
        finished: Every choice has said why it ended.
        done: Nothing that follows counts.
        usage: Newest usage told.
    """

    __slots__ = ("_framing", "done", "finished", "usage")

    def __init__(self, framing: Framing[Head]) -> None:
        self._framing = framing
        self.usage: Usage | None = None
        self.finished = False
        self.done = False

    def feed(self, data: bytes) -> list[Event]:
        """Take what was read; return the events it completes."""
        events: list[Event] = []
        if not self.done:
            framing = self._framing
            self._take_all(framing.feed(data), events)
            if framing.broken and not self.done:
                self._fail(framing.broken, events)
        return events

    def end(self) -> list[Event]:
        """Take the end of the body."""
        events: list[Event] = []
        if not self.done:
            self._take_all(self._framing.end(), events)
        if not self.done:
            self.done = True
            if not self.finished:
                self._fail(_UNFINISHED, events)
        return events

    @abstractmethod
    def _take(self, head: Head, payload: bytes, events: list[Event]) -> None:
        """Add what one event means to *events*.

        Raises `BrokenStream` or what `UNREADABLE` holds; what was added before that counts.
        """

    def _take_all(self, wire_events: list[tuple[Head, bytes]], events: list[Event]) -> None:
        try:
            for head, payload in wire_events:
                if not payload.isascii():
                    check_text(payload)
                self._take(head, payload, events)
                if self.done:
                    return
        except BrokenStream as broken:
            self._fail(str(broken), events)
        except UNREADABLE:
            self._fail("The provider's stream holds an event that cannot be read.", events)

    def _fail(self, message: str, events: list[Event]) -> None:
        """End the stream in an error of ours."""
        self.done = True
        error = WireError(502, message, "api_error", "upstream_error")
        events.append(StreamError(error, broken=True))
