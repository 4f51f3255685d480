"""Responses streams, as they are and as they should not be."""

from __future__ import annotations

import json
from typing import Any

import httpx2
import openai
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import TypeAdapter
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
from tidegate.dialects.responses.passing import ResponsesPassing
from tidegate.dialects.responses.wire import RESPONSES_WIRE as WIRE
from tidegate.dialects.usage import Usage
from tidegate.dialects.wire import AnswerContext, UnreadableAnswer

CONTEXT = AnswerContext(id="abc", created_s=1_700_000_000, model="asked")
USAGE = Usage(100, 20, 60, 30, 5)
ODD_TEXT = 'a\u2028b\u2029c\u0085d\x0be [DONE] "response.completed" \\ é 漢 😀'
EVENT: TypeAdapter[Any] = TypeAdapter(ResponseStreamEvent)


def _event(kind: str, **fields: object) -> bytes:
    body = json.dumps({"type": kind, "sequence_number": 0, **fields}, ensure_ascii=False)
    return b"event: " + kind.encode() + b"\ndata: " + body.encode() + b"\n\n"


def _response(status: str, **fields: object) -> dict[str, object]:
    return {"id": "resp_up", "model": "up", "created_at": 5, "status": status, **fields}


_MESSAGE = {"type": "message", "id": "msg_1", "content": []}
_TOLD = {"input_tokens": 3, "output_tokens": 5, "input_tokens_details": {"cached_tokens": 2}}
HEAD = (
    _event("response.created", response=_response("in_progress"))
    + _event("response.output_item.added", output_index=0, item=_MESSAGE)
    + _event("response.output_text.delta", output_index=0, content_index=0, delta=ODD_TEXT)
)
FINISH = _event("response.completed", response=_response("completed", output=[], usage=_TOLD))
STREAM = HEAD + FINISH


def test_a_stream_means_the_same_however_it_is_cut() -> None:
    """Splits at every byte, CR, LF and CRLF, and odd line ends within text change nothing."""
    check_line_ends_and_splits(WIRE, STREAM)
    assert meaning(read(WIRE, [STREAM])) == [
        n.Start("resp_up", "up", 5),
        n.TextDelta(ODD_TEXT),
        n.UsageEvent(Usage(3, 5, cached_input_tokens=2)),
        n.Finish("stop"),
    ]


def test_a_stream_that_never_finished_ends_in_an_error() -> None:
    """Only the response's own end is one, with or without a `[DONE]` that some servers send."""
    check_cuts(WIRE, STREAM, len(HEAD))
    assert only_error(read(WIRE, [HEAD + b"data: [DONE]\n\n"])).status == 502
    assert read(WIRE, [STREAM + b"data: [DONE]\n\n"]) == read(WIRE, [STREAM])
    assert read(WIRE, [STREAM[:-2]]) == read(WIRE, [STREAM])


def test_what_cannot_be_read_ends_the_stream() -> None:
    """Broken JSON, broken UTF-8, deep nesting, an endless event: one error, nothing behind it."""
    check_unreadable(WIRE, HEAD)
    check_cap(WIRE, HEAD)


def test_nothing_counts_behind_the_end_and_noise_means_nothing() -> None:
    """A second stream is not handed on; comments and a byte order mark are no part of one."""
    assert read(WIRE, [STREAM + STREAM]) == read(WIRE, [STREAM])
    noisy = STREAM.replace(b"\n\n", b"\n\n: keep-alive\n\nretry: 5\n\n")
    assert read(WIRE, [b"\xef\xbb\xbf" + noisy]) == read(WIRE, [STREAM])
    unknown = _event("response.novelty", delta="x") + _event("keepalive")
    assert read(WIRE, [HEAD + unknown + FINISH]) == read(WIRE, [STREAM])


@settings(max_examples=200, deadline=None)
@given(noise=st.binary(max_size=200), at=st.integers(0, 400))
def test_no_bytes_raise(noise: bytes, at: int) -> None:
    """Whatever an upstream sends, the outcome is events, at most one error, and that last."""
    events = read(WIRE, [HEAD[:at] + noise, noise + FINISH])
    errors = [event for event in events if isinstance(event, n.StreamError)]
    assert not errors or events[-1] is errors[0]
    assert len(errors) <= 1


@pytest.mark.parametrize(
    ("event", "status", "message"),
    [
        (_event("error", code="rate_limit_exceeded", message="slow"), 429, "slow"),
        (_event("error", code="server_error", message="boom"), 502, "boom"),
        (_event("error", error={"message": "nested", "code": 400}), 400, "nested"),
        (b'event: error\ndata: {"message":"bare"}\n\n', 502, "bare"),
        (b'data: {"error":{"message":"chat","code":429}}\n\n', 429, "chat"),
        (
            _event(
                "response.failed",
                response=_response("failed", error={"code": "server_error", "message": "no"}),
            ),
            502,
            "no",
        ),
    ],
)
def test_errors_in_every_spelling(event: bytes, status: int, message: str) -> None:
    """Flat, nested, or as a failed response; first or amid an answer."""
    for head in (b"", HEAD):
        error = only_error(read(WIRE, [head + event + FINISH]))
        assert (error.status, error.message) == (status, message)


def test_what_came_only_as_a_whole_is_taken_from_there() -> None:
    """Servers that send no pieces, or no items at all, lose nothing."""
    text = {"type": "output_text", "text": "Hi"}
    message = {"type": "message", "content": [text]}
    call = {"type": "function_call", "call_id": "c1", "name": "f", "arguments": '{"a":1}'}
    begun = _event("response.created", response=_response("in_progress"))
    end = _response("completed", output=[message, call])
    wanted = [
        n.Start("resp_up", "up", 5),
        n.TextDelta("Hi"),
        n.ToolStart(0, "c1", "f"),
        n.ToolDelta(0, '{"a":1}'),
        n.Finish("tool_use"),
    ]
    by_items = (
        begun
        + _event("response.output_item.done", output_index=0, item=message)
        + _event("response.output_item.done", output_index=1, item=call)
        + _event("response.completed", response=end)
    )
    assert meaning(read(WIRE, [by_items])) == wanted
    assert meaning(read(WIRE, [begun + _event("response.completed", response=end)])) == wanted


EVENTS: list[n.Event] = [
    n.Start("x", "up", 0, Usage(100, 1)),
    n.ThinkingDelta("h"),
    n.ThinkingDelta("m"),
    n.SignatureDelta("sig/+==", origin="anthropic"),
    n.SignatureDelta("", "hidden==", origin="anthropic"),
    n.TextDelta("Hel", 0, b'{"content":[{"token":"Hel","bytes":[1],"logprob":-0.5,'
                b'"top_logprobs":[]}],"refusal":null}'),
    n.TextDelta("lo \u2028"),
    n.CitationDelta(n.Citation("words", "https://c", "Source", 0, 4)),
    n.PartEnd(),
    n.TextDelta("more"),
    n.RefusalDelta("no"),
    n.ToolStart(0, "call_1", "f", signature="state=="),
    n.ToolDelta(0, '{"x"'),
    n.ToolStart(1, "call_2", "patch", custom=True),
    n.ToolDelta(1, "*** Begin"),
    n.ToolDelta(0, ": 1}"),
    n.ToolStart(2, "call_3", "g"),
    n.Finish("tool_use"),
    n.UsageEvent(USAGE),
]  # fmt: skip


def _written(events: list[n.Event]) -> list[dict[str, Any]]:
    encoder = WIRE.stream_encoder(CONTEXT)
    body = b"".join([encoder.feed([event]) for event in events]) + encoder.end()
    return [json.loads(event.split(b"\ndata: ")[1]) for event in body.split(b"\n\n")[:-1]]


def test_every_event_is_of_a_documented_type() -> None:
    """The SDK's own types read each event; numbers have no gap; items begin before they end."""
    events = _written(EVENTS)
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    for event in events:
        assert type(EVENT.validate_python(event)).__name__ != "dict"
    kinds = [event["type"] for event in events]
    assert kinds[:2] == ["response.created", "response.in_progress"]
    assert kinds[-1] == "response.completed"
    added = [event["output_index"] for event in events if event["type"].endswith("item.added")]
    done = [event["output_index"] for event in events if event["type"].endswith("item.done")]
    assert added == list(range(7))
    assert sorted(done) == added
    whole = events[-1]["response"]
    Response.model_validate(whole)
    ended = {
        event["output_index"]: event["item"] for event in events if "item.done" in event["type"]
    }
    assert whole["output"] == [ended[index] for index in sorted(ended)]


def test_what_was_written_is_read_again() -> None:
    """Pieces, proofs and states that other providers gave survive the way there and back."""
    encoder = WIRE.stream_encoder(CONTEXT)
    body = encoder.feed(EVENTS) + encoder.end()
    events = meaning(read(WIRE, [body]))
    whole = WIRE.decode_answer(json.dumps(_written(EVENTS)[-1]["response"]).encode())
    parts = whole.choices[0].parts
    assert parts[0] == n.Thinking("hm", "sig/+==", origin="anthropic")
    assert parts[1] == n.Thinking(redacted="hidden==", origin="anthropic")
    assert [part.text for part in parts if isinstance(part, n.Text)] == ["Hello \u2028", "more"]
    assert n.Refusal("no") in parts
    assert n.ToolUse("call_1", "f", '{"x": 1}', signature="state==") in parts
    assert n.ToolUse("call_2", "patch", "*** Begin", custom=True) in parts
    assert n.ToolUse("call_3", "g", "{}") in parts
    assert n.SignatureDelta("sig/+==", None, 0, "anthropic") in events
    assert n.SignatureDelta("", "hidden==", 0, "anthropic") in events
    assert n.ToolStart(0, "call_1", "f", 0, False, "state==") in events
    arguments = {0: "", 1: "", 2: ""}
    for event in events:
        if isinstance(event, n.ToolDelta):
            arguments[event.call] += event.arguments
    assert arguments == {0: '{"x": 1}', 1: "*** Begin", 2: "{}"}
    assert events[-2:] == [n.UsageEvent(USAGE), n.Finish("tool_use")]


def test_the_sdk_accumulates_it() -> None:
    """The SDK's stream helper puts our events together to the same answer."""
    encoder = WIRE.stream_encoder(CONTEXT)
    body = encoder.feed(EVENTS) + encoder.end()
    answer = httpx2.Response(200, headers={"content-type": "text/event-stream"}, content=body)
    http = httpx2.Client(transport=httpx2.MockTransport(lambda request: answer))
    with (
        openai.OpenAI(api_key="k", base_url="http://x/v1", http_client=http) as client,
        client.responses.stream(model="m", input="hi") as stream,
    ):
        final = stream.get_final_response()
    assert final.output_text == "Hello \u2028more"
    assert final.usage is not None
    assert final.usage.input_tokens_details.cached_tokens == 60
    calls = [item for item in final.output if item.type == "function_call"]
    assert [call.arguments for call in calls] == ['{"x": 1}', "{}"]


@pytest.mark.parametrize(
    ("reason", "status", "why"),
    [
        ("stop", "completed", None),
        ("tool_use", "completed", None),
        ("length", "incomplete", "max_output_tokens"),
        ("refusal", "incomplete", "content_filter"),
    ],
)
def test_how_an_answer_ended(reason: n.FinishReason, status: str, why: str | None) -> None:
    """A cut or filtered answer is incomplete, whole and streamed."""
    events = _written([n.Start(), n.TextDelta("a"), n.Finish(reason)])
    assert events[-1]["type"] == f"response.{status}"
    answer = n.NeutralAnswer("", "up", [n.Choice([n.Text("a")], reason)], USAGE)
    whole = json.loads(WIRE.encode_answer(answer, CONTEXT)[0])
    for response in (events[-1]["response"], whole):
        assert response["status"] == status
        assert (response["incomplete_details"] or {}).get("reason") == why


def test_a_failed_stream_ends_in_two_events() -> None:
    """The flat error, which the SDK hands on, and the failed response, which ends the stream."""
    events = _written(
        [n.Start(), n.TextDelta("a"), n.StreamError(n.WireError(429, "slow", "rate_limit_error"))]
    )
    flat, last = events[-2:]
    assert (flat["type"], flat["code"], flat["message"]) == (
        "error",
        "rate_limit_exceeded",
        "slow",
    )
    assert last["type"] == "response.failed"
    assert last["response"]["error"] == {"code": "rate_limit_exceeded", "message": "slow"}
    for event in events:
        EVENT.validate_python(event)


def test_a_failed_whole_response_is_no_answer() -> None:
    """An upstream's own failure within a 200 is not handed on as an answer."""
    failed = _response("failed", output=[], error={"code": "server_error", "message": "boom"})
    for body in (json.dumps(failed).encode(), b"{}", b"[]", b'{"output":5}', b"\xff"):
        with pytest.raises(UnreadableAnswer):
            WIRE.decode_answer(body)


def test_passing_on_changes_no_byte() -> None:
    """A native stream goes through as it came; its end is held back, and looked into."""
    for size in (1, 7, 1000, len(STREAM)):
        told: list[str] = []
        ended: list[bytes] = []
        scanner = ResponsesPassing(told.append, ended.append)
        pieces = [STREAM[at : at + size] for at in range(0, len(STREAM), size)]
        out = b"".join([scanner.feed(piece) for piece in pieces])
        assert out == HEAD
        assert scanner.done
        assert scanner.usage == Usage(3, 5, cached_input_tokens=2)
        assert told == ["resp_up"]
        assert not ended
        assert out + scanner.terminator() == STREAM
        assert json.loads(ended[0])["type"] == "response.completed"
