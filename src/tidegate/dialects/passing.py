"""A stream passed on to a caller of the same dialect, byte for byte.

Events go through as they came. Only those that hold one of the dialect's signs are read, by the
dialect's own decoder: usage, the reason of the end, an error. Two things are held back:

- what comes before the first piece of content, so that an attempt that fails there has shown
  nothing to the caller and another may follow;
- everything from the event on that says why the answer ended, so that the request is settled
  before its last byte leaves.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Protocol

from tidegate.dialects.neutral import Start, StreamError, UsageEvent, WireError
from tidegate.dialects.sse import (
    BOM,
    TOO_LARGE,
    event_data,
    last_boundary,
    last_event,
    split_events,
    whole_events,
)
from tidegate.dialects.usage import Usage
from tidegate.dialects.wire import MAX_EVENT_BYTES, StreamDecoder

if TYPE_CHECKING:
    from typing_extensions import override
else:
    from tidegate.config.snapshot import override


class StreamBroken(Exception):
    """The stream cannot be relayed any further: an event over the cap, or one that is none.

    Attributes:
        whole: What the caller may still have of what was read before.
    """

    def __init__(self, message: str, whole: bytes = b"") -> None:
        super().__init__(message)
        self.whole = whole


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
        """Take what was read; return what the caller may have of it now.

        Raises `StreamBroken`; nothing may be fed after that.
        """
        ...

    def end(self) -> bytes:
        """Take the end of the body; return what the caller may still have.

        A last event without its blank line is given one; half an event is left out.
        Raises `StreamBroken`.
        """
        ...

    def terminator(self) -> bytes:
        """Return what ends a whole stream; written once everything is settled."""
        ...


#: Beginnings of events that are longer are kept apart; shorter ones cost less joined again.
_LONG_BYTES = 16 * 1024


class Holder:
    """Holds the beginning of an event until the rest of it comes, however long it gets.

    A short beginning is joined with what is read next, where it is read (`feed`), as that costs
    nearly nothing. A long one would be copied over and over: it grows in place.
    """

    __slots__ = ("_held", "_long_bytes", "_max_event_bytes")

    def __init__(self, max_event_bytes: int) -> None:
        self._held: bytes | bytearray = b""
        self._max_event_bytes = max_event_bytes
        self._long_bytes = min(_LONG_BYTES, max_event_bytes)

    @abstractmethod
    def feed(self, data: bytes) -> bytes:
        """See `Scanner.feed`."""

    def end(self) -> bytes:
        """See `Scanner.end`."""
        rest = last_event(self._held)
        self._held = b""
        return self.feed(rest) if rest else b""

    def _go_on(self, held: bytearray, data: bytes) -> bytes:
        """Feed *data*, which goes on with a long event."""
        data = whole_events(held, data)
        if not data:
            self._check_size(held, b"")
            return b""
        self._held = b""
        out = self.feed(data)
        self._check_size(held, out)
        self._held = held if len(held) > self._long_bytes else bytes(held)
        return out

    def _hold(self, data: bytes, cut: int) -> bytearray:
        """Return the long beginning of an event in *data* behind *cut*, in a form that can grow."""
        held = bytearray(memoryview(data)[cut:])
        if len(held) > self._max_event_bytes:
            self._held = b""
            self._check_size(held, self.feed(data[:cut]))
        return held

    def _check_size(self, held: bytearray, whole: bytes) -> None:
        if len(held) > self._max_event_bytes:
            raise StreamBroken(TOO_LARGE, whole)


class PassingStream(Holder):
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
        "_kept_bytes",
        "_last",
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
        super().__init__(max_event_bytes)
        self._decoder = decoder
        self._signs = signs
        self._head: list[bytes] = []
        self._last: list[bytes] = []
        self._kept_bytes = 0  # in both
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

    @override
    def feed(self, data: bytes) -> bytes:
        """See `Scanner.feed`."""
        if self.done or self.error is not None:
            return b""
        held = self._held
        if held:
            if isinstance(held, bytearray):
                return self._go_on(held, data)
            data = held + data
            self._held = b""
        if not data.endswith(b"\n\n"):
            cut = last_boundary(data)
            rest = data[cut:]
            self._held = rest if len(rest) <= self._long_bytes else self._hold(data, cut)
            if cut == 0:
                return b""
            data = data[:cut]
        if self.started and not self._last and not self._matters(data):
            return data
        return self._pass(data)

    def terminator(self) -> bytes:
        """Return the events that were held back, from the reason of the end on."""
        return b"".join(self._last)

    def _pass(self, data: bytes) -> bytes:
        """Return what of the whole events *data* the caller may have now."""
        if not self.started:
            data = data.removeprefix(BOM)
        out: list[bytes] = []
        for event in split_events(data):
            self._take(event, out)
            if self.done or self.error is not None:
                break
        return b"".join(out)

    def _matters(self, data: bytes) -> bool:
        return any(sign in data for sign in self._signs)

    def _take(self, event: bytes, out: list[bytes]) -> None:
        """Read one event if it matters, and put it where it belongs."""
        payload = event_data(event)
        content = payload is not None
        if payload is not None and (not self.started or self._matters(event)):
            # What ends in CR alone might go on, for a decoder; here it is known to be whole.
            whole = event if event.endswith(b"\n\n") else event.rstrip(b"\r\n") + b"\n\n"
            found = self._decoder.feed(whole)
            content = any(type(one) not in (Start, UsageEvent) for one in found)
            last = found[-1] if found else None
            if isinstance(last, StreamError):
                if last.broken:
                    raise StreamBroken(last.error.message, b"".join(out))
                self.error = last.error
                self.raw_error = payload
                content = self.started
            elif self._decoder.done:
                self.done = True
        if self._last or self._decoder.finished or self.done:
            self.started = self.started or self._decoder.finished
            self._keep(event, self._last, out)
            if self.error is not None:
                out += self._last
                self._last = []
            if self._head:
                out += self._head
                self._head = []
            return
        if not self.started and not content:
            self._keep(event, self._head, out)
            return
        if self._head:
            out += self._head
            self._head = []
        self.started = True
        out.append(event)

    def _keep(self, event: bytes, kept: list[bytes], out: list[bytes]) -> None:
        """Hold *event* back; an upstream that never comes to the point cannot fill the memory."""
        self._kept_bytes += len(event)
        if self._kept_bytes > self._max_event_bytes:
            raise StreamBroken(TOO_LARGE, b"".join(out))
        kept.append(event)
