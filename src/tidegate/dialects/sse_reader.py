"""Server-sent events out of bytes that are cut anywhere, for decoders that look at each event.

Only what is new is searched for an end, so an event that comes in a thousand pieces costs a
thousand small searches and not a thousand copies.
"""

from __future__ import annotations

from tidegate.dialects.sse import event_data, event_name, last_boundary, split_events

_BOM = b"\xef\xbb\xbf"


class EventTooLarge(Exception):
    """One event is larger than the cap."""


class SseReader:
    """Gives the events of one stream as `(name, data)`; comments are left out."""

    __slots__ = ("_begun", "_held", "_max_event_bytes")

    def __init__(self, max_event_bytes: int) -> None:
        self._held = bytearray()
        self._max_event_bytes = max_event_bytes
        self._begun = False

    def feed(self, data: bytes) -> list[tuple[bytes, bytes]]:
        """Take what was read; return the events that are whole. Raises `EventTooLarge`."""
        held = self._held
        if held:
            # An end may straddle the seam: at most three of its four bytes were there before.
            seam = max(0, len(held) - 3)
            held += data
            if last_boundary(bytes(held[seam:])) == 0:
                if len(held) > self._max_event_bytes:
                    raise EventTooLarge
                return []
            data = bytes(held)
            held.clear()
        if not data.endswith(b"\n\n"):
            cut = last_boundary(data)
            held += data[cut:]
            if len(held) > self._max_event_bytes:
                raise EventTooLarge
            if cut == 0:
                return []
            data = data[:cut]
        if not self._begun:
            self._begun = True
            data = data.removeprefix(_BOM)
        return _read(data)

    def end(self) -> list[tuple[bytes, bytes]]:
        """Return the last event if it came without its blank line."""
        rest = bytes(self._held)
        self._held.clear()
        return _read(rest) if rest.strip(b"\r\n") else []


def _read(data: bytes) -> list[tuple[bytes, bytes]]:
    if b"\r" in data:
        return _read_slowly(data)
    events = []
    for event in data.split(b"\n\n"):
        if event[:6] == b"data: " and b"\n" not in event:
            events.append((b"", event[6:]))
        elif event[:7] == b"event: ":
            end = event.find(b"\ndata: ")
            if end > 0 and event.find(b"\n") == end and b"\n" not in event[end + 7 :]:
                events.append((event[7:end], event[end + 7 :]))
            else:
                events.extend(_read_slowly(event))
        elif event.strip(b"\n"):
            events.extend(_read_slowly(event))
    return events


def _read_slowly(data: bytes) -> list[tuple[bytes, bytes]]:
    return [
        (event_name(event), payload)
        for event in split_events(data)
        if (payload := event_data(event)) is not None
    ]
