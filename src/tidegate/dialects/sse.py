r"""Server-sent events at the byte level: where one event ends and the next begins.

Only CR, LF and CRLF end a line (HTML standard, section 9.2.6). Python's `splitlines`
also splits at U+2028, U+0085 and others, which are legal inside JSON strings; it would
lose the final usage event, so it is never used here.

    data: {"choices":[…]}\n
    \n

Nearly all streams end their lines with LF alone. Those are cut by `find` and `split`, which
is 3 to 10 times as fast as the pattern that the others need.
"""

from __future__ import annotations

import re

import msgspec

from tidegate.dialects.unreadable import UNREADABLE

#: A byte order mark may stand before the first event.
BOM = b"\xef\xbb\xbf"
#: What is said of an event over the cap.
TOO_LARGE = "An event of the provider's stream is too large."

# A blank line: the end of a line followed at once by another end of line. A CR with its LF
# is one end, never two.
_BOUNDARY = re.compile(rb"(?:\r\n|\n|\r(?!\n))(?:\r\n|\n|\r(?!\n))")
_LINE_END = re.compile(rb"\r\n|\n|\r")
_check_json = msgspec.json.Decoder(msgspec.Raw).decode


def last_boundary(data: bytes) -> int:
    """Return the offset just behind the last whole event in *data*, 0 if there is none.

    A CR at the very end may be half of a CRLF, and is waited for, unless two CRs say that
    this stream ends its lines with them.
    """
    position = data.rfind(b"\n\n")
    best = position + 2 if position >= 0 else 0
    if b"\r" in data:
        for match in _BOUNDARY.finditer(data, max(0, best - 2)):
            stop = match.end()
            if stop < len(data) or not data.endswith(b"\r") or data.endswith(b"\r\r"):
                best = max(best, stop)
    return best


def whole_events(held: bytearray, data: bytes) -> bytes:
    """Join *data* to what is *held* of an event; return what is whole, and hold the rest.

    In all it costs as much as the bytes it is given, however small the pieces of an event are:
    where little is held both are joined, else only what is new is searched and copied.
    """
    size = len(held)
    if size <= len(data):
        if size:
            data = bytes(held) + data
        cut = last_boundary(data)
        held[:] = data[cut:]
        return data[:cut]
    # An end may straddle the seam: at most three of its four bytes were there before.
    seam = max(0, size - 3)
    held += data
    cut = last_boundary(bytes(held[seam:]))
    if cut == 0:
        return b""
    with memoryview(held) as view:
        data = bytes(view[: seam + cut])
    del held[: seam + cut]
    return data


def last_event(held: bytes | bytearray) -> bytes:
    """Return what is *held* at the end of a body if it lacks nothing but its blank line.

    What was cut in the middle is no event: half a JSON text means nothing to anyone.
    """
    rest = bytes(held).rstrip(b"\r\n")
    payload = event_data(rest)
    if payload is None:
        return b""
    if payload.strip() != b"[DONE]" and not is_json(payload):
        return b""
    return rest + b"\n\n"


def is_json(payload: bytes) -> bool:
    """Whether *payload* is one whole JSON text."""
    try:
        _check_json(payload)
    except UNREADABLE:
        return False
    return True


def first_boundary(data: bytes) -> int:
    """Return the offset just behind the first whole event; all of *data* if none ends in it."""
    if b"\r" not in data:
        position = data.find(b"\n\n")
        return len(data) if position < 0 else position + 2
    match = _BOUNDARY.search(data)
    return len(data) if match is None else match.end()


def split_events(block: bytes) -> list[bytes]:
    """Split whole events (as cut by `last_boundary`) and keep each one's closing blank line."""
    events = []
    start = 0
    if b"\r" not in block:
        while (position := block.find(b"\n\n", start)) >= 0:
            events.append(block[start : position + 2])
            start = position + 2
        if start < len(block):
            events.append(block[start:])
        return events
    for match in _BOUNDARY.finditer(block):
        events.append(block[start : match.end()])
        start = match.end()
    if start < len(block):
        events.append(block[start:])
    return events


def event_data(event: bytes) -> bytes | None:
    """Return an event's `data` lines joined by LF; None for a comment.

    An event whose data is empty is none either (HTML standard, section 9.2.6).
    """
    found: list[bytes] = []
    for line in _lines(event):
        if line.startswith(b"data:"):
            value = line[5:]
            found.append(value[1:] if value.startswith(b" ") else value)
        elif line == b"data":
            found.append(b"")
    return b"\n".join(found) or None


def event_name(event: bytes) -> bytes:
    """Return the value of the event's last `event:` line, `b""` when there is none."""
    name = b""
    if b"event:" not in event:
        return name
    for line in _lines(event):
        if line.startswith(b"event:"):
            name = line[6:].strip(b" ")
    return name


def _lines(event: bytes) -> list[bytes]:
    return _LINE_END.split(event) if b"\r" in event else event.split(b"\n")
