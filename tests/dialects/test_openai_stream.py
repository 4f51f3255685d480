"""What a client may see of an upstream's stream, and what we learn from it."""

from __future__ import annotations

import itertools
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegate.dialects.openai.stream import CompletionStream
from tidegate.dialects.passing import StreamBroken
from tidegate.dialects.usage import Usage


def _chunk(content: str = "", finish: str | None = None, **more: object) -> bytes:
    choice = {"index": 0, "delta": {"content": content}, "finish_reason": finish}
    return b"data: " + json.dumps({"id": "x", "choices": [choice], **more}).encode() + b"\n\n"


USAGE = {"prompt_tokens": 3, "completion_tokens": 5, "prompt_tokens_details": {"cached_tokens": 2}}
USAGE_EVENT = b"data: " + json.dumps({"id": "x", "choices": [], "usage": USAGE}).encode() + b"\n\n"
DONE = b"data: [DONE]\n\n"
REFERENCE = _chunk("Hal") + _chunk('lo \u2028 [DONE] "usage":{') + _chunk("", "stop")


def _run(pieces: list[bytes], *, hide_usage: bool) -> tuple[bytes, CompletionStream]:
    stream = CompletionStream(hide_usage=hide_usage)
    out = b"".join([stream.feed(piece) for piece in pieces])
    return out + stream.end(), stream


@given(st.lists(st.integers(0, len(REFERENCE + USAGE_EVENT + DONE)), max_size=12))
def test_any_split_gives_the_same_bytes_and_the_same_usage(cuts: list[int]) -> None:
    """The client sees the same whole events however the network cuts them."""
    wire = REFERENCE + USAGE_EVENT + DONE
    edges = [0, *sorted(cuts), len(wire)]
    pieces = [wire[a:b] for a, b in itertools.pairwise(edges)]
    for hide, expected in ((True, REFERENCE), (False, REFERENCE + USAGE_EVENT)):
        out, stream = _run(pieces, hide_usage=hide)
        assert out == expected
        assert stream.finished
        assert stream.done
        assert stream.usage == Usage(3, 5, cached_input_tokens=2)


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
def test_every_split_point_with_every_line_end(end: bytes) -> None:
    """CR, LF and CRLF streams are understood at every byte split."""
    wire = (REFERENCE + USAGE_EVENT + DONE).replace(b"\n", end)
    for cut in range(len(wire) + 1):
        out, stream = _run([wire[:cut], wire[cut:]], hide_usage=True)
        assert stream.done
        assert stream.usage is not None
        assert out.replace(end, b"\n").rstrip(b"\n") == REFERENCE.rstrip(b"\n")


def test_only_whole_events_are_handed_out() -> None:
    """Half an event is held back, so that a cut never leaves one in front of our error."""
    stream = CompletionStream(hide_usage=False)
    first = _chunk("a")
    assert stream.feed(first + b'data: {"id":') == first
    assert stream.feed(b'"x","choices":[]}\n') == b""
    assert stream.feed(b"\n") == b'data: {"id":"x","choices":[]}\n\n'


def test_a_null_usage_that_we_caused_is_taken_out_again() -> None:
    """`"usage":null` of every chunk is there only because usage was forced."""
    forced = b'data: {"id":"x","choices":[{"delta":{"content":"a"}}],"usage":null}\n\n'
    plain = b'data: {"id":"x","choices":[{"delta":{"content":"a"}}]}\n\n'
    assert _run([forced, forced], hide_usage=True)[0] == plain * 2
    assert _run([forced, forced], hide_usage=False)[0] == forced * 2


def test_usage_beside_choices_is_read_and_left_alone() -> None:
    """Some providers put usage into the last content chunk; it stays where it is."""
    last = _chunk("", "stop", usage=USAGE)
    out, stream = _run([_chunk("a") + last], hide_usage=True)
    assert out == _chunk("a") + last
    assert stream.usage == Usage(3, 5, cached_input_tokens=2)


def test_an_error_event_is_the_last_one() -> None:
    """Nothing follows an error, not even [DONE]."""
    error = b'data: {"error":{"message":"no","code":500}}\n\n'
    out, stream = _run([_chunk("a") + error + _chunk("b") + DONE], hide_usage=True)
    assert out == _chunk("a") + error
    assert stream.error == b'{"message":"no","code":500}'
    assert not stream.done


def test_an_end_without_a_reason_is_not_whole() -> None:
    """A body that just ends has not said why: the stream was cut."""
    out, stream = _run([_chunk("a") + b'data: {"id":"x","cho'], hide_usage=True)
    assert out.startswith(_chunk("a"))
    assert not stream.finished


def test_a_forgotten_done_and_a_missing_last_blank_line_are_forgiven() -> None:
    """The reason to finish makes a stream whole; `[DONE]` is then ours to add."""
    wire = _chunk("a") + _chunk("", "stop").rstrip(b"\n")
    out, stream = _run([wire], hide_usage=True)
    assert out == wire + b"\n\n"
    assert stream.finished
    assert not stream.done


def test_nothing_after_done_is_forwarded() -> None:
    """A second [DONE] or a late event is dropped."""
    out, stream = _run([REFERENCE + DONE + DONE, _chunk("late")], hide_usage=True)
    assert out == REFERENCE
    assert stream.done


def test_spelling_with_blanks_is_understood() -> None:
    """Providers that write JSON with blanks are read the same way."""
    usage = b'data: {"choices": [], "usage": {"prompt_tokens": 1, "completion_tokens": 2}}\n\n'
    finish = b'data: {"choices": [{"finish_reason": "stop"}]}\n\n'
    _, stream = _run([_chunk("a"), finish, usage, DONE], hide_usage=True)
    assert stream.finished
    assert stream.usage == Usage(1, 2)


def test_an_endless_event_is_refused() -> None:
    """The memory of one stream is bounded."""
    stream = CompletionStream(hide_usage=False, max_event_bytes=100)
    with pytest.raises(StreamBroken):
        stream.feed(b"data: " + b"x" * 200)
