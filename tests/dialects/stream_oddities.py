"""What streams do on the wire beside what their documentation says, for any decoder.

Give `check_oddities` a whole, good stream of your dialect and what it means.
"""

from __future__ import annotations

from tidegate.dialects import neutral as n
from tidegate.dialects.wire import Wire


def read(wire: Wire, pieces: list[bytes], **options: int) -> list[n.Event]:
    """Decode a stream that comes in *pieces*, to its end."""
    decoder = wire.stream_decoder(**options)
    events: list[n.Event] = []
    for piece in pieces:
        events.extend(decoder.feed(piece))
    return events + decoder.end()


def meaning(events: list[n.Event]) -> list[n.Event]:
    """Return *events* with neighbouring pieces of one part joined and part ends left out."""
    joined: list[n.Event] = []
    for event in events:
        last = joined[-1] if joined else None
        if isinstance(event, n.PartEnd):
            continue
        if isinstance(event, (n.TextDelta, n.ThinkingDelta, n.RefusalDelta)):
            if type(last) is type(event) and last.choice == event.choice:
                joined[-1] = type(event)(last.text + event.text, event.choice)
                continue
        elif isinstance(event, n.ToolDelta):
            if isinstance(last, n.ToolDelta) and last.call == event.call:
                pieces = last.arguments + event.arguments
                joined[-1] = n.ToolDelta(event.call, pieces, event.choice)
                continue
        elif isinstance(event, n.UsageEvent) and isinstance(last, n.UsageEvent):
            joined[-1] = event
            continue
        joined.append(event)
    return joined


def check_line_ends_and_splits(wire: Wire, stream: bytes) -> None:
    """Assert that CR, LF and CRLF, cut at every byte, mean the same."""
    expected = read(wire, [stream])
    assert isinstance(expected[0], n.Start)
    assert not any(isinstance(event, n.StreamError) for event in expected)
    for end in (b"\n", b"\r\n", b"\r"):
        wire_bytes = stream.replace(b"\n", end)
        for cut in range(len(wire_bytes) + 1):
            assert read(wire, [wire_bytes[:cut], wire_bytes[cut:]]) == expected
        single = [wire_bytes[at : at + 1] for at in range(len(wire_bytes))]
        assert read(wire, single) == expected


def only_error(events: list[n.Event]) -> n.WireError:
    """Return the error that ends *events*, asserting that nothing follows it."""
    errors = [event for event in events if isinstance(event, n.StreamError)]
    assert len(errors) == 1
    assert events[-1] is errors[0]
    return errors[0].error


def check_cuts(wire: Wire, stream: bytes, finished_at: int) -> None:
    """Assert that a stream cut before the byte *finished_at* ends in an error, whole or not."""
    for cut in range(finished_at):
        assert only_error(read(wire, [stream[:cut]])).status == 502


def check_unreadable(wire: Wire, good_head: bytes) -> None:
    """Assert that bytes which cannot be understood end the stream in one error."""
    for bad in (
        b'data: {"x":\n\n',
        b'data: {"a":"\xff\xfe"}\n\n',
        b"data: \xc3\n\n",
        b"data: [1]\n\n",
    ):
        assert only_error(read(wire, [good_head + bad + good_head])).status == 502
    deep = b"data: " + b'{"a":' * 100_000 + b"1" + b"}" * 100_000 + b"\n\n"
    assert only_error(read(wire, [good_head + deep])).status == 502


def check_cap(wire: Wire, good_head: bytes) -> None:
    """Assert that an event over the cap ends the stream, however it comes."""
    endless = b"data: " + b"x" * 5000
    for pieces in ([good_head, endless], [good_head, *[b"data: "], *[b"x" * 10] * 500]):
        assert only_error(read(wire, pieces, max_event_bytes=1000)).status == 502
