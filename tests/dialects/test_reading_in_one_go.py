"""A body that fits its dialect's struct is read in one go; any other field by field.

Which way it was is nobody's business: an unknown field sends a body the slower way, and must
change nothing but that it is named itself.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from typing import Any

import pytest

from tidegate.dialects.neutral import (
    Message,
    NeutralAnswer,
    NeutralRequest,
    OpaquePart,
    Text,
)
from tidegate.dialects.wire import UnreadableAnswer
from tidegate.dialects.wires import BACKS, WIRES
from tidegate.errors import BadRequest

Maker = Callable[[random.Random], Any]

_BODIES_OF_EACH = 3000
_ODD = [None, 5, 1.0, -1, 2**70, True, False, "x", "", [], {}, [None], [1], {"a": 1}]


def _make(value: Any, draw: random.Random) -> Any:
    """Return a value: of a list one member, mostly the first; and seldom something else."""
    if draw.random() < 0.006:
        return draw.choice(_ODD)
    if isinstance(value, list):
        return _make_one(value[0] if draw.random() < 0.6 else draw.choice(value), draw)
    return _make_one(value, draw)


def _make_one(value: Any, draw: random.Random) -> Any:
    return value(draw) if callable(value) else value


def _object(needed: dict[str, Any], optional: dict[str, Any] | None = None) -> Maker:
    def make(draw: random.Random) -> dict[str, Any]:
        chosen = {name: one for name, one in (optional or {}).items() if draw.random() < 0.25}
        made = {name: _make(value, draw) for name, value in {**needed, **chosen}.items()}
        if draw.random() < 0.01:
            made["unknown"] = draw.choice(_ODD)
        return made

    return make


def _list(item: Any, least: int = 0) -> Maker:
    def make(draw: random.Random) -> list[Any]:
        return [_make(item, draw) for _ in range(draw.randint(least, 3))]

    return make


def _text(draw: random.Random) -> str:
    return draw.choice(["hi", "hi", "", " ", "grün 水門", '"q"\n', "\U0001f6a2"])


def _number(draw: random.Random) -> float:
    return draw.choice([0, 1, 0.2, 1.7, 2])


_SCHEMA = {"type": "object", "properties": {"ü": {"type": "string"}}}
_DATA = "data:image/png;base64,AAAA"
_CACHE = _object({"type": "ephemeral"}, {"ttl": ["5m", None]})
# --- requests, a dialect each ---------------------------------------------------------------

_CHAT_PART = [
    _object({"type": "text", "text": _text}, {"cache_control": _CACHE}),
    _object({"type": "image_url", "image_url": _object({"url": [_DATA, "https://x/y"]})}),
    _object({"type": "file", "file": _object({"file_data": "AAAA"}, {"filename": "n"})}),
    _object({"type": ["refusal", "video"], "refusal": _text}),
]
_CHAT_CALL = _object(
    {"id": "c1", "function": _object({"name": ["f", "f", ""], "arguments": ["{}", "", "["]})},
    {"type": "function", "custom": [None, {"name": "c"}], "index": 0},
)
_CHAT_CONTENT = [_text, _text, _list(_CHAT_PART)]
_CHAT_MESSAGE = [
    _object({"role": ["user", "system"], "content": _CHAT_CONTENT}, {"name": [None, "bob"]}),
    _object(
        {"role": "assistant", "content": [*_CHAT_CONTENT, None]},
        {
            "tool_calls": _list(_CHAT_CALL),
            "refusal": [None, "no"],
            "annotations": [[], [{"type": "url_citation", "url_citation": {"url": "ü"}}]],
            "reasoning_content": _text,
            "reasoning_details": [[{"type": "reasoning.text", "text": "t"}]],
            "audio": _object({"id": "a"}),
            "function_call": [None, {"name": "f", "arguments": "{}"}],
            "cache_control": _CACHE,
        },
    ),
    _object({"role": ["tool", "judge"], "content": _CHAT_CONTENT, "tool_call_id": "c1"}),
]
_CHAT = _object(
    {"model": "m", "messages": _list(_CHAT_MESSAGE, 1)},
    {
        "temperature": _number,
        "top_k": 40,
        "n": [1, 2],
        "stop": ["end", ["a", " "]],
        "max_tokens": 100,
        "max_completion_tokens": 7,
        "stream": [True, False],
        "stream_options": _object({}, {"include_usage": True}),
        "reasoning_effort": ["none", "low"],
        "user": "u",
        "safety_identifier": "s",
        "metadata": [{}, {"a": "ü"}],
        "response_format": _object({"type": ["text", "json_object"]}, {"json_schema": {}}),
        "tools": _list(
            _object(
                {
                    "type": ["function", "custom", "web_search"],
                    "function": _object({"name": ["f", ""]}, {"parameters": _SCHEMA}),
                },
                {"custom": [None, {"name": "c"}]},
            )
        ),
        "tool_choice": ["auto", {"type": "function", "function": {"name": "f"}}, "odd"],
        "functions": [None, [{"name": "f", "parameters": _SCHEMA}]],
        "store": [None, True, False],
    },
)

_SOURCE = _object({"type": ["base64", "url", "content"]}, {"data": "AAAA", "media_type": "a/b"})
_BLOCK = [
    _object({"type": "text", "text": _text}, {"cache_control": _CACHE, "citations": [None, []]}),
    _object({"type": ["image", "document"], "source": _SOURCE}, {"title": "t"}),
]
_ANY_BLOCK = [
    *_BLOCK,
    _object({"type": "tool_use", "id": "c1", "name": ["f", ""], "input": [{}, {"ü": 1}]}),
    _object(
        {"type": "tool_result", "tool_use_id": "c1"},
        {"content": [_text, _list(_BLOCK)], "is_error": [True, None]},
    ),
    _object({"type": "thinking", "thinking": _text}, {"signature": ["s", None, "tg1.x"]}),
    _object({"type": ["redacted_thinking", "server_tool_use"], "data": "d"}),
]
_MESSAGES = _object(
    {
        "model": "m",
        "max_tokens": 100,
        "messages": _list(
            _object(
                {
                    "role": ["user", "assistant", "system", "judge"],
                    "content": [_text, _list(_ANY_BLOCK)],
                }
            ),
            1,
        ),
    },
    {
        "system": [_text, _list(_BLOCK)],
        "temperature": _number,
        "stop_sequences": [["a"], []],
        "stream": [True, False],
        "cache_control": _CACHE,
        "metadata": [{"user_id": "u"}, {"user_id": None, "x": "ü"}],
        "thinking": _object({"type": ["enabled", "hard"]}, {"budget_tokens": 2000}),
        "output_config": _object({}, {"effort": "low", "format": {"type": "json_schema"}}),
        "tools": _list(
            _object({"name": ["f", ""], "input_schema": _SCHEMA}, {"type": ["custom", "bash"]})
        ),
        "tool_choice": _object({"type": ["auto", "any", "odd"]}),
        "service_tier": [None, "auto"],
    },
)

_CONFIG = {
    "temperature": _number,
    "topP": _number,
    "topK": [4, 4.0, 4.5],
    "candidateCount": [1, 2],
    "presencePenalty": _number,
    "frequencyPenalty": _number,
    "maxOutputTokens": [100, 100.0],
    "seed": [7, 2**60 + 1],
    "stopSequences": [["a"]],
    "responseMimeType": [None, "application/json"],
    "thinkingConfig": _object({"thinkingBudget": 0}),
    "top_p": [None, 0.5],
}
_TURN_PART = [
    _object({"text": _text}, {"thought": [True, False]}),
    _object({"text": _text}),
    _object({"functionCall": _object({"name": ["f", ""]}, {"args": {"ü": 1}})}),
    _object({"inline_data": _object({"mimeType": "image/png", "data": "AAAA"})}),
]
_TURN = _object({"parts": _list(_TURN_PART)}, {"role": ["user", "model", "function", "", "x"]})
_GENERATE = _object(
    {"contents": [_list(_TURN, 1), _list(_TURN, 1), _text]},
    {
        "systemInstruction": [_TURN, _text],
        "generationConfig": _object({}, _CONFIG),
        "tools": [None, [{"functionDeclarations": [{"name": "f", "parameters": _SCHEMA}]}]],
        "safetySettings": [None, []],
        "model": [None, "m"],
    },
)

_INPUT_PART = _object(
    {"type": ["input_text", "output_text", "odd"], "text": _text},
    {"annotations": [[], None]},
)
_ITEM = [
    _object(
        {
            "role": ["user", "assistant", "system", "judge"],
            "content": [_text, _list(_INPUT_PART)],
        },
        {"type": "message", "id": "i"},
    ),
    _object({"type": "function_call", "call_id": "c1", "name": "f", "arguments": "{}"}),
    _object({"type": "function_call_output", "call_id": "c1", "output": _text}),
    _object({"type": ["reasoning", "web_search_call"], "id": "r"}),
]
_RESPONSES = _object(
    {"model": "m", "input": [_text, _list(_ITEM, 1)]},
    {
        "instructions": _text,
        "temperature": _number,
        "max_output_tokens": 100,
        "include": [["reasoning.encrypted_content"], ["odd"]],
        "reasoning": _object({}, {"effort": ["none", "low"], "summary": ["auto", "long"]}),
        "user": "u",
        "metadata": [{}, {"a": "ü"}],
        "text": _object({}, {"format": _object({"type": ["text", "json_object", "odd"]})}),
        "tools": _list(_object({"type": ["function", "web"], "name": "f"}, {"strict": None})),
        "tool_choice": ["auto", "odd", {"type": "function", "name": "f"}],
        "store": [True, False],
        "background": [None, False, True],
        "previous_response_id": [None, "r"],
    },
)

_BODIES = {"openai": _CHAT, "anthropic": _MESSAGES, "gemini": _GENERATE, "responses": _RESPONSES}

#: Put in front of the first field of that name: what is told twice is told by the last.
_TWICE = ('"role": ', '"type": ', '"content": ', '"text": ', '"temperature": ', '"model": ')


def _read(name: str, body: str) -> NeutralRequest | tuple[str, str | None]:
    try:
        return WIRES[name].decode_request(body.encode())
    except BadRequest as error:
        return str(error), error.param


@pytest.mark.parametrize("name", list(_BODIES))
def test_an_unknown_field_changes_nothing_but_that_it_is_named(name: str) -> None:
    """Both ways of reading a body make the same request of it, or the same error."""
    readable = 0
    for number in range(_BODIES_OF_EACH):
        draw = random.Random(number)
        body = json.dumps(_make_one(_BODIES[name], draw), ensure_ascii=draw.random() < 0.5)
        if draw.random() < 0.1:
            field = draw.choice(_TWICE)
            other = draw.choice(['"user"', '"text"', "null", "1", "{}"])
            body = body.replace(field, f"{field}{other}, {field}", 1)
        once = _read(name, body)
        apart = _read(name, f'{body[:-1]}, "unknown_to_all": 1}}')
        if isinstance(apart, NeutralRequest):
            readable += 1
            assert apart.extra.pop("unknown_to_all") == b"1"
        assert once == apart, body
    assert readable > _BODIES_OF_EACH / 3


@pytest.mark.parametrize(
    ("name", "body"),
    [
        (
            "openai",
            '{"model":"m","messages":[{"role":"user","content":"hi"}],"metadata":{"a":"?"}}',
        ),
        (
            "openai",
            '{"model":"m","messages":[{"role":"user","content":"hi"}],"tools":[{"type":"function",'
            '"function":{"name":"f","parameters":{"title":"?"}}}]}',
        ),
        (
            "openai",
            '{"model":"m","messages":[{"role":"assistant","content":"hi","annotations":["?"]}]}',
        ),
        (
            "anthropic",
            '{"model":"m","max_tokens":9,"messages":[{"role":"assistant","content":[{"type":'
            '"tool_use","id":"i","name":"f","input":{"a":"?"}}]}]}',
        ),
        (
            "anthropic",
            '{"model":"m","max_tokens":9,"messages":[{"role":"user","content":"hi"}],'
            '"system":[{"type":"text","text":"hi","citations":["?"]}]}',
        ),
        (
            "gemini",
            '{"contents":[{"parts":[{"functionCall":{"name":"f","args":{"a":"?"}}}]}]}',
        ),
        ("responses", '{"model":"m","input":"hi","metadata":{"a":"?"}}'),
    ],
)
def test_a_piece_that_is_passed_on_as_it_is_must_be_text(name: str, body: str) -> None:
    """JSON that nobody looks into goes to the target byte for byte: it has to be UTF-8."""
    with pytest.raises(BadRequest, match="UTF-8"):
        WIRES[name].decode_request(body.encode().replace(b"?", b"\xff"))


@pytest.mark.parametrize(
    ("name", "body"),
    [
        (
            "openai",
            '{"model":"m","messages":[{"role":"user","content":[{"type":"odd","type":"text",'
            '"text":"hi"}]}]}',
        ),
        (
            "anthropic",
            '{"model":"m","max_tokens":9,"messages":[{"role":"user","content":[{"type":"odd",'
            '"type":"text","text":"hi"}]}]}',
        ),
        (
            "responses",
            '{"model":"m","input":[{"role":"user","content":[{"type":"odd","type":"input_text",'
            '"text":"hi"}]}]}',
        ),
    ],
)
def test_of_a_kind_that_is_told_twice_the_last_counts(name: str, body: str) -> None:
    """As with any other field that is repeated: what names a kind is no exception."""
    assert WIRES[name].decode_request(body.encode()).messages == [Message("user", [Text("hi")])]


def test_a_part_of_an_unknown_kind_is_no_text() -> None:
    """A part that holds a text may mean something else by it, and stays what it is."""
    part = '{"type":"odd","text":"hi"}'
    body = f'{{"model":"m","input":[{{"role":"user","content":[{part}]}}]}}'
    read = WIRES["responses"].decode_request(body.encode())
    assert read.messages[0].parts == [OpaquePart("responses", "odd", part.encode())]


@pytest.mark.parametrize("more", ["", ',"tools":[]'])
def test_a_seed_of_gemini_keeps_all_its_digits(more: str) -> None:
    """A whole number is read as one, though the API's SDKs may write it with a point."""
    seed = 2**60 + 1
    for written, read in ((str(seed), seed), ("-7", -7), ("40.0", 40)):
        body = '{"contents":[{"parts":[{"text":"hi"}]}],"generationConfig":{"seed":%s}%s}'
        assert WIRES["gemini"].decode_request((body % (written, more)).encode()).seed == read


# --- answers --------------------------------------------------------------------------------

_ANSWER_BLOCK = [
    _object({"type": "text", "text": _text}, {"citations": [None, [], [{"url": "ü"}]]}),
    _object({"type": "tool_use", "id": "c1", "name": "f", "input": [{}, {"ü": 1}]}),
    _object({"type": "thinking", "thinking": _text}, {"signature": [None, "s"]}),
    _object({"type": "redacted_thinking", "data": "d"}),
]


def test_an_unknown_block_of_an_answer_changes_no_other() -> None:
    """An answer that is read block by block says what it says when it is read in one go."""

    def read(content: list[Any], usage: Any) -> NeutralAnswer | str:
        body = {"id": "i", "model": "m", "content": content, "usage": usage}
        try:
            return BACKS["anthropic"].decode_answer(json.dumps(body).encode())
        except UnreadableAnswer as error:
            return str(error)

    for number in range(_BODIES_OF_EACH):
        draw = random.Random(number)
        blocks = _list(_ANSWER_BLOCK)(draw)
        usage = draw.choice([None, {"input_tokens": 9, "output_tokens": 4}, {"input_tokens": "x"}])
        once, apart = read(blocks, usage), read([*blocks, {"type": "thing"}], usage)
        if isinstance(apart, NeutralAnswer):
            last = apart.choices[0].parts.pop()
            assert isinstance(last, OpaquePart)
            assert last.kind == "thing"
        assert once == apart, blocks
