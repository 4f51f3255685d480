"""The relay's view of a translated stream, and the answers behind it."""

from __future__ import annotations

import json

import pytest

from tidegate.dialects import neutral as n
from tidegate.dialects.anthropic.errors import limit_headers
from tidegate.dialects.translate import StreamTranslation, custom_tools, unwrap_answer
from tidegate.dialects.usage import Usage
from tidegate.dialects.wire import AnswerContext, UnreadableAnswer
from tidegate.dialects.wires import WIRES

CHAT, MESSAGES = WIRES["openai"], WIRES["anthropic"]
CONTEXT = AnswerContext(id="1", created_s=1, model="m")


def _data(item: object) -> bytes:
    return b"data: " + json.dumps(item).encode() + b"\n\n"


def _chunk(delta: object, finish: str | None = None) -> bytes:
    return _data({"id": "x", "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]})


def _translation(names: frozenset[str] = frozenset()) -> StreamTranslation:
    return StreamTranslation(CHAT.stream_decoder(), MESSAGES.stream_encoder(CONTEXT), names)


def test_a_first_event_that_is_an_error_leaves_the_caller_untouched() -> None:
    """No byte is given out, so that another attempt may follow."""
    stream = _translation()
    assert stream.feed(_data({"error": {"message": "busy", "code": 503}})) == b""
    assert not stream.started
    assert stream.failed
    assert stream.error is not None
    assert stream.error.status == 503


def test_a_later_error_ends_the_callers_stream() -> None:
    """It comes in the caller's shape, and nothing comes behind it."""
    stream = _translation()
    assert stream.feed(_chunk({"content": "Hi"})).startswith(b"event: message_start\n")
    assert stream.started
    assert stream.feed(_data({"error": {"message": "x"}})).startswith(b"event: error\n")
    assert stream.failed
    assert stream.terminator() == b""


def test_the_end_is_held_back_until_everything_is_settled() -> None:
    """Stop reason, usage and terminator leave together, when the relay says so."""
    stream = _translation()
    stream.feed(_chunk({"content": "Hi"}))
    usage = {"prompt_tokens": 7, "completion_tokens": 2}
    last = _chunk({}, "stop") + _data({"id": "x", "choices": [], "usage": usage})
    assert stream.feed(last + b"data: [DONE]\n\n") == b""
    assert stream.end() == b""
    assert stream.finished
    assert stream.done
    assert stream.usage == Usage(7, 2)
    end = stream.terminator()
    assert b'"stop_reason":"end_turn"' in end
    assert b'"input_tokens":7' in end
    assert end.endswith(b'event: message_stop\ndata: {"type":"message_stop"}\n\n')


def test_a_custom_tools_text_comes_back_as_text() -> None:
    """Such a tool goes out as a function with one field; its caller waits for free text."""
    request = n.NeutralRequest(
        "openai", "m", [], tools=[n.Tool("patch", custom_format=b"{}"), n.Tool("f")]
    )
    names = custom_tools(request)
    assert names == {"patch"}
    stream = StreamTranslation(MESSAGES.stream_decoder(), CHAT.stream_encoder(CONTEXT), names)
    upstream = MESSAGES.stream_encoder(CONTEXT)
    events: list[n.Event] = [
        n.Start("x"),
        n.ToolStart(0, "a", "patch"),
        *[n.ToolDelta(0, piece) for piece in ('{"inp', 'ut": "a}', '\\nb"', "}")],
        n.PartEnd(),
        n.ToolStart(1, "b", "f"),
        n.ToolDelta(1, "{}"),
        n.Finish("tool_use"),
    ]
    out = stream.feed(upstream.feed(events) + upstream.end())
    read = CHAT.stream_decoder().feed(out)
    assert [event for event in read if isinstance(event, (n.ToolStart, n.ToolDelta))] == [
        n.ToolStart(0, "a", "patch", custom=True),
        n.ToolDelta(0, "a}\nb"),
        n.ToolStart(1, "b", "f"),
        n.ToolDelta(1, "{}"),
    ]
    answer = n.NeutralAnswer(
        "x", "m", [n.Choice([n.ToolUse("a", "patch", '{"input":"t"}')], "tool_use")]
    )
    unwrap_answer(answer, names)
    assert answer.choices[0].parts == [n.ToolUse("a", "patch", "t", custom=True)]


def test_whole_answers_of_no_known_shape_are_unreadable() -> None:
    """A 200 that holds no answer is a failure of the provider, told as one."""
    for wire in (CHAT, MESSAGES):
        for body in (b"", b"<html>", b"{}", b'{"error":{}}', b'{"choices":[]}', b"\xff"):
            with pytest.raises(UnreadableAnswer):
                wire.decode_answer(body)


def test_bad_arguments_of_a_whole_answer_are_never_a_call() -> None:
    """A caller would run the tool with other arguments than the model meant."""
    call = n.ToolUse("a", "f", '{"x": tru')
    with pytest.raises(UnreadableAnswer):
        MESSAGES.encode_answer(n.NeutralAnswer("", "", [n.Choice([call], "tool_use")]), CONTEXT)
    cut = n.NeutralAnswer("", "", [n.Choice([call], "length")])
    body, losses = MESSAGES.encode_answer(cut, CONTEXT)
    assert json.loads(body)["content"][0]["input"] == {}
    assert [loss.feature for loss in losses] == ["answer.tool_arguments"]


@pytest.mark.parametrize("wire", [CHAT, MESSAGES], ids=["openai", "anthropic"])
def test_a_whole_answer_survives_being_written_and_read(wire) -> None:
    """Text, thinking with its proof, calls, finish and usage are the same afterwards."""
    parts: list[n.Part] = [
        n.Thinking("hm", "s+/==", origin="anthropic"),
        n.Thinking(redacted="enc==", origin="anthropic"),
        n.Text("Hello \u2028"),
        n.ToolUse("a", "f", '{"x": 1.50}'),
    ]
    answer = n.NeutralAnswer("id", "m", [n.Choice(parts, "tool_use")], Usage(9, 4, 2, 1, 1))
    body, losses = wire.encode_answer(answer, CONTEXT)
    read = wire.decode_answer(body)
    assert losses == []
    assert read.choices == answer.choices
    assert read.usage == answer.usage


@pytest.mark.parametrize(
    ("wire", "status", "body", "expected"),
    [
        (CHAT, 404, b'{"error":{"message":"no","code":"model_not_found"}}', "model_not_found"),
        (CHAT, 500, b"<html>", ""),
        (CHAT, 400, b'{"message":"flat"}', ""),
        (MESSAGES, 429, b'{"error":{"type":"rate_limit_error","message":"slow"}}', ""),
        (MESSAGES, 502, b"\xff", ""),
    ],
)
def test_refusals_keep_their_status_and_words(wire, status, body, expected) -> None:
    """A body that is no error of the dialect leaves the status, and never raises."""
    error = wire.decode_error(status, body)
    assert error.status == status
    assert error.code == expected
    assert error.message


class _Rule:
    def __init__(self, amount: int, is_concurrency: bool) -> None:
        self.amount = amount
        self.is_concurrency = is_concurrency
        self.policy_item = b'"r";q=%d' % amount
        self.name_item = b'"r"'


def test_limits_are_told_with_dates() -> None:
    """Anthropic's reset is a date; requests at once stand in the IETF lines only."""
    rule, at_once = _Rule(60, False), _Rule(5, True)
    states = [(rule, 7, 2_000_000_001), (at_once, 3, 0)]
    lines = limit_headers(states, lambda: 1_000)
    assert lines == (
        b"anthropic-ratelimit-requests-limit: 60\r\n"
        b"anthropic-ratelimit-requests-remaining: 7\r\n"
        b"anthropic-ratelimit-requests-reset: 1970-01-01T00:00:04Z\r\n"
        b'ratelimit-policy: "r";q=60, "r";q=5\r\nratelimit: "r";r=7;t=3, "r";r=3;t=0\r\n'
    )
    assert limit_headers([]) == b""
    assert b"anthropic" not in limit_headers([(at_once, 3, 0)])
