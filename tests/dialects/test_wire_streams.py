"""Streams of both dialects, as they are and as they should not be."""

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

from tidegate.dialects import neutral as n
from tidegate.dialects.envelope import is_sealed
from tidegate.dialects.usage import Usage
from tidegate.dialects.wire import AnswerContext
from tidegate.dialects.wires import WIRES

CHAT, MESSAGES = WIRES["openai"], WIRES["anthropic"]
CONTEXT = AnswerContext(id="1", created_s=1, model="m")
ODD_TEXT = 'a\u2028b\u2029c\u0085d\x0be [DONE] "usage":{ \\ é 漢 😀'


def _data(*objects: object) -> bytes:
    return b"".join(
        [b"data: " + json.dumps(item, ensure_ascii=False).encode() + b"\n\n" for item in objects]
    )


def _chunk(delta: object = None, finish: str | None = None, **more: object) -> object:
    choice = {"index": 0, "delta": delta or {}, "finish_reason": finish}
    return {"id": "x", "model": "up", "created": 5, "choices": [choice], **more}


def _call(**fields: object) -> object:
    return _chunk({"tool_calls": [fields]})


DONE = b"data: [DONE]\n\n"
USAGE = {"prompt_tokens": 3, "completion_tokens": 5, "prompt_tokens_details": {"cached_tokens": 2}}
CHAT_HEAD = _data(_chunk({"role": "assistant", "content": ""}), _chunk({"content": ODD_TEXT}))
CHAT_FINISH = _data(_chunk({}, "stop"))
CHAT_STREAM = CHAT_HEAD + CHAT_FINISH + _data({"id": "x", "choices": [], "usage": USAGE}) + DONE


def _named(kind: str, **fields: object) -> bytes:
    body = json.dumps({"type": kind, **fields}, ensure_ascii=False).encode()
    return b"event: " + kind.encode() + b"\ndata: " + body + b"\n\n"


def _block(index: int, block: object, *deltas: object) -> bytes:
    start = _named("content_block_start", index=index, content_block=block)
    pieces = [_named("content_block_delta", index=index, delta=delta) for delta in deltas]
    return start + b"".join(pieces) + _named("content_block_stop", index=index)


START = _named("message_start", message={"id": "x", "model": "up", "usage": {"input_tokens": 1}})
MESSAGES_HEAD = START + _block(
    0, {"type": "text", "text": ""}, {"type": "text_delta", "text": ODD_TEXT}
)
MESSAGES_FINISH = _named(
    "message_delta",
    delta={"stop_reason": "end_turn", "stop_sequence": None},
    usage={"output_tokens": 5, "cache_read_input_tokens": 2},
)
MESSAGES_STREAM = MESSAGES_HEAD + MESSAGES_FINISH + _named("message_stop")

STREAMS = pytest.mark.parametrize(
    ("wire", "head", "finish", "stream"),
    [
        (CHAT, CHAT_HEAD, CHAT_FINISH, CHAT_STREAM),
        (MESSAGES, MESSAGES_HEAD, MESSAGES_FINISH, MESSAGES_STREAM),
    ],
    ids=["openai", "anthropic"],
)


@STREAMS
def test_a_stream_means_the_same_however_it_is_cut(wire, head, finish, stream) -> None:
    """Splits at every byte, CR, LF and CRLF, and odd line ends within text change nothing."""
    check_line_ends_and_splits(wire, stream)
    events = meaning(read(wire, [stream]))
    assert events[1] == n.TextDelta(ODD_TEXT)
    assert n.Finish("stop") in events
    decoder = wire.stream_decoder()
    decoder.feed(stream)
    assert decoder.usage == Usage(3, 5, cached_input_tokens=2)
    assert decoder.finished
    assert decoder.done


@STREAMS
def test_a_stream_that_never_finished_ends_in_an_error(wire, head, finish, stream) -> None:
    """A cut before the finish reason is an error; a missing terminator behind it is none."""
    check_cuts(wire, stream, len(head))
    assert not any(isinstance(e, n.StreamError) for e in read(wire, [head + finish]))
    assert not any(isinstance(e, n.StreamError) for e in read(wire, [(head + finish)[:-2]]))


@STREAMS
def test_what_cannot_be_read_ends_the_stream(wire, head, finish, stream) -> None:
    """Broken JSON, broken UTF-8, deep nesting: one error, and nothing behind it."""
    check_unreadable(wire, head)


@STREAMS
def test_an_event_over_the_cap_ends_the_stream(wire, head, finish, stream) -> None:
    """An upstream that never ends its event cannot fill the memory."""
    check_cap(wire, head)


@STREAMS
def test_nothing_counts_behind_the_terminator(wire, head, finish, stream) -> None:
    """A second terminator, or text behind the first, is not handed on."""
    assert read(wire, [stream + head + stream]) == read(wire, [stream])
    assert read(wire, [stream, stream]) == read(wire, [stream])


@STREAMS
def test_comments_pings_and_a_byte_order_mark_mean_nothing(wire, head, finish, stream) -> None:
    """What keeps a connection open is no part of the answer."""
    noisy = stream.replace(b"\n\n", b"\n\n: keep-alive\n\nretry: 5\n\n")
    assert read(wire, [b"\xef\xbb\xbf" + noisy]) == read(wire, [stream])


@STREAMS
@settings(max_examples=200, deadline=None)
@given(noise=st.binary(max_size=200), at=st.integers(0, 100))
def test_no_bytes_raise(wire, head, finish, stream, noise: bytes, at: int) -> None:
    """Whatever an upstream sends, the outcome is events, at most one error, and that last."""
    events = read(wire, [head[:at] + noise, noise + finish])
    errors = [event for event in events if isinstance(event, n.StreamError)]
    assert not errors or events[-1] is errors[0]
    assert len(errors) <= 1


@pytest.mark.parametrize(
    ("wire", "wire_bytes", "status", "message"),
    [
        (CHAT, _data({"error": {"message": "busy", "code": 429}}), 429, "busy"),
        (CHAT, _data({"error": "plain"}), 502, "plain"),
        (CHAT, b'event: error\ndata: {"message":"bare"}\n\n', 502, "bare"),
        (CHAT, _data({"object": "error", "message": "old", "code": 400}), 400, "old"),
        (MESSAGES, _named("error", error={"type": "overloaded_error", "message": "b"}), 529, "b"),
        (MESSAGES, b'event: error\ndata: {"error":{"message":"untyped"}}\n\n', 502, "untyped"),
    ],
)
def test_an_error_as_the_first_event_is_an_error(wire, wire_bytes, status, message) -> None:
    """An upstream that fails behind its 200 is told apart from one that answers."""
    events = read(wire, [wire_bytes])
    assert len(events) == 1
    error = only_error(events)
    assert (error.status, error.message) == (status, message)


@pytest.mark.parametrize(
    ("usages", "expected"),
    [
        ([], None),
        ([{"prompt_tokens": 0, "completion_tokens": 0}], Usage()),
        ([USAGE, {"prompt_tokens": 3, "completion_tokens": 9}], Usage(3, 9)),
        ([{"prompt_tokens": -1, "completion_tokens": 1}], None),
        ([{"prompt_tokens": "many"}], None),
    ],
    ids=["missing", "zero", "twice", "negative", "malformed"],
)
def test_odd_usage_of_a_chat_stream(usages, expected) -> None:
    """Missing and malformed usage is none, zero is zero, the last one told counts."""
    decoder = CHAT.stream_decoder()
    decoder.feed(CHAT_HEAD + CHAT_FINISH)
    for usage in usages:
        decoder.feed(_data({"id": "x", "choices": [], "usage": usage}))
    decoder.feed(DONE)
    assert decoder.usage == expected
    assert decoder.finished


@pytest.mark.parametrize(
    "chunks",
    [
        [
            _call(index=0, id="a", type="function", function={"name": "f", "arguments": ""}),
            _call(index=0, function={"arguments": '{"x"'}),
            _call(index=0, function={"arguments": ":1}"}),
            _call(index=1, id="b", type="function", function={"name": "g", "arguments": "{}"}),
        ],
        [  # no index at all
            _call(id="a", function={"name": "f", "arguments": '{"x":1}'}),
            _call(id="b", function={"name": "g", "arguments": "{}"}),
        ],
        [  # one index for all
            _call(index=0, id="a", function={"name": "f", "arguments": '{"x":1}'}),
            _call(index=0, id="b", function={"name": "g", "arguments": "{}"}),
        ],
        [  # the name late, the arguments an object
            _call(index=0, id="a"),
            _call(index=0, function={"name": "f", "arguments": None}),
            _call(index=0, function={"arguments": {"x": 1}}),
            _call(index=1, id="b", function={"name": "g", "arguments": {}}),
        ],
    ],
    ids=["usual", "no index", "one index", "late and loose"],
)
def test_calls_are_told_apart_in_every_spelling(chunks) -> None:
    """Two calls are two calls, however a compatible server numbers them."""
    events = meaning(read(CHAT, [_data(*chunks, _chunk({}, "stop")) + DONE]))
    starts = [(e.call, e.id, e.name) for e in events if isinstance(e, n.ToolStart)]
    pieces = {e.call: e.arguments.replace(" ", "") for e in events if isinstance(e, n.ToolDelta)}
    assert starts == [(0, "a", "f"), (1, "b", "g")]
    assert pieces == {0: '{"x":1}', 1: "{}"}
    assert events[-1] == n.Finish("tool_use")


def test_a_call_without_a_name_is_an_error() -> None:
    """No caller could run it."""
    stream = _data(_call(index=0, id="a", function={"arguments": "{}"}), _chunk({}, "tool_calls"))
    assert only_error(read(CHAT, [stream + DONE])).status == 502


def _through_messages(chunks: bytes) -> list[n.Event]:
    encoder = MESSAGES.stream_encoder(CONTEXT)
    out = encoder.feed(read(CHAT, [chunks]))
    return read(MESSAGES, [out + encoder.end()])


def test_mixed_pieces_of_two_calls_become_two_blocks() -> None:
    """A dialect whose blocks follow each other gets each call whole."""
    chunks = _data(
        _call(index=0, id="a", function={"name": "f", "arguments": '{"x":'}),
        _call(index=1, id="b", function={"name": "g", "arguments": '{"y":'}),
        _call(index=0, function={"arguments": "1}"}),
        _call(index=1, function={"arguments": "2}"}),
        _chunk({}, "tool_calls"),
    )
    events = meaning(_through_messages(chunks + DONE))
    assert events[1:-2] == [
        n.ToolStart(0, "a", "f"),
        n.ToolDelta(0, '{"x":1}'),
        n.ToolStart(1, "b", "g"),
        n.ToolDelta(1, '{"y":2}'),
    ]


@pytest.mark.parametrize(("finish", "fails"), [("tool_calls", True), ("length", False)])
def test_arguments_that_are_no_json_are_never_a_call(finish: str, fails: bool) -> None:
    """They end in an error, or in the stop for length that cut them."""
    chunks = _data(
        _call(index=0, id="a", function={"name": "f", "arguments": '{"x": tru'}),
        _chunk({}, finish),
    )
    events = _through_messages(chunks + DONE)
    if fails:
        assert only_error(events).status == 500
    else:
        assert events[-1] == n.Finish("length")


# --- decode(encode(x)) == x -----------------------------------------------------------------

_words = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20)
_json_pieces = st.sampled_from(
    [["{}"], ['{"a"', ": 1", "}"], ['{"é":', ' ["\u2028"]}'], ['{"a":{}}']]
)


@st.composite
def _streams(draw: st.DrawFn) -> list[n.Event]:
    events: list[n.Event] = [n.Start("id", "m", 1)]
    calls = 0
    for _ in range(draw(st.integers(0, 5))):
        kind = draw(st.sampled_from(["text", "thinking", "signed", "redacted", "tool"]))
        if kind == "text":
            events += [n.TextDelta(word) for word in draw(st.lists(_words, min_size=1, max_size=3))]
        elif kind in ("thinking", "signed"):
            events += [n.ThinkingDelta(word) for word in draw(st.lists(_words, min_size=1))]
            if kind == "signed":
                events.append(n.SignatureDelta("s==" + draw(_words), origin="anthropic"))
        elif kind == "redacted":
            events.append(n.SignatureDelta("", draw(_words), origin="anthropic"))
        else:
            events.append(n.ToolStart(calls, f"call_{calls}", "f"))
            events += [n.ToolDelta(calls, piece) for piece in draw(_json_pieces)]
            calls += 1
        events.append(n.PartEnd())
    reason = "tool_use" if calls else draw(st.sampled_from(["stop", "length", "refusal"]))
    usage = n.UsageEvent(Usage(9, 4, 2, 0, 1))
    return [*events, n.Finish(reason), usage]


@pytest.mark.parametrize("wire", [CHAT, MESSAGES], ids=["openai", "anthropic"])
@settings(max_examples=300, deadline=None)
@given(events=_streams(), cut=st.integers(0, 400))
def test_a_stream_survives_being_written_and_read(wire, events, cut: int) -> None:
    """What a stream says is the same after encoding and decoding: signatures byte for byte."""
    encoder = wire.stream_encoder(CONTEXT)
    wire_bytes = encoder.feed(events) + encoder.end()
    read_back = read(wire, [wire_bytes[:cut], wire_bytes[cut:]])
    assert not encoder.failed

    def content(said: list[n.Event]) -> list[n.Event]:
        skipped = (n.Start, n.UsageEvent, n.Finish)
        # Thinking that no one signed says so: it is no one's own.
        own = [e for e in said if not (isinstance(e, n.SignatureDelta) and is_sealed(e.signature))]
        return [event for event in meaning(own) if not isinstance(event, skipped)]

    assert content(read_back) == content(events)
    assert [e for e in read_back if isinstance(e, n.Finish)] == [
        e for e in events if isinstance(e, n.Finish)
    ]
    assert [e for e in read_back if isinstance(e, n.UsageEvent)] == [events[-1]]
