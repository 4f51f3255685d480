"""A stream passed on to a caller of the same dialect, byte for byte.

Events go through as they came. Only those that hold one of the dialect's signs are read, by the
dialect's own decoder: usage, the reason of the end, an error. Two things are held back:

- what comes before the first piece of content, so that an attempt that fails there has shown
  nothing to the caller and another may follow;
- everything from the event on that says why the answer ended, so that the request is settled
  before its last byte leaves.
"""

from __future__ import annotations

from typing import Protocol

from tidegate.dialects.neutral import Start, StreamError, UsageEvent, WireError
from tidegate.dialects.sse import event_data, last_boundary, split_events
from tidegate.dialects.usage import Usage
from tidegate.dialects.wire import MAX_EVENT_BYTES, StreamDecoder


class StreamTooLarge(Exception):
    """One event is larger than the cap; the stream cannot be relayed."""


class Scanner(Protocol):
    """Stands between an upstream's stream and the caller's.

    Attributes are read after each `feed`.
    """

    @property
    def usage(self) -> Usage | None:
        """Newest usage told; None until then."""
        ...

    @property
    def started(self) -> bool:
        """Whether a piece of an answer was seen."""
        ...

    @property
    def finished(self) -> bool:
        """Whether the upstream has said of every choice why it ended."""
        ...

    @property
    def done(self) -> bool:
        """Whether nothing that follows counts."""
        ...

    @property
    def error(self) -> WireError | bytes | None:
        """The upstream's error, which is the last event: read, or as JSON."""
        ...

    def feed(self, data: bytes) -> bytes:
        """Take what was read; return what the caller may have of it now."""
        ...

    def end(self) -> bytes:
        """Take the end of the body; return what the caller may still have."""
        ...

    def terminator(self) -> bytes:
        """Return what ends a whole stream; written once everything is settled."""
        ...


class PassingStream:
    """Scanner for dialects whose events go through unchanged.

    Args:
        decoder: Reads the events that matter.
        signs: An event without any of them is content; each can only be structure, as quotes
            inside a JSON text are escaped.

    Attributes:
        raw_error: Payload of the error event, for a caller of the same dialect.
    """

    __slots__ = (
        "_decoder",
        "_head",
        "_held",
        "_last",
        "_max_event_bytes",
        "_signs",
        "done",
        "error",
        "raw_error",
        "started",
    )

    def __init__(
        self,
        decoder: StreamDecoder,
        signs: tuple[bytes, ...],
        max_event_bytes: int = MAX_EVENT_BYTES,
    ) -> None:
        self._decoder = decoder
        self._signs = signs
        self._max_event_bytes = max_event_bytes
        self._held = b""
        self._head: list[bytes] = []
        self._last: list[bytes] = []
        self.started = False
        self.done = False
        self.error: WireError | None = None
        self.raw_error = b""

    @property
    def usage(self) -> Usage | None:
        """Newest usage told."""
        return self._decoder.usage

    @property
    def finished(self) -> bool:
        """Whether the upstream has said why the answer ended."""
        return self._decoder.finished

    def feed(self, data: bytes) -> bytes:
        """See `Scanner.feed`; raises `StreamTooLarge` when an unfinished event passes the cap."""
        if self.done or self.error is not None:
            return b""
        if self._held:
            data = self._held + data
            self._held = b""
        if not data.endswith(b"\n\n"):
            cut = last_boundary(data)
            self._held = data[cut:]
            if len(self._held) > self._max_event_bytes:
                raise StreamTooLarge
            if cut == 0:
                return b""
            data = data[:cut]
        if self.started and not self._last and not self._matters(data):
            return data
        out: list[bytes] = []
        for event in split_events(data):
            self._take(event, out)
            if self.done or self.error is not None:
                break
        return b"".join(out)

    def end(self) -> bytes:
        """See `Scanner.end`. A last event without its blank line is given one."""
        return self.feed(b"\n\n") if self._held.strip(b"\r\n") else b""

    def terminator(self) -> bytes:
        """Return the events that were held back, from the reason of the end on."""
        return b"".join(self._last)

    def _matters(self, data: bytes) -> bool:
        return any(sign in data for sign in self._signs)

    def _take(self, event: bytes, out: list[bytes]) -> None:
        """Read one event if it matters, and put it where it belongs."""
        payload = event_data(event)
        content = payload is not None
        if payload is not None and (not self.started or self._matters(event)):
            found = self._decoder.feed(event)
            content = any(type(one) not in (Start, UsageEvent) for one in found)
            if found and type(found[-1]) is StreamError:
                self.error = found[-1].error
                self.raw_error = payload
                content = self.started
            elif self._decoder.done:
                self.done = True
        if self._last or self._decoder.finished or self.done:
            self.started = self.started or self._decoder.finished
            self._last.append(event)
            if self.error is not None:
                out += self._last
                self._last = []
            if self._head:
                out += self._head
                self._head = []
            return
        if not self.started and not content:
            self._head.append(event)
            return
        if self._head:
            out += self._head
            self._head = []
        self.started = True
        out.append(event)
