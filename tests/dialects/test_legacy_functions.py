"""Clients that know OpenAI's functions, not tools, are answered by any provider."""

from __future__ import annotations

import json
from typing import Any

import pytest
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from tidegate.dialects.fidelity import fidelity_header
from tidegate.dialects.neutral import (
    Choice,
    Event,
    Finish,
    NeutralAnswer,
    Start,
    Text,
    TextDelta,
    ToolDelta,
    ToolStart,
    ToolUse,
)
from tidegate.dialects.wire import AnswerContext, Quirks
from tidegate.dialects.wires import WIRES
from tidegate.errors import BadRequest

CHAT = WIRES["openai"]
CONTEXT = AnswerContext(id="1", created_s=1, model="m", legacy_functions=True)
WEATHER = {
    "name": "weather",
    "description": "Tells it.",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
}
QUESTION = {"role": "user", "content": "Rain?"}


def _asked(*messages: object, **fields: object) -> bytes:
    return json.dumps({"model": "m", "messages": messages or [QUESTION], **fields}).encode()


def _written(back: str, body: bytes) -> dict[str, Any]:
    written, _ = WIRES[back].encode_request(CHAT.decode_request(body), "t", Quirks())
    found: dict[str, Any] = json.loads(written)
    return found


def _call(city: str) -> dict[str, Any]:
    called = {"name": "weather", "arguments": json.dumps({"city": city})}
    return {"role": "assistant", "content": None, "function_call": called}


def _result(text: str, name: str | None = "weather") -> dict[str, Any]:
    return {"role": "function", "name": name, "content": text}


@pytest.mark.parametrize(
    ("choice", "tool_choice"),
    [
        (None, {"type": "auto", "disable_parallel_tool_use": True}),
        ("auto", {"type": "auto", "disable_parallel_tool_use": True}),
        ("none", {"type": "none"}),
        ({"name": "weather"}, {"type": "tool", "name": "weather"}),
    ],
)
def test_functions_are_asked_for_as_tools(choice: object, tool_choice: dict[str, Any]) -> None:
    """With the same names and schemas, one call at a time."""
    body = _asked(functions=[WEATHER], function_call=choice)
    written = _written("anthropic", body)
    assert [(t["name"], t["description"], t["input_schema"]) for t in written["tools"]] == [
        ("weather", "Tells it.", WEATHER["parameters"])
    ]
    chosen = written["tool_choice"]
    assert {name: chosen.get(name) for name in tool_choice} == tool_choice


def test_calls_and_results_of_a_conversation_find_each_other() -> None:
    """Each result goes with the call that it answers, under an id that stays the same."""
    turns = [QUESTION, _call("Oslo"), _result("rain"), _call("Rome"), _result("sun")]
    written = _written("anthropic", _asked(*turns, functions=[WEATHER]))
    blocks = [
        block
        for turn in written["messages"]
        for block in turn["content"]
        if isinstance(block, dict) and block["type"] in ("tool_use", "tool_result")
    ]
    assert [block["type"] for block in blocks] == ["tool_use", "tool_result"] * 2
    assert blocks[0]["input"] == {"city": "Oslo"}
    assert blocks[0]["id"] == blocks[1]["tool_use_id"]
    assert blocks[2]["id"] == blocks[3]["tool_use_id"] != blocks[0]["id"]
    assert "rain" in json.dumps(blocks[1])
    assert "sun" in json.dumps(blocks[3])
    longer = _written("anthropic", _asked(*turns, QUESTION, functions=[WEATHER]))
    assert longer["messages"][: len(turns) - 1] == written["messages"][: len(turns) - 1]


def test_a_result_names_its_function_where_the_target_wants_that() -> None:
    """Gemini finds the call of a result by name."""
    body = _asked(QUESTION, _call("Oslo"), _result("rain"), functions=[WEATHER])
    parts = [part for turn in _written("gemini", body)["contents"] for part in turn["parts"]]
    assert parts[1]["functionCall"]["name"] == "weather"
    assert parts[2]["functionResponse"]["name"] == "weather"


@pytest.mark.parametrize(
    ("messages", "fields", "param"),
    [
        ([QUESTION, _result("rain")], {"functions": [WEATHER]}, "messages[1].name"),
        ([QUESTION, _call("Oslo"), _result("rain", None)], {}, "messages[2].name"),
        ([QUESTION, _call("Oslo"), _result("rain", "other")], {}, "messages[2].name"),
        ([QUESTION, _call("Oslo"), _result("a"), _result("b")], {}, "messages[3].name"),
        ([], {"function_call": "auto"}, "function_call"),
        ([], {"functions": [WEATHER], "function_call": "always"}, "function_call"),
        ([], {"functions": [{"description": "x"}]}, "functions[0]"),
        (
            [],
            {
                "functions": [WEATHER],
                "tools": [{"type": "function", "function": WEATHER}],
            },
            "functions",
        ),
    ],
)
def test_functions_that_make_no_sense_are_refused(
    messages: list[object], fields: dict[str, Any], param: str
) -> None:
    """By the name of the caller's own field."""
    with pytest.raises(BadRequest) as refused:
        CHAT.decode_request(_asked(*messages, **fields))
    assert refused.value.param == param


def _answered(*calls: ToolUse) -> tuple[dict[str, Any], bytes]:
    answer = NeutralAnswer("a", "m", [Choice([Text("Look."), *calls], "tool_use")])
    body, losses = CHAT.encode_answer(answer, CONTEXT)
    ChatCompletion.model_validate_json(body)
    found: dict[str, Any] = json.loads(body)["choices"][0]
    return found, fidelity_header(losses, CHAT.fields)


def test_a_call_is_answered_as_a_function_call() -> None:
    """`function_call` in the message, and as the reason why it ended."""
    choice, losses = _answered(ToolUse("id", "weather", '{"city":"Oslo"}', signature="sig"))
    assert choice["finish_reason"] == "function_call"
    assert choice["message"]["function_call"] == {
        "name": "weather",
        "arguments": '{"city":"Oslo"}',
        "extra_content": {"google": {"thought_signature": "sig"}},
    }
    assert "tool_calls" not in choice["message"]
    assert choice["message"]["content"] == "Look."
    assert losses == b""
    again = CHAT.decode_request(_asked(QUESTION, choice["message"]))
    (call,) = [part for part in again.messages[1].parts if isinstance(part, ToolUse)]
    assert (call.arguments, call.signature) == ('{"city":"Oslo"}', "sig")


def test_of_several_calls_the_first_is_told_and_the_loss_named() -> None:
    """The caller has no place for a second one."""
    choice, losses = _answered(ToolUse("1", "weather", "{}"), ToolUse("2", "other", "{}"))
    assert choice["message"]["function_call"]["name"] == "weather"
    assert losses == b"choices[].message.function_call;dropped"


def test_free_text_is_called_with_as_it_is() -> None:
    """A provider that calls a tool with free text, for which nobody asked, breaks nothing."""
    choice, _ = _answered(ToolUse("id", "f", "words", custom=True))
    assert choice["message"]["function_call"] == {"name": "f", "arguments": "words"}


def test_an_answer_without_a_call_is_as_ever() -> None:
    """Text ends in `stop`, streamed or not."""
    answer = NeutralAnswer("a", "m", [Choice([Text("Dry.")], "stop")])
    choice = json.loads(CHAT.encode_answer(answer, CONTEXT)[0])["choices"][0]
    assert (choice["finish_reason"], choice["message"]["content"]) == ("stop", "Dry.")
    assert "function_call" not in choice["message"]
    *_, last = _streamed([Start("a", "m"), TextDelta("Dry."), Finish("stop")])[0]
    assert last.choices[0].finish_reason == "stop"


def _streamed(events: list[Event]) -> tuple[list[ChatCompletionChunk], bytes]:
    encoder = CHAT.stream_encoder(CONTEXT)
    data = encoder.feed(events) + encoder.end()
    chunks = [
        ChatCompletionChunk.model_validate_json(event.removeprefix(b"data: "))
        for event in data.split(b"\n\n")
        if event and event != b"data: [DONE]"
    ]
    return chunks, fidelity_header(encoder.losses, CHAT.fields)


def test_a_call_is_streamed_as_pieces_of_a_function_call() -> None:
    """The name first, then the arguments; a second call is left out and named."""
    chunks, losses = _streamed(
        [
            Start("a", "m"),
            ToolStart(0, "id", "weather"),
            ToolDelta(0, '{"city":'),
            ToolDelta(0, '"Oslo"}'),
            ToolStart(1, "id2", "other"),
            ToolDelta(1, "{}"),
            Finish("tool_use"),
        ]
    )
    calls = [chunk.choices[0].delta.function_call for chunk in chunks]
    pieces = [call for call in calls if call is not None]
    assert [piece.name for piece in pieces] == ["weather", None, None]
    assert "".join(piece.arguments or "" for piece in pieces) == '{"city":"Oslo"}'
    assert all(chunk.choices[0].delta.tool_calls is None for chunk in chunks)
    assert chunks[-1].choices[0].finish_reason == "function_call"
    assert losses == b"choices[].message.function_call;dropped"
