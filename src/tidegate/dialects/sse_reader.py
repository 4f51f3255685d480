"""Server-sent events out of bytes that are cut anywhere, for decoders that look at each event.

What is held of an event that is not whole yet is kept in `sse.whole_events`' way.
"""

from __future__ import annotations

from tidegate.dialects.sse import (
    BOM,
    TOO_LARGE,
    event_data,
    event_name,
    last_event,
    split_events,
    whole_events,
)


class SseReader:
    """Gives the events of one stream as `(name, data)`; see `event_decoder.Framing`.

    Comments are left out.

    Attributes:
        broken: Why nothing that follows can be read: an event over the cap.
    """

    __slots__ = ("_begun", "_held", "_max_event_bytes", "broken")

    def __init__(self, max_event_bytes: int) -> None:
        self._held = bytearray()
        self._max_event_bytes = max_event_bytes
        self._begun = False
        self.broken = ""

    def feed(self, data: bytes) -> list[tuple[bytes, bytes]]:
        """Take what was read; return the events that are whole."""
        held = self._held
        if held or not data.endswith(b"\n\n"):
            data = whole_events(held, data)
            if len(held) > self._max_event_bytes:
                self.broken = TOO_LARGE
                held.clear()
            if not data:
                return []
        if not self._begun:
            self._begun = True
            data = data.removeprefix(BOM)
        if len(data) > self._max_event_bytes:
            return self._within_cap(data)
        return _read(data)

    def end(self) -> list[tuple[bytes, bytes]]:
        """Return the last event if it lacks nothing but its blank line."""
        rest = last_event(self._held)
        if not self._begun:
            rest = rest.removeprefix(BOM)
        return _read(rest) if rest else []

    def _within_cap(self, data: bytes) -> list[tuple[bytes, bytes]]:
        """Return the events before the first that is over the cap."""
        events: list[tuple[bytes, bytes]] = []
        for event in split_events(data):
            if len(event) > self._max_event_bytes:
                self.broken = TOO_LARGE
                self._held.clear()
                break
            events += _read(event)
        return events


def _read(data: bytes) -> list[tuple[bytes, bytes]]:
    if b"\r" in data:
        return _read_slowly(data)
    events = []
    for event in data.split(b"\n\n"):
        if event[:6] == b"data: " and b"\n" not in event:
            if len(event) > 6:
                events.append((b"", event[6:]))
        elif event[:7] == b"event: ":
            end = event.find(b"\ndata: ")
            payload = event[end + 7 :]
            if end > 0 and event.find(b"\n") == end and payload and b"\n" not in payload:
                events.append((event[7:end], payload))
            else:
                events.extend(_read_slowly(event))
        elif event.strip(b"\n"):
            events.extend(_read_slowly(event))
    return events


def _read_slowly(data: bytes) -> list[tuple[bytes, bytes]]:
    """Read events of any form. Lines of data are joined by a blank, which to JSON is the same.

    So what is taken out of a payload as it is fits on one line of an event again.
    """
    return [
        (event_name(event), payload.replace(b"\n", b" "))
        for event in split_events(data)
        if (payload := event_data(event)) is not None
    ]
