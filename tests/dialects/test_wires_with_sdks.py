"""The vendors' own SDKs read what we write; their transport is ours, so nothing leaves."""

from __future__ import annotations

import json
from collections.abc import Callable

import anthropic
import httpx2
import openai
import pytest

from tidegate.dialects import neutral as n
from tidegate.dialects.anthropic import ANTHROPIC
from tidegate.dialects.openai import OPENAI
from tidegate.dialects.usage import Usage
from tidegate.dialects.wire import AnswerContext, Quirks
from tidegate.dialects.wires import WIRES
from tidegate.errors import BadRequest, GatewayError, RateLimited, Unavailable

CHAT, MESSAGES = WIRES["openai"], WIRES["anthropic"]
CONTEXT = AnswerContext(id="abc", created_s=1_700_000_000, model="asked")
USAGE = Usage(100, 20, 60, 30, 5)
CITATION = n.Citation("words", "https://c", "Source", 0, 4)

EVENTS: list[n.Event] = [
    n.Start("", "up", 0, Usage(100, 1)),
    n.ThinkingDelta("hm"),
    n.ThinkingDelta("m"),
    n.SignatureDelta("sig/+==", origin="anthropic"),
    n.PartEnd(),
    n.TextDelta("Hel"),
    n.TextDelta("lo \u2028"),
    n.CitationDelta(CITATION),
    n.PartEnd(),
    n.ToolStart(0, "call_1", "f"),
    n.ToolDelta(0, '{"x"'),
    n.ToolDelta(0, ": 1}"),
    n.PartEnd(),
    n.ToolStart(1, "call_2", "g"),
    n.ToolDelta(1, "{}"),
    n.PartEnd(),
    n.Finish("tool_use"),
    n.UsageEvent(USAGE),
]
ANSWER = n.NeutralAnswer(
    "",
    "up",
    [
        n.Choice(
            [
                n.Thinking("hmm", "sig/+==", origin="anthropic"),
                n.Text("Hello \u2028", None, [CITATION]),
                n.ToolUse("call_1", "f", '{"x": 1}'),
                n.ToolUse("call_2", "g", ""),
            ],
            "tool_use",
        )
    ],
    USAGE,
)

Answer = Callable[[httpx2.Request], httpx2.Response]


def _answering(body: bytes, kind: str, status: int = 200, headers: object = None) -> Answer:
    lines = {"content-type": kind, **(headers or {})}  # type: ignore[dict-item]
    return lambda request: httpx2.Response(status, headers=lines, content=body)


def _openai(answer: Answer) -> openai.OpenAI:
    http = httpx2.Client(transport=httpx2.MockTransport(answer))
    return openai.OpenAI(api_key="k", base_url="http://x/v1", http_client=http, max_retries=0)


def _anthropic(answer: Answer) -> anthropic.Anthropic:
    http = httpx2.Client(transport=httpx2.MockTransport(answer))
    return anthropic.Anthropic(api_key="k", base_url="http://x", http_client=http, max_retries=0)


def test_openai_reads_a_whole_answer() -> None:
    """Text, calls, usage and reasoning are where the SDK's types look for them."""
    body, losses = CHAT.encode_answer(ANSWER, CONTEXT)
    with _openai(_answering(body, "application/json")) as client:
        answer = client.chat.completions.create(model="m", messages=[])
    openai.types.chat.ChatCompletion.model_validate(json.loads(body), strict=True)
    message = answer.choices[0].message
    assert (answer.id, answer.model) == ("chatcmpl-abc", "asked")
    assert message.content == "Hello \u2028"
    assert message.annotations is not None
    assert message.annotations[0].url_citation.url == "https://c"
    assert message.tool_calls is not None
    assert [c.function.arguments for c in message.tool_calls] == ['{"x": 1}', "{}"]  # type: ignore[union-attr]
    assert answer.choices[0].finish_reason == "tool_calls"
    assert answer.usage is not None
    assert (answer.usage.prompt_tokens, answer.usage.total_tokens) == (100, 120)
    assert [loss.feature for loss in losses] == ["answer.citations"]


def test_openai_accumulates_a_stream() -> None:
    """The SDK's stream helper puts our chunks together to the same answer."""
    encoder = CHAT.stream_encoder(CONTEXT)
    body = encoder.feed(EVENTS) + encoder.end()
    with (
        _openai(_answering(body, "text/event-stream")) as client,
        client.chat.completions.stream(model="m", messages=[]) as stream,
    ):
        for event in stream:
            assert event.type != "error"
        final = stream.get_final_completion()
    message = final.choices[0].message
    assert message.content == "Hello \u2028"
    assert message.tool_calls is not None
    assert [(c.id, c.function.arguments) for c in message.tool_calls] == [
        ("call_1", '{"x": 1}'),
        ("call_2", "{}"),
    ]
    assert final.choices[0].finish_reason == "tool_calls"
    assert final.usage is not None
    assert final.usage.prompt_tokens_details is not None
    assert final.usage.prompt_tokens_details.cached_tokens == 60
    for line in body.split(b"\n\n"):
        if line.startswith(b"data: {"):
            chunk = json.loads(line[6:])
            openai.types.chat.ChatCompletionChunk.model_validate(chunk, strict=True)


def test_anthropic_reads_a_whole_answer() -> None:
    """Blocks, signatures and usage are where the SDK's types look for them."""
    body, losses = MESSAGES.encode_answer(ANSWER, CONTEXT)
    with _anthropic(_answering(body, "application/json")) as client:
        message = client.messages.create(model="m", max_tokens=9, messages=[])
    anthropic.types.Message.model_validate(json.loads(body), strict=True)
    thinking, text, first, second = message.content
    assert (thinking.type, thinking.signature) == ("thinking", "sig/+==")
    assert text.type == "text"
    assert text.text == "Hello \u2028"
    assert first.type == second.type == "tool_use"
    assert (first.input, second.input) == ({"x": 1}, {})
    assert message.stop_reason == "tool_use"
    assert message.usage.input_tokens == 10
    assert message.usage.cache_read_input_tokens == 60
    assert message.usage.cache_creation_input_tokens == 30
    assert [loss.feature for loss in losses] == ["answer.citations"]


def test_anthropic_accumulates_a_stream() -> None:
    """The SDK's stream helper puts our events together to the same answer."""
    encoder = MESSAGES.stream_encoder(CONTEXT)
    body = encoder.feed(EVENTS) + encoder.end()
    with (
        _anthropic(_answering(body, "text/event-stream")) as client,
        client.messages.stream(model="m", max_tokens=9, messages=[]) as stream,
    ):
        message = stream.get_final_message()
    thinking, text, first, second = message.content
    assert thinking.type == "thinking"
    assert (thinking.thinking, thinking.signature) == ("hmm", "sig/+==")
    assert text.type == "text"
    assert text.text == "Hello \u2028"
    assert text.citations is not None
    assert text.citations[0].cited_text == "words"
    assert first.type == second.type == "tool_use"
    assert (first.id, first.input) == ("call_1", {"x": 1})
    assert (second.id, second.input) == ("call_2", {})
    assert message.stop_reason == "tool_use"
    assert (message.usage.input_tokens, message.usage.output_tokens) == (10, 20)


@pytest.mark.parametrize(
    ("error", "openai_class", "anthropic_class"),
    [
        (BadRequest("no", param="x"), openai.BadRequestError, anthropic.BadRequestError),
        (RateLimited("slow"), openai.RateLimitError, anthropic.RateLimitError),
        (Unavailable("busy"), openai.InternalServerError, anthropic.ServiceUnavailableError),
    ],
)
def test_errors_are_raised_as_the_right_class(
    error: GatewayError,
    openai_class: type[openai.APIStatusError],
    anthropic_class: type[anthropic.APIStatusError],
) -> None:
    """The SDKs know our refusals by status, and find our message and code in the body."""
    body = OPENAI.error_body(error)
    with (
        _openai(_answering(body, "application/json", error.status)) as client,
        pytest.raises(openai_class) as of_openai,
    ):
        client.chat.completions.create(model="m", messages=[])
    assert of_openai.value.code == error.code
    body = ANTHROPIC.error_body(error)
    with (
        _anthropic(_answering(body, "application/json", error.status)) as client,
        pytest.raises(anthropic_class) as of_anthropic,
    ):
        client.messages.create(model="m", max_tokens=9, messages=[])
    assert of_anthropic.value.api_message == error.message
    assert of_anthropic.value.error_code == error.code


def test_an_error_within_a_stream_is_raised() -> None:
    """Both SDKs raise on the error event that ends a failed stream."""
    failed: list[n.Event] = [*EVENTS[:6], n.StreamError(n.WireError(529, "busy"))]
    chat, messages = CHAT.stream_encoder(CONTEXT), MESSAGES.stream_encoder(CONTEXT)
    with (
        _openai(_answering(chat.feed(failed), "text/event-stream")) as client,
        pytest.raises(openai.APIError, match="busy"),
    ):
        list(client.chat.completions.create(model="m", messages=[], stream=True))
    with (
        _anthropic(_answering(messages.feed(failed), "text/event-stream")) as client,
        pytest.raises(anthropic.APIStatusError, match="busy"),
    ):
        list(client.messages.create(model="m", max_tokens=9, messages=[], stream=True))
    assert chat.failed
    assert chat.end() == b""
    assert messages.failed
    assert messages.end() == b""


def test_a_request_of_one_sdk_reaches_the_other_api() -> None:
    """What the SDKs really send is read, and comes out with all that it says."""
    sent: list[bytes] = []

    def note(request: httpx2.Request) -> httpx2.Response:
        sent.append(request.read())
        return httpx2.Response(200, json={})

    tool = {"type": "object", "properties": {"a": {"type": "number"}}}
    with _openai(note) as client:
        client.chat.completions.create(
            model="m",
            max_completion_tokens=50,
            messages=[
                {"role": "developer", "content": "be kind"},
                {"role": "user", "content": [{"type": "text", "text": "hi"}]},
            ],
            tools=[{"type": "function", "function": {"name": "f", "parameters": tool}}],
            tool_choice={"type": "function", "function": {"name": "f"}},
            parallel_tool_calls=False,
        )
    body, losses = MESSAGES.encode_request(CHAT.decode_request(sent.pop()), "t", Quirks())
    assert json.loads(body) == {
        "model": "t",
        "max_tokens": 50,
        "system": "be kind",
        "messages": [{"role": "user", "content": "hi"}],
        "tools": [{"name": "f", "input_schema": tool}],
        "tool_choice": {"type": "tool", "name": "f", "disable_parallel_tool_use": True},
    }
    assert losses == []
    with _anthropic(note) as messages:
        messages.messages.create(
            model="m",
            max_tokens=5000,
            system=[{"type": "text", "text": "be kind", "cache_control": {"type": "ephemeral"}}],
            messages=[
                {"role": "user", "content": "hi"},
                {
                    "role": "assistant",
                    "content": [{"type": "tool_use", "id": "c", "name": "f", "input": {"a": 1.5}}],
                },
                {
                    "role": "user",
                    "content": [{"type": "tool_result", "tool_use_id": "c", "content": "2"}],
                },
            ],
            thinking={"type": "enabled", "budget_tokens": 2000},
        )
    quirks = Quirks(cache_marker_field="cache_control")
    body, losses = CHAT.encode_request(MESSAGES.decode_request(sent.pop()), "t", quirks)
    marked = {"type": "text", "text": "be kind", "cache_control": {"type": "ephemeral"}}
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": '{"a":1.5}'}}
    assert json.loads(body) == {
        "model": "t",
        "messages": [
            {"role": "system", "content": [marked]},
            {"role": "user", "content": "hi"},
            {"role": "assistant", "content": None, "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "c", "content": "2"},
        ],
        "max_completion_tokens": 5000,
        "reasoning_effort": "low",
    }
    assert [loss.feature for loss in losses] == ["reasoning.budget"]
