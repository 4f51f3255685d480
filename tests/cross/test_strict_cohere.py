"""The strict Cohere is what Cohere's SDK takes it for; the package is not part of `make test`'s.

pip install cohere
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any, get_type_hints

import pytest
from tests.fakes.strict.cohere_chat import ChatRequest, CohereChat
from tests.fakes.strict.scenarios import BERGEN, OSLO, REPLIES
from tests.fakes.strict.server import StrictUpstream
from tests.fakes.strict.wire import KEY, Asked

cohere: Any = pytest.importorskip("cohere", reason="cohere is not installed")

pytestmark = pytest.mark.process

ASKED: list[dict[str, Any]] = [{"role": "user", "content": "hi"}]
TOOLS: list[dict[str, Any]] = [
    {
        "type": "function",
        "function": {"name": "weather", "parameters": {"type": "object", "properties": {}}},
    }
]


@pytest.fixture
def client(upstream: StrictUpstream) -> Iterator[Any]:
    with cohere.ClientV2(api_key=KEY, base_url=f"{upstream.url}/cohere") as made:
        yield made


def test_cohere_s_sdk_reads_its_whole_answers(client: Any) -> None:
    """Text, calls and tokens, as the SDK's users see them."""
    answer = client.chat(model="text", messages=ASKED)
    assert answer.message.content[0].text == REPLIES["text"].text
    assert answer.finish_reason == "COMPLETE"
    assert answer.usage.tokens.input_tokens > 0
    answer = client.chat(model="tools", messages=ASKED, tools=TOOLS, tool_choice="REQUIRED")
    calls = [call.function.name for call in answer.message.tool_calls]
    assert calls == [OSLO.name, BERGEN.name]


def test_cohere_s_sdk_reads_its_events(client: Any) -> None:
    """Each event becomes an object of the type that its name says."""
    events = list(client.chat_stream(model="text", messages=ASKED))
    text = "".join(e.delta.message.content.text for e in events if e.type == "content-delta")
    assert text == REPLIES["text"].text
    assert [e.type for e in (events[0], events[-1])] == ["message-start", "message-end"]
    assert events[-1].delta.usage.tokens.output_tokens > 0


def test_cohere_s_sdk_reads_its_refusals(client: Any) -> None:
    """As errors of the classes that it has for them."""
    with pytest.raises(cohere.TooManyRequestsError):
        client.chat(model="limited", messages=ASKED, request_options={"max_retries": 0})


@pytest.mark.parametrize("name", sorted(REPLIES))
def test_its_answers_have_no_field_that_the_sdk_does_not_know(name: str) -> None:
    """Nobody learns from it what the real API never sends."""
    whole = CohereChat().whole(REPLIES[name], Asked(name, stream=False))
    assert _unknown(cohere.V2ChatResponse.model_validate(whole)) == []


def _unknown(value: Any, path: str = "") -> list[str]:
    """Return what the SDK's models took without knowing it: they let extra fields through."""
    if isinstance(value, list):
        return [found for one in value for found in _unknown(one, path + "[]")]
    if not hasattr(value, "model_fields_set"):
        return []
    extra = [f"{path}.{name}" for name in (value.model_extra or {})]
    inner = [
        found for name in type(value).model_fields
        for found in _unknown(getattr(value, name), f"{path}.{name}")
    ]  # fmt: skip
    return extra + inner


def test_it_knows_the_fields_that_the_sdk_can_send() -> None:
    """All of them and no other; which shape each has is held against the SDK by hand."""
    sent = set(inspect.signature(cohere.ClientV2.chat).parameters) - {"self", "request_options"}
    assert get_type_hints(ChatRequest).keys() == {*sent, "stream"}
