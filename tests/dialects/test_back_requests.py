"""What Bedrock and Cohere are sent, and what is said of the rest."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from tests.dialects.wire_samples import QUIRKS, requests
from tests.fakes.strict.bedrock_converse import BedrockConverse
from tests.fakes.strict.cohere_chat import CohereChat
from tests.fakes.strict.scenarios import SIGNATURE
from tests.fakes.strict.server import WIRES as STRICT_WIRES
from tests.fakes.strict.wire import KEY, Asked, StrictWire

from tidegate.dialects import neutral as n
from tidegate.dialects.fidelity import FEATURES
from tidegate.dialects.wire import Quirks, UnreadableAnswer
from tidegate.dialects.wires import BACKS

BEDROCK, COHERE = BACKS["bedrock"], BACKS["cohere"]
SCHEMA = b'{"type":"object","properties":{"a":{"type":"number"}}}'
TOOL = n.Tool("f", "does f", SCHEMA)
CALL = n.Message("assistant", [n.ToolUse("call:1", "f", '{"a": 1.50}')])
RESULT = n.Message("user", [n.ToolResult("call:1", [n.Text("no")], is_error=True)])


def _ask(**more: Any) -> n.NeutralRequest:
    messages = more.pop("messages", [n.Message("user", [n.Text("hi")])])
    return n.NeutralRequest("openai", "m", messages, **more)


def _written(name: str, request: n.NeutralRequest, quirks: Quirks = Quirks()) -> Any:  # noqa: B008
    body, losses = BACKS[name].encode_request(request, "m", quirks)
    return json.loads(body), {(loss.feature, loss.kind) for loss in losses}


@pytest.mark.parametrize("name", ["bedrock", "cohere"])
@settings(max_examples=100, deadline=None)
@given(request=requests(), quirks=QUIRKS)
def test_losses_are_named_by_known_features(
    name: str, request: n.NeutralRequest, quirks: Quirks
) -> None:
    """Whatever is asked, the request can be written, and every loss is of the closed set."""
    body, losses = BACKS[name].encode_request(request, "m", quirks)
    assert json.loads(body)["messages"]
    assert {loss.feature for loss in losses} <= FEATURES


@pytest.mark.parametrize("strict", STRICT_WIRES, ids=lambda wire: wire.name)
@settings(max_examples=150, deadline=None)
@given(request=requests())
def test_no_provider_refuses_what_is_made_for_it(
    strict: StrictWire, request: n.NeutralRequest
) -> None:
    """Any request that makes sense becomes one that the provider's own rules allow."""
    _make_sense(request)
    quirks = Quirks(thinking="effort" if strict.name in ("openai", "responses") else "budget")
    body, _ = BACKS[strict.name].encode_request(request, "m", quirks)
    headers = {"x-api-key": KEY, "anthropic-version": quirks.version}
    if strict.name == "anthropic":
        assert strict.problem_of_headers(headers) is None
    assert strict.problem(json.loads(body), Asked("m", request.stream)) is None


def _make_sense(request: n.NeutralRequest) -> None:
    """Put real base64 and real proofs where the samples have words, and keep to the scales."""
    for message in request.messages:
        for part in message.parts:
            inner = part.parts if isinstance(part, n.ToolResult) else []
            for media in [part, *inner]:
                if isinstance(media, (n.Image, n.Document, n.Audio)) and media.data:
                    media.data = "iVBORw0KGgo="
                if isinstance(media, n.Thinking) and media.signature:
                    media.signature = SIGNATURE
                if isinstance(media, n.Thinking) and media.redacted:
                    media.redacted = SIGNATURE
    if request.top_p is not None:
        request.top_p = min(request.top_p, 1.0)
    if request.top_logprobs is not None:
        request.logprobs = True


def test_bedrock_takes_a_schema_as_text() -> None:
    """Name and description go along; a request for any JSON has no place."""
    wanted = n.ResponseFormat("json_schema", "shape", "what", SCHEMA, True)
    body, losses = _written("bedrock", _ask(response_format=wanted))
    given_schema = body["outputConfig"]["textFormat"]["structure"]["jsonSchema"]
    assert given_schema == {"schema": SCHEMA.decode(), "name": "shape", "description": "what"}
    assert losses == set()
    body, losses = _written("bedrock", _ask(response_format=n.ResponseFormat("json")))
    assert "outputConfig" not in body
    assert losses == {("response_format", "dropped")}
    quirks = Quirks(unsupported=frozenset({"response_format"}))
    _, losses = _written("bedrock", _ask(response_format=wanted), quirks)
    assert losses == {("response_format", "dropped")}


@pytest.mark.parametrize(
    ("metadata", "carried"),
    [
        (b'{"k":"v"}', True),
        (b'{"k":1}', False),
        (b'{"k":"line\\nbreak"}', False),
        (b'{"k":""}', False),
        (b"{}", False),
    ],
)
def test_bedrock_takes_plain_labels_only(metadata: bytes, carried: bool) -> None:
    """Others would make it refuse the request."""
    body, losses = _written("bedrock", _ask(metadata=metadata))
    assert ("requestMetadata" in body) is carried
    assert (("metadata", "dropped") in losses) is not carried


@pytest.mark.parametrize(
    ("tools", "choice", "expected"),
    [
        ([TOOL], n.ToolChoice("none"), {"tool_use", "tool", "tool_choice"}),
        ([], None, {"tool_use"}),
    ],
)
def test_bedrock_hears_of_tools_wherever_there_are_calls(
    tools: list[n.Tool | n.OpaqueTool], choice: n.ToolChoice | None, expected: set[str]
) -> None:
    """It refuses turns with calls in a request without tools."""
    asked = _ask(
        messages=[n.Message("user", [n.Text("hi")]), CALL, RESULT], tools=tools, tool_choice=choice
    )
    body, losses = _written("bedrock", asked)
    assert [tool["toolSpec"]["name"] for tool in body["toolConfig"]["tools"]] == ["f"]
    assert losses == {(feature, "approximated") for feature in expected}
    assert BedrockConverse().problem(body, Asked("m", stream=False)) is None


def test_bedrock_is_told_of_no_tool_where_none_may_be_called() -> None:
    """Without calls in the conversation, that is what `none` comes to."""
    body, losses = _written("bedrock", _ask(tools=[TOOL], tool_choice=n.ToolChoice("none")))
    assert "toolConfig" not in body
    assert losses == {("tool", "approximated"), ("tool_choice", "approximated")}


def test_bedrock_wants_turns_that_alternate() -> None:
    """Neighbours of one role become one turn, results first; ids keep to its signs."""
    turns = [
        n.Message("user", [n.Text("one")]),
        n.Message("user", [n.Text("two")]),
        CALL,
        n.Message("user", [n.Text("so"), *RESULT.parts]),
    ]
    body, _ = _written("bedrock", _ask(messages=turns, tools=[TOOL]))
    assert [turn["role"] for turn in body["messages"]] == ["user", "assistant", "user"]
    result, text = body["messages"][2]["content"]
    assert result["toolResult"]["toolUseId"] == "call_1"
    assert result["toolResult"]["status"] == "error"
    assert text == {"text": "so"}
    assert BedrockConverse().problem(body, Asked("m", stream=False)) is None


def test_cohere_is_told_of_failures_in_words() -> None:
    """It has no flag for them."""
    asked = _ask(messages=[n.Message("user", [n.Text("hi")]), CALL, RESULT], tools=[TOOL])
    body, losses = _written("cohere", asked)
    assert body["messages"][-1] == {
        "role": "tool",
        "tool_call_id": "call:1",
        "content": "Error: no",
    }
    assert losses == {("tool_result.is_error", "approximated")}
    assert CohereChat().problem(body, Asked("m", stream=False)) is None


def test_cohere_takes_a_schema_or_tools() -> None:
    """It refuses both together; the tools stay, and the schema is named."""
    wanted = n.ResponseFormat("json_schema", "shape", None, SCHEMA, True)
    body, losses = _written("cohere", _ask(response_format=wanted, tools=[TOOL]))
    assert "response_format" not in body
    assert losses == {("response_format", "dropped")}


def test_cohere_samples_from_less_than_all() -> None:
    """The usual `top_p` of 1 is a little more than it takes."""
    body, losses = _written("cohere", _ask(top_p=1.0, top_k=1000))
    assert (body["p"], body["k"]) == (0.99, 500)
    assert losses == {("top_p", "approximated"), ("top_k", "approximated")}


def test_cohere_penalties_have_their_own_scale() -> None:
    """From 0 to 1; what lies outside is bent and named."""
    body, losses = _written("cohere", _ask(presence_penalty=-1.0, frequency_penalty=0.5))
    assert (body["presence_penalty"], body["frequency_penalty"]) == (0.0, 0.5)
    assert losses == {("presence_penalty", "approximated")}


@pytest.mark.parametrize("name", ["bedrock", "cohere"])
@pytest.mark.parametrize("body", [b"", b"[]", b"{", b'{"output":1}', b"\xff", b'{"message":7}'])
def test_an_answer_that_is_none_is_unreadable(name: str, body: bytes) -> None:
    """Never an empty answer, never another exception."""
    with pytest.raises(UnreadableAnswer):
        BACKS[name].decode_answer(body)


@pytest.mark.parametrize("name", list(BACKS))
@pytest.mark.parametrize(
    "body", [b"", b"<html>busy</html>", b"[]", b"null", b'{"error":7}', b"\xff"]
)
def test_a_refusal_without_words_keeps_its_status(name: str, body: bytes) -> None:
    """A proxy in front of the provider may have written it."""
    error = BACKS[name].decode_error(429, body)
    assert (error.status, error.kind) == (429, "rate_limit_error")
    assert error.message


@pytest.mark.parametrize(
    ("sound", "block", "losses"),
    [
        (n.Audio("YWJj", "mpeg"), {"audio": {"format": "mp3", "source": {"bytes": "YWJj"}}}, set()),
        (n.Audio("YWJj", "wav"), {"audio": {"format": "wav", "source": {"bytes": "YWJj"}}}, set()),
        (n.Audio(id="a1", transcript="hello"), {"text": "hello"}, {("audio", "approximated")}),
        (n.Audio("YWJj", "midi"), None, {("audio", "dropped")}),
    ],
)
def test_bedrock_hears_what_it_can(sound: n.Audio, block: Any, losses: set[Any]) -> None:
    """Sound goes as bytes under the API's own name; of what it cannot play the words are left."""
    body, lost = _written("bedrock", _ask(messages=[n.Message("user", [n.Text("hi"), sound])]))
    assert BedrockConverse().problem(body, Asked("m", stream=False)) is None
    assert body["messages"][0]["content"][1:] == ([] if block is None else [block])
    assert lost == losses


def test_bedrock_is_told_how_hard_to_think() -> None:
    """Where a target takes levels, beside the schema of the answer."""
    request = _ask(
        reasoning=n.Reasoning(effort="high"),
        response_format=n.ResponseFormat("json_schema", "w", schema=SCHEMA),
    )
    body, lost = _written("bedrock", request, Quirks(thinking="effort"))
    assert BedrockConverse().problem(body, Asked("m", stream=False)) is None
    assert body["outputConfig"]["effort"] == "high"
    assert "textFormat" in body["outputConfig"]
    assert lost == set()
