"""Streams of every provider, as the strict ones write them, cut and broken in every way."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.dialects.stream_oddities import (
    check_cap,
    check_cuts,
    check_line_ends_and_splits,
    check_unreadable,
    meaning,
    only_error,
    read,
)
from tests.fakes.strict.bedrock_converse import event_frame, frame
from tests.fakes.strict.scenarios import (
    CACHED_TOKENS,
    INPUT_TOKENS,
    OUTPUT_TOKENS,
    REPLIES,
    Reply,
)
from tests.fakes.strict.server import WIRES as STRICT_WIRES
from tests.fakes.strict.wire import Asked, data_event

from tidegate.dialects import neutral as n
from tidegate.dialects.wires import BACKS

STRICT = {wire.name: wire for wire in STRICT_WIRES}
GEMINI, BEDROCK, COHERE = BACKS["gemini"], BACKS["bedrock"], BACKS["cohere"]
_EACH_BACK = pytest.mark.parametrize("name", list(STRICT))


def events_of(name: str, reply: Reply) -> list[bytes]:
    """Return a provider's whole stream, event by event."""
    wire = STRICT[name]
    asked = Asked("m", stream=True)
    usage = {"stream_options": {"include_usage": True}}
    return [*wire.head(asked), *wire.content(reply), *wire.tail(reply, usage)]


@_EACH_BACK
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_where_a_stream_is_cut_says_nothing(name: str, data: st.DataObject) -> None:
    """Any division into pieces means what the whole means."""
    reply = data.draw(st.sampled_from(list(REPLIES.values())))
    stream = b"".join(events_of(name, reply))
    places = data.draw(st.lists(st.integers(0, len(stream)), max_size=12).map(sorted))
    ends = [*places, len(stream)]
    pieces = [stream[a:b] for a, b in zip([0, *places], ends, strict=True)]
    back = BACKS[name]
    assert read(back, pieces) == read(back, [stream])


@_EACH_BACK
@pytest.mark.parametrize("scenario", list(REPLIES))
def test_a_stream_means_what_was_said(name: str, scenario: str) -> None:
    """Text, calls, finish and usage come out, whatever the wire."""
    reply = REPLIES[scenario]
    events = meaning(read(BACKS[name], events_of(name, reply)))
    texts = [event.text for event in events if isinstance(event, n.TextDelta)]
    assert texts == ([reply.text] if reply.text else [])
    starts = [event for event in events if isinstance(event, n.ToolStart)]
    assert [start.name for start in starts] == [call.name for call in reply.calls]
    arguments = [json.loads(e.arguments) for e in events if isinstance(e, n.ToolDelta)]
    assert arguments == [call.arguments for call in reply.calls]
    usage = [event.usage for event in events if isinstance(event, n.UsageEvent)][-1]
    assert (usage.input_tokens, usage.output_tokens, usage.cached_input_tokens) == (
        INPUT_TOKENS,
        OUTPUT_TOKENS,
        CACHED_TOKENS,
    )
    finish = next(event for event in events if isinstance(event, n.Finish))
    assert finish.reason == ("tool_use" if reply.calls else "stop")


@_EACH_BACK
@pytest.mark.parametrize("scenario", ["text", "tools", "reasoning"])
def test_a_stream_that_stops_is_an_error(name: str, scenario: str) -> None:
    """Whatever event is the last that came, short of the one that says why it ended."""
    events = events_of(name, REPLIES[scenario])
    decoder = BACKS[name].stream_decoder()
    for count, event in enumerate(events):
        if count:
            assert only_error(read(BACKS[name], events[:count])).status == 502
        decoder.feed(event)
        if decoder.finished:
            return
    raise AssertionError("it never finished")


# --- Gemini and Cohere: event streams of text --------------------------------------------------

_LINES = pytest.mark.parametrize("name", ["gemini", "cohere"])


@_LINES
def test_line_ends_and_splits_mean_nothing(name: str) -> None:
    """CR, LF and CRLF, cut at every byte."""
    stream = b"".join(events_of(name, REPLIES["text"]))
    check_line_ends_and_splits(BACKS[name], stream)  # type: ignore[arg-type]  # it reads only


@_LINES
def test_what_cannot_be_read_ends_the_stream(name: str) -> None:
    """No JSON, no UTF-8, JSON of another kind, too deep, too long."""
    events = events_of(name, REPLIES["text"])
    check_unreadable(BACKS[name], events[0])  # type: ignore[arg-type]  # it reads only
    check_cap(BACKS[name], events[0])  # type: ignore[arg-type]  # it reads only


@_LINES
def test_a_cut_at_any_byte_is_an_error(name: str) -> None:
    """Before the event that finishes is whole."""
    events = events_of(name, REPLIES["image"])
    whole = b"".join(events)
    finished_at = len(whole) - len(events[-1])
    check_cuts(BACKS[name], whole, finished_at)  # type: ignore[arg-type]  # it reads only


def test_gemini_tells_an_error_in_the_stream() -> None:
    """With the status that it holds; nothing that follows counts."""
    error = {"error": {"code": 429, "message": "slow down", "status": "RESOURCE_EXHAUSTED"}}
    events = events_of("gemini", REPLIES["text"])
    found = only_error(read(GEMINI, [events[0], data_event(error), *events]))
    assert (found.status, found.message) == (429, "slow down")


def test_gemini_refuses_a_prompt() -> None:
    """A blocked prompt has no candidate: the answer is a refusal."""
    blocked = {
        "promptFeedback": {"blockReason": "SAFETY"},
        "usageMetadata": {"promptTokenCount": 4},
    }
    events = read(GEMINI, [data_event(blocked)])
    finish = next(event for event in events if isinstance(event, n.Finish))
    assert finish.reason == "refusal"


def test_cohere_ends_in_an_error() -> None:
    """`message-end` may say that generation failed."""
    events = events_of("cohere", REPLIES["text"])[:-1]
    end = {"type": "message-end", "delta": {"finish_reason": "ERROR", "error": "it broke"}}
    assert only_error(read(COHERE, [*events, data_event(end, "message-end")])).message == "it broke"


def test_cohere_without_usage_is_whole() -> None:
    """What it took is then unknown, not wrong."""
    events = events_of("cohere", REPLIES["text"])[:-1]
    end = {"type": "message-end", "delta": {"finish_reason": "MAX_TOKENS"}}
    decoder = COHERE.stream_decoder()
    found = decoder.feed(b"".join([*events, data_event(end, "message-end")])) + decoder.end()
    assert (decoder.usage, decoder.finished) == (None, True)
    assert n.Finish("length") in found


# --- Bedrock: binary frames --------------------------------------------------------------------


def test_frames_are_cut_at_every_byte() -> None:
    """Two pieces at every place, and single bytes."""
    stream = b"".join(events_of("bedrock", REPLIES["reasoning"]))
    expected = read(BEDROCK, [stream])
    for at in range(len(stream) + 1):
        assert read(BEDROCK, [stream[:at], stream[at:]]) == expected
    assert read(BEDROCK, [stream[at : at + 1] for at in range(len(stream))]) == expected


@settings(max_examples=200, deadline=None)
@given(at=st.integers(0), bit=st.integers(0, 7))
def test_a_flipped_bit_is_found(at: int, bit: int) -> None:
    """Both checksums are looked at: a broken frame ends the stream in one error."""
    first, *others = events_of("bedrock", REPLIES["image"])
    broken = bytearray(b"".join(others))
    broken[at % len(broken)] ^= 1 << bit
    assert only_error(read(BEDROCK, [first, bytes(broken)])).status == 502


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_end_in_one_error(junk: bytes) -> None:
    """Nothing that an upstream sends makes the reader raise."""
    first = events_of("bedrock", REPLIES["text"])[0]
    assert only_error(read(BEDROCK, [first, junk])).status == 502


@pytest.mark.parametrize(
    ("exception", "status"),
    [
        ("throttlingException", 429),
        ("validationException", 400),
        ("modelStreamErrorException", 502),
        ("internalServerException", 500),
        ("serviceUnavailableException", 503),
        ("somethingNewException", 502),
    ],
)
def test_an_exception_has_the_status_it_stands_for(exception: str, status: int) -> None:
    """In Bedrock's own words; nothing follows it."""
    events = events_of("bedrock", REPLIES["text"])
    headers = {":message-type": "exception", ":exception-type": exception}
    broken = frame(headers, b'{"message":"too much"}')
    found = only_error(read(BEDROCK, [*events[:2], broken, *events[2:]]))
    assert (found.status, found.message, found.code) == (status, "too much", exception)


def test_unknown_events_and_lost_usage_do_no_harm() -> None:
    """New kinds of events are passed over; without `metadata` the usage is unknown."""
    events = events_of("bedrock", REPLIES["text"])
    odd = event_frame("somethingNew", {"a": {"b": [1]}})
    decoder = BEDROCK.stream_decoder()
    found = decoder.feed(b"".join([events[0], odd, *events[1:-1]])) + decoder.end()
    assert decoder.usage is None
    assert n.Finish("stop") in found
    assert not any(isinstance(event, n.StreamError) for event in found)


def test_a_frame_over_the_cap_is_refused_by_its_length() -> None:
    """Nothing of it is kept."""
    big = event_frame("contentBlockDelta", {"delta": {"text": "x" * 5000}})
    assert only_error(read(BEDROCK, [big[:20]], max_event_bytes=1000)).status == 502
