"""Every provider's whole answer under every hardship: read, or refused in words."""

from __future__ import annotations

import json
from typing import Any

import pytest
from tests.dialects.hardships import ODD_TEXT, STRICT, USAGE_CASES
from tests.fakes.strict.scenarios import OSLO, Reply, ToolCall
from tests.fakes.strict.wire import Asked

from tidegate.dialects import neutral as n
from tidegate.dialects.usage import Usage
from tidegate.dialects.wire import AnswerContext, UnreadableAnswer
from tidegate.dialects.wires import BACKS, WIRES

CONTEXT = AnswerContext(id="1", created_s=1, model="m")
_EACH_BACK = pytest.mark.parametrize("name", list(BACKS))
_USAGE = {
    "openai": ("usage", "prompt_tokens", "completion_tokens"),
    "responses": ("usage", "input_tokens", "output_tokens"),
    "anthropic": ("usage", "input_tokens", "output_tokens"),
    "gemini": ("usageMetadata", "promptTokenCount", "candidatesTokenCount"),
    "bedrock": ("usage", "inputTokens", "outputTokens"),
    "cohere": ("usage", "input_tokens", "output_tokens"),
}
_DEEP = b'{"a":' * 100_000 + b"1" + b"}" * 100_000


def _answer(name: str, reply: Reply) -> dict[str, Any]:
    return STRICT[name].whole(reply, Asked("m", stream=False))


def _bytes(body: dict[str, Any]) -> bytes:
    return json.dumps(body, ensure_ascii=False).encode()


@_EACH_BACK
@pytest.mark.parametrize(
    "body",
    [b"", b"<html>", b"null", b"[]", b"{}", b'"x"', b'{"a":', b"\xff", b"\xef\xbb\xbf{}", _DEEP],
    ids=["empty", "html", "null", "list", "object", "text", "cut", "bytes", "mark", "deep"],
)
def test_what_is_no_answer_is_refused(name: str, body: bytes) -> None:
    """In words, by one exception: never as an empty answer."""
    with pytest.raises(UnreadableAnswer):
        BACKS[name].decode_answer(body)


@_EACH_BACK
def test_an_answer_cut_at_any_byte_is_refused(name: str) -> None:
    """A body that ends early is no answer, wherever it ends."""
    body = _bytes(_answer(name, Reply(ODD_TEXT, calls=(OSLO,))))
    for cut in range(len(body)):
        with pytest.raises(UnreadableAnswer):
            BACKS[name].decode_answer(body[:cut])


@_EACH_BACK
def test_an_answer_that_is_no_text_is_refused(name: str) -> None:
    """Also where the bytes that are none stand in a field that nobody looks at."""
    body = _bytes({**_answer(name, Reply("Hi.")), "unknown": {"deeper": "?"}})
    BACKS[name].decode_answer(body)
    for bad in (b"\xff", b"\xc3", b"\xed\xa0\x80"):
        with pytest.raises(UnreadableAnswer):
            BACKS[name].decode_answer(body.replace(b'"?"', b'"%b"' % bad))


@_EACH_BACK
def test_an_error_behind_a_200_is_no_answer(name: str) -> None:
    """A provider that answers 200 with an error object has not answered."""
    body = _bytes(STRICT[name].error(429, "too many")[1])
    with pytest.raises(UnreadableAnswer):
        BACKS[name].decode_answer(body)


@_EACH_BACK
@USAGE_CASES
def test_usage_is_what_was_told_or_unknown(
    name: str, change: tuple[Any, Any] | None, expected: Usage | None
) -> None:
    """The answer is the same, whatever is told of its usage."""
    body = _answer(name, Reply("Hi."))
    field, first, second = _USAGE[name]
    body.pop(field)
    if change is not None:
        told = {first: change[0], second: change[1]}
        body[field] = {"tokens": told} if name == "cohere" else told
    answer = BACKS[name].decode_answer(_bytes(body))
    assert answer.usage == expected
    assert answer.choices[0].parts == [n.Text("Hi.")]


@_EACH_BACK
def test_usage_told_twice_counts_once(name: str) -> None:
    """A field that stands there twice is what it was last, as everywhere in JSON."""
    field, first, second = _USAGE[name]
    body = _answer(name, Reply("Hi."))
    body.pop(field)
    told = b"".join(
        [
            b',"%b":' % field.encode() + _bytes({"tokens": counts} if name == "cohere" else counts)
            for counts in ({first: 1, second: 2}, {first: 3, second: 4})
        ]
    )
    assert BACKS[name].decode_answer(_bytes(body)[:-1] + told + b"}").usage == Usage(3, 4)


@_EACH_BACK
def test_a_call_without_a_name_is_refused(name: str) -> None:
    """No caller could run it."""
    body = _bytes(_answer(name, Reply("Hi.", calls=(ToolCall("c", "", {}, ()),))))
    with pytest.raises(UnreadableAnswer, match="without a name"):
        BACKS[name].decode_answer(body)


@pytest.mark.parametrize("front", list(WIRES))
@pytest.mark.parametrize("name", ["openai", "responses", "cohere"])
def test_arguments_that_are_no_json_have_one_of_two_ends(name: str, front: str) -> None:
    """They arrive as they are where the caller's dialect has text for them; else it is refused."""
    body = _bytes(_answer(name, Reply(calls=(OSLO,))))
    written = json.dumps(json.dumps(OSLO.arguments)).encode()
    assert written in body
    answer = BACKS[name].decode_answer(body.replace(written, b'"{\\"city\\": \\"Os"'))
    if front in ("openai", "responses"):
        out, _ = WIRES[front].encode_answer(answer, CONTEXT)
        [call] = WIRES[front].decode_answer(out).choices[0].parts
        assert isinstance(call, n.ToolUse)
        assert call.arguments == '{"city": "Os'
    else:
        with pytest.raises(UnreadableAnswer, match="arguments"):
            WIRES[front].encode_answer(answer, CONTEXT)


@pytest.mark.parametrize("front", list(WIRES))
@pytest.mark.parametrize("told", [1e300, -1e300, -5, 0, None])
def test_a_time_that_can_be_none_is_ours(front: str, told: float | None) -> None:
    """SDKs read an answer's time as a number of 64 bits."""
    body = {**_answer("openai", Reply("Hi.")), "created": told}
    answer = BACKS["openai"].decode_answer(_bytes(body))
    assert answer.created_s == 0
    out, _ = WIRES[front].encode_answer(answer, CONTEXT)
    assert b"300" not in out
