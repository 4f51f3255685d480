"""Where one server-sent event ends and the next begins, at every byte."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tidegate.dialects.sse import event_data, event_name, last_boundary, split_events

LINE_ENDS = [b"\n", b"\r\n", b"\r"]
# What Python's splitlines would split at, and JSON strings may hold.
TRICKY = 'text \u2028 \u2029 \u0085 \x0b \x0c \x1c {"choices":[]}'


def _event(text: bytes, end: bytes) -> bytes:
    return b"data: " + text + end + end


events = st.lists(
    st.tuples(st.binary(max_size=30).filter(lambda b: b"\n" not in b and b"\r" not in b),
              st.sampled_from(LINE_ENDS)),
    min_size=1, max_size=8,
)  # fmt: skip


@given(events)
def test_whole_events_are_found_with_any_line_end(parts: list[tuple[bytes, bytes]]) -> None:
    """A block of whole events has its last boundary at its end and splits into those events."""
    wire = [_event(text, end) for text, end in parts]
    block = b"".join(wire)
    assert last_boundary(block) == len(block)
    assert b"".join(split_events(block)) == block
    found = [event_data(event) for event in split_events(block)]
    assert [data for data in found if data is not None] == [text for text, _ in parts if text]


@given(events, st.data())
def test_no_boundary_is_ever_found_inside_an_event(
    parts: list[tuple[bytes, bytes]], data: st.DataObject
) -> None:
    """Whatever is cut off at the end, the boundary lies behind a whole event."""
    wire = [_event(text, end) for text, end in parts]
    block = b"".join(wire)
    cut = data.draw(st.integers(0, len(block)))
    boundary = last_boundary(block[:cut])
    ends = {0}
    position = 0
    for event in wire:
        position += len(event)
        ends.add(position)
        if event.endswith(b"\r\n\r\n"):
            # CR LF CR is a line end and a blank line already; the LF only adds a blank line.
            ends.add(position - 1)
    assert boundary in ends
    assert boundary <= cut


def test_unicode_line_separators_inside_a_string_split_nothing() -> None:
    """U+2028, U+0085 and their like stay inside their event."""
    block = b"data: " + TRICKY.encode() + b"\n\n"
    assert split_events(block) == [block]
    assert event_data(block) == TRICKY.encode()


def test_a_comment_has_no_data_and_a_name_is_read() -> None:
    """Comments and empty data carry nothing; the last `event:` line names an event."""
    assert event_data(b": ping\n\n") is None
    assert event_data(b"data\n\n") is None
    assert event_data(b"event: ping\ndata: \n\n") is None
    assert event_name(b"event: error\ndata: {}\n\n") == b"error"
    assert event_data(b"data: a\ndata:b\n\n") == b"a\nb"
