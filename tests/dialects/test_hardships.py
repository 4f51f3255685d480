"""Every provider's stream under every hardship, with the outcome that each must have."""

from __future__ import annotations

import itertools
import json

import pytest
from tests.dialects.hardships import (
    ODD_TEXT,
    USAGE_CASES,
    error_events,
    payload_of,
    scanner_of,
    stream_of,
    with_payload,
    with_usage,
)
from tests.dialects.stream_oddities import check_line_ends_and_splits, meaning, only_error, read
from tests.fakes.strict.scenarios import OSLO, REPLIES, Reply, ToolCall

from tidegate.dialects import neutral as n
from tidegate.dialects.passing import Scanner, StreamBroken
from tidegate.dialects.usage import Usage
from tidegate.dialects.wire import AnswerContext
from tidegate.dialects.wires import BACKS, WIRES

CONTEXT = AnswerContext(id="1", created_s=1, model="m")
_EACH_BACK = pytest.mark.parametrize("name", list(BACKS))
_EACH_LINES = pytest.mark.parametrize("name", [name for name in BACKS if name != "bedrock"])
_EACH_FRONT = pytest.mark.parametrize("name", list(WIRES))
_ODD = Reply(ODD_TEXT)


def _finishes(events: list[n.Event]) -> list[n.Finish]:
    return [event for event in events if isinstance(event, n.Finish)]


# --- what a stream is made of -------------------------------------------------------------------


@_EACH_LINES
def test_signs_that_look_like_structure_are_text(name: str) -> None:
    """U+2028 and its kin, `[DONE]`, `"usage":{`: with any line end, cut at every byte."""
    stream = b"".join(stream_of(name, _ODD))
    check_line_ends_and_splits(BACKS[name], stream)  # type: ignore[arg-type]  # it reads only
    texts = [e.text for e in meaning(read(BACKS[name], [stream])) if isinstance(e, n.TextDelta)]
    assert texts == [ODD_TEXT]


@_EACH_BACK
@pytest.mark.parametrize("bad", [b'{"a":"\xff"}', b'{"\xc3":1}', b'{"x":', b"[1]", b"\xef\xbb"])
def test_an_event_that_is_none_ends_the_stream(name: str, bad: bytes) -> None:
    """No UTF-8 (even where nobody looks), no JSON, JSON of another kind: one error, ours."""
    events = stream_of(name, REPLIES["text"])
    half = len(events) // 2 + 1
    broken = [*events[:half], with_payload(name, events[half], bad), *events[half:]]
    found = read(BACKS[name], broken)
    assert only_error(found).status == 502
    assert isinstance(found[-1], n.StreamError)
    assert found[-1].broken
    assert any(isinstance(event, n.TextDelta) for event in found), "what came before it counts"
    assert not _finishes(found)


@_EACH_BACK
def test_a_stream_that_comes_twice_is_read_once(name: str) -> None:
    """Nothing counts behind the end: no second `[DONE]`, no text, no call, no finish."""
    events = stream_of(name, Reply("Hi.", calls=(OSLO,)))
    once = meaning(read(BACKS[name], events))
    for more in (events, events[-1:], [b"data: [DONE]\n\n"] if name != "bedrock" else events[-2:]):
        twice = meaning(read(BACKS[name], [*events, *more]))
        assert _finishes(twice) == _finishes(once)
        assert [e for e in twice if not isinstance(e, n.UsageEvent)] == [
            e for e in once if not isinstance(e, n.UsageEvent)
        ]


@_EACH_BACK
def test_a_stream_without_its_terminator_is_whole_once_it_said_why(name: str) -> None:
    """What comes behind the finish may be missing or cut: usage is then unknown, not wrong."""
    events = stream_of(name, REPLIES["text"])
    decoder = BACKS[name].stream_decoder()
    count = 0
    while not decoder.finished:
        decoder.feed(events[count])
        count += 1
    for cut in (b"", *[event[: len(event) // 2] for event in events[count : count + 1]]):
        found = read(BACKS[name], [*events[:count], cut])
        assert [finish.reason for finish in _finishes(found)] == ["stop"]
        assert not any(isinstance(event, n.StreamError) for event in found)


@_EACH_BACK
@pytest.mark.parametrize("place", [0, 2])
def test_an_error_that_the_provider_tells_is_its_own(name: str, place: int) -> None:
    """As the first event behind a 200 or amid the answer: told as it was, and the last event."""
    events = stream_of(name, REPLIES["text"])
    for error in error_events(name):
        found = read(BACKS[name], [*events[:place], error, *events[place:]])
        assert only_error(found).message in ("busy", "b")
        assert isinstance(found[-1], n.StreamError)
        assert not found[-1].broken
        if place == 0:
            assert all(isinstance(event, (n.Start, n.StreamError)) for event in found)


@_EACH_BACK
@USAGE_CASES
def test_usage_is_what_was_told_or_unknown(
    name: str, change: tuple[int, int] | None, expected: Usage | None
) -> None:
    """Missing and senseless usage is none, zero is zero; the answer is whole all the same."""
    events = [with_usage(name, event, change) for event in stream_of(name, REPLIES["text"])]
    if name == "anthropic":  # it tells the input at the start as well; take that away
        start = json.loads(payload_of(name, events[0]))
        start["message"].pop("usage")
        events[0] = with_payload(name, events[0], json.dumps(start).encode())
    decoder = BACKS[name].stream_decoder()
    found = decoder.feed(b"".join(events)) + decoder.end()
    assert decoder.usage == expected
    assert any(isinstance(e, (n.UsageEvent, n.Start)) and e.usage for e in found) == bool(expected)
    assert decoder.finished
    assert not any(isinstance(event, n.StreamError) for event in found)


@_EACH_BACK
def test_the_last_usage_counts(name: str) -> None:
    """Told twice, it is not added up."""
    events = stream_of(name, REPLIES["text"])
    told = [at for at, e in enumerate(events) if with_usage(name, e, (1, 1)) != e]
    last = events[told[-1]]
    first, second = with_usage(name, last, (3, 4)), with_usage(name, last, (5, 6))
    decoder = BACKS[name].stream_decoder()
    decoder.feed(b"".join([*events[: told[-1]], first, second]))
    if name in ("responses", "cohere"):  # the event that tells it ends the stream
        assert decoder.usage == Usage(3, 4)
    else:
        assert decoder.usage is not None
        assert decoder.usage.output_tokens == 6


# --- arguments that are no JSON -----------------------------------------------------------------

_CUT_CALL = ToolCall("call_cut", "get_weather", {}, ('{"city": "Os', "lo"))


@pytest.mark.parametrize("front", list(WIRES))
@pytest.mark.parametrize("name", [name for name in BACKS if name != "gemini"])
def test_arguments_that_are_no_json_have_one_of_two_ends(name: str, front: str) -> None:
    """Where the caller's dialect has text for them they arrive as they are; else it is an error.

    Gemini sends arguments as objects: it has no way to send others.
    """
    events = stream_of(name, Reply(calls=(_CUT_CALL,)))
    encoder = WIRES[front].stream_encoder(CONTEXT)
    written = encoder.feed(read(BACKS[name], events)) + encoder.end()
    found = read(WIRES[front], [written])
    if front in ("openai", "responses"):
        assert n.ToolDelta(0, '{"city": "Oslo') in meaning(found)
        assert not encoder.failed
    else:
        assert encoder.failed
        assert "arguments" in only_error(found).message


@pytest.mark.parametrize("front", list(WIRES))
@pytest.mark.parametrize("name", list(BACKS))
def test_arguments_on_several_lines_arrive(name: str, front: str) -> None:
    """A model may write its JSON on several lines; no event of the caller's is torn by that."""
    call = ToolCall("c", "f", {"a": [1, "x\ny"]}, ('{\n  "a":\r\n [1, "x\\ny"]', "\n}\n"))
    encoder = WIRES[front].stream_encoder(CONTEXT)
    written = encoder.feed(read(BACKS[name], stream_of(name, Reply(calls=(call,))))) + encoder.end()
    found = meaning(read(WIRES[front], [written]))
    arguments = [event.arguments for event in found if isinstance(event, n.ToolDelta)]
    assert [json.loads(text) for text in arguments] == [call.arguments]


@_EACH_BACK
def test_a_call_without_a_name_ends_the_stream(name: str) -> None:
    """No caller could run it."""
    call = ToolCall("c", "", {"a": 1}, ('{"a": 1}',))
    found = read(BACKS[name], stream_of(name, Reply("Hi.", calls=(call,))))
    assert "without a name" in only_error(found).message
    assert not _finishes(found)


# --- passed on to a caller of the same dialect --------------------------------------------------


def _passed(scanner: Scanner, pieces: list[bytes]) -> bytes:
    out = b"".join([scanner.feed(piece) for piece in pieces])
    return out if scanner.done or scanner.error is not None else out + scanner.end()


@_EACH_FRONT
@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"], ids=["LF", "CRLF", "CR"])
def test_what_is_passed_on_is_what_came(name: str, end: bytes) -> None:
    """Byte for byte, with any line end, cut at every byte; usage and finish are seen."""
    stream = b"".join(stream_of(name, _ODD)).replace(b"\n", end)
    for cut in range(len(stream) + 1):
        scanner = scanner_of(name)
        out = _passed(scanner, [stream[:cut], stream[cut:]]) + scanner.terminator()
        assert out.replace(end, b"\n").rstrip(b"\n") == stream.replace(end, b"\n").rstrip(b"\n")
        assert scanner.finished
        assert scanner.usage is not None
        assert scanner.usage.output_tokens == 12


@_EACH_FRONT
def test_a_stream_that_is_cut_never_looks_whole(name: str) -> None:
    """At whatever byte: it is not finished, or all that its finish says has come.

    And half an event is not passed on: it would stand in front of our error event.
    """
    events = stream_of(name, REPLIES["image"])
    stream = b"".join(events)
    decoder, finished_at = BACKS[name].stream_decoder(), 0
    while not decoder.finished:
        decoder.feed(stream[finished_at : finished_at + 1])
        finished_at += 1
    for cut in range(finished_at - 2):  # without its blank line an event may be whole
        scanner = scanner_of(name)
        out = _passed(scanner, [stream[:cut]])
        assert not scanner.finished
        assert not scanner.done
        rest = out.removesuffix(b"\n\n")
        assert rest == b"" or any(rest.endswith(event[:-2]) for event in events)


@_EACH_FRONT
def test_an_event_that_cannot_be_read_is_not_passed_on(name: str) -> None:
    """As the first one: another attempt may follow. Where it says why the answer ended: broken."""
    scanner = scanner_of(name)
    with pytest.raises(StreamBroken):
        scanner.feed(b"data: <html>\n\n")
    assert not scanner.started
    if name == "openai":
        return  # what is no event of ours there is for the caller to judge
    events = stream_of(name, REPLIES["text"])
    sign = {"anthropic": "message_delta", "responses": "response.completed"}.get(name)
    body = b'{"type":"%b","x":' % (sign or "").encode() + b'"finishReason"'
    scanner = scanner_of(name)
    with pytest.raises(StreamBroken) as broken:
        scanner.feed(b"".join(events[:5]) + b"data: " + body + b"\n\n")
    assert b"".join(events[:5]).endswith(broken.value.whole)
    assert broken.value.whole
    assert not scanner.finished


@_EACH_FRONT
def test_an_error_first_is_seen_before_anything_is_passed_on(name: str) -> None:
    """With or without a byte order mark and comments in front: another attempt may follow."""
    for error in error_events(name):
        for head in (b"", b"\xef\xbb\xbf", b": hello\n\nretry: 5\n\n"):
            scanner = scanner_of(name)
            scanner.feed(head + error)
            assert scanner.error is not None
            assert not scanner.started
            assert not scanner.finished


@pytest.mark.parametrize("name", ["anthropic", "gemini", "responses"])
def test_what_is_held_back_is_bounded(name: str) -> None:
    """Before the first content and behind the finish events are kept, but not without end."""
    scanner = scanner_of(name)
    scanner._max_event_bytes = 2000
    comments = itertools.repeat(b": still waiting for the model to say a word\n\n")
    with pytest.raises(StreamBroken):
        _passed(scanner, list(itertools.islice(comments, 100)))
    scanner = scanner_of(name)
    scanner._max_event_bytes = 20_000
    events = stream_of(name, REPLIES["text"])
    held = events[:-1] if name == "anthropic" else events  # its last event ends all
    scanner.feed(b"".join(held))
    assert scanner.finished
    if not scanner.done:
        with pytest.raises(StreamBroken):
            _passed(scanner, list(itertools.islice(comments, 1000)))
    assert scanner.terminator()
