"""The official openai package's Responses API against a real gateway and chat-only providers."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterator
from typing import Any

import openai
import pytest
from pydantic import BaseModel
from tests.fakes.openai_upstream import KEY, WORDS, OpenAIUpstream
from tests.running import RunningGateway, counters

pytestmark = pytest.mark.process

SECRET = "tg-responses-0123456789"
OTHER = "tg-responses-other-0123"
TEXT = "".join(WORDS)
MODELS = ("plain", "slow", "cuts", "tools", "fails", "limited")


@pytest.fixture(scope="module")
def upstream() -> Iterator[OpenAIUpstream]:
    with OpenAIUpstream() as running:
        yield running


@pytest.fixture(scope="module")
def gateway(
    upstream: OpenAIUpstream, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningGateway]:
    models = "\n".join(
        f"  {name}: {{targets: [{{provider: acme, model: {name}}}], retries: 0}}" for name in MODELS
    )
    config = f"""
providers:
  acme: {{kind: openai-compatible, base_url: "{upstream.url}", api_key: env:ACME_KEY}}
models:
{models}
keys:
  one: {{secret: env:ONE_KEY}}
  other: {{secret: env:OTHER_KEY}}
"""
    folder = tmp_path_factory.mktemp("responses")
    environment = {"ACME_KEY": KEY, "ONE_KEY": SECRET, "OTHER_KEY": OTHER}
    with RunningGateway(folder, config, workers=2, environment=environment) as running:
        yield running


def _client(gateway: RunningGateway, secret: str = SECRET) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{gateway.url}/v1", api_key=secret, max_retries=0)


@pytest.fixture
def client(gateway: RunningGateway) -> Iterator[openai.OpenAI]:
    with _client(gateway) as client:
        yield client


@pytest.fixture
def other(gateway: RunningGateway) -> Iterator[openai.OpenAI]:
    with _client(gateway, OTHER) as client:
        yield client


def _sent(upstream: OpenAIUpstream, model: str = "plain") -> dict[str, Any]:
    return upstream.last[model][1]


def test_a_whole_response(client: openai.OpenAI, upstream: OpenAIUpstream) -> None:
    """Text, usage and what the request said are where the SDK's types look for them."""
    response = client.responses.create(
        model="plain", instructions="be kind", input="hi", temperature=0.5, metadata={"a": "b"}
    )
    assert response.output_text == TEXT
    assert response.status == "completed"
    assert response.usage is not None
    assert (response.usage.input_tokens, response.usage.output_tokens) == (11, 4)
    assert (response.instructions, response.temperature) == ("be kind", 0.5)
    assert response.metadata == {"a": "b"}
    assert response.id.startswith("resp_")
    assert _sent(upstream)["messages"] == [
        {"role": "system", "content": "be kind"},
        {"role": "user", "content": "hi"},
    ]


def test_the_stream_helper_accumulates(client: openai.OpenAI) -> None:
    """Every event is of a documented type, numbered without a gap, and the end is whole."""
    kinds = []
    with client.responses.stream(model="plain", input="hi") as stream:
        for number, event in enumerate(stream):
            assert event.sequence_number == number
            kinds.append(event.type)
        final = stream.get_final_response()
    assert final.output_text == TEXT
    assert final.usage is not None
    assert final.usage.total_tokens == 15
    deltas = kinds.count("response.output_text.delta")
    assert deltas == len(WORDS)
    assert [kind for kind in kinds if kind != "response.output_text.delta"] == [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.content_part.added",
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.completed",
    ]


def test_tools_whole_and_streamed(client: openai.OpenAI, upstream: OpenAIUpstream) -> None:
    """A call comes back as an item; its result goes on as a tool message."""
    tool: Any = {
        "type": "function",
        "name": "weather",
        "parameters": {"type": "object", "properties": {}, "additionalProperties": False},
        "strict": True,
    }
    first = client.responses.create(model="tools", input="weather?", tools=[tool])
    (call,) = first.output
    assert call.type == "function_call"
    assert (call.name, call.arguments) == ("weather", '{"city":"Oslo"}')
    client.responses.create(
        model="plain",
        previous_response_id=first.id,
        input=[{"type": "function_call_output", "call_id": call.call_id, "output": "rain"}],
        tools=[tool],
    )
    sent = _sent(upstream)
    assert [message["role"] for message in sent["messages"]] == ["user", "assistant", "tool"]
    assert sent["messages"][2] == {
        "role": "tool",
        "tool_call_id": call.call_id,
        "content": "rain",
    }
    assert sent["tools"][0]["function"]["strict"] is True


def test_structured_answers_are_asked_for_by_schema(
    client: openai.OpenAI, upstream: OpenAIUpstream
) -> None:
    """`parse` sends its schema on; an answer that is no JSON is the model's own failure."""

    class Shape(BaseModel):
        answer: str

    with pytest.raises(ValueError, match="Invalid JSON"):
        client.responses.parse(model="plain", input="hi", text_format=Shape)
    wanted = _sent(upstream)["response_format"]
    assert wanted["type"] == "json_schema"
    assert wanted["json_schema"]["name"] == "Shape"
    assert wanted["json_schema"]["strict"] is True


def test_a_chain_of_responses(client: openai.OpenAI, upstream: OpenAIUpstream) -> None:
    """Each goes on from all before it, whole or streamed, at any worker; instructions do not."""
    first = client.responses.create(model="plain", input="one", instructions="only here")
    with client.responses.stream(
        model="plain", input="two", previous_response_id=first.id
    ) as stream:
        second = stream.get_final_response()
    assert second.previous_response_id == first.id
    for _ in range(6):
        client.responses.create(model="plain", input="three", previous_response_id=second.id)
        spoken = [(m["role"], m["content"]) for m in _sent(upstream)["messages"]]
        assert spoken == [
            ("user", "one"),
            ("assistant", TEXT),
            ("user", "two"),
            ("assistant", TEXT),
            ("user", "three"),
        ]


def test_a_large_input_is_kept_too(client: openai.OpenAI, upstream: OpenAIUpstream) -> None:
    """What does not fit into one small file is gone on from and deleted alike."""
    long = "word " * 40_000
    first = client.responses.create(model="plain", input=long)
    client.responses.create(model="plain", input="more", previous_response_id=first.id)
    assert _sent(upstream)["messages"][0]["content"] == long
    client.responses.delete(first.id)
    with pytest.raises(openai.NotFoundError):
        client.responses.create(model="plain", input="more", previous_response_id=first.id)


def test_a_response_is_read_and_deleted(client: openai.OpenAI) -> None:
    """It comes back as it was; once deleted it is neither read nor gone on from."""
    made = client.responses.create(model="plain", input="hi")
    read = client.responses.retrieve(made.id)
    assert read.to_dict() == made.to_dict()
    client.responses.delete(made.id)
    for ask in (
        lambda: client.responses.retrieve(made.id),
        lambda: client.responses.delete(made.id),
        lambda: client.responses.input_items.list(made.id),
        lambda: client.responses.create(model="plain", input="x", previous_response_id=made.id),
    ):
        with pytest.raises(openai.NotFoundError):
            ask()


def test_input_items_in_pages(client: openai.OpenAI) -> None:
    """Items are listed with ids, in both orders, page by page."""
    given: Any = [{"role": "user", "content": str(number)} for number in range(25)]
    made = client.responses.create(model="plain", input=given)
    listed = list(client.responses.input_items.list(made.id, order="asc", limit=10))
    texts = [item.content[0].text for item in listed]  # type: ignore[union-attr]
    assert texts == [str(number) for number in range(25)]
    newest = client.responses.input_items.list(made.id, limit=1)
    assert newest.data[0].content[0].text == "24"  # type: ignore[union-attr]
    assert newest.has_more
    with pytest.raises(openai.BadRequestError):
        client.responses.input_items.list(made.id, limit=1000)


def test_another_key_finds_nothing(client: openai.OpenAI, other: openai.OpenAI) -> None:
    """Another key can neither read, list, cancel, delete nor go on from a response."""
    made = client.responses.create(model="plain", input="secret")
    for ask in (
        lambda: other.responses.retrieve(made.id),
        lambda: other.responses.delete(made.id),
        lambda: other.responses.cancel(made.id),
        lambda: other.responses.input_items.list(made.id),
        lambda: other.responses.create(model="plain", input="x", previous_response_id=made.id),
    ):
        with pytest.raises(openai.NotFoundError):
            ask()
    assert client.responses.retrieve(made.id).output_text == TEXT
    with pytest.raises(openai.BadRequestError):
        client.responses.cancel(made.id)  # it is whole already


def test_what_shall_not_be_stored_is_not(client: openai.OpenAI, gateway: RunningGateway) -> None:
    """`store: false` leaves nothing behind, and the response says so."""
    folder = gateway.data_dir / "responses"
    before = sorted(folder.rglob("*"))
    made = client.responses.create(model="plain", input="hi", store=False)
    with client.responses.stream(model="plain", input="hi", store=False) as stream:
        streamed = stream.get_final_response()
    assert made.to_dict()["store"] is False
    assert streamed.to_dict()["store"] is False
    assert sorted(folder.rglob("*")) == before
    for response in (made, streamed):
        with pytest.raises(openai.NotFoundError):
            client.responses.retrieve(response.id)


def test_references_to_items(client: openai.OpenAI, upstream: OpenAIUpstream) -> None:
    """An item of an earlier answer may be named in place of being sent."""
    made = client.responses.create(model="plain", input="hi")
    reference: Any = {"type": "item_reference", "id": made.output[0].id}
    client.responses.create(
        model="plain",
        input=[{"role": "user", "content": "hi"}, reference, {"role": "user", "content": "go on"}],
    )
    assert [m["role"] for m in _sent(upstream)["messages"]] == ["user", "assistant", "user"]
    first = client.responses.create(
        model="plain", input=[reference, {"role": "user", "content": "a"}]
    )
    client.responses.create(model="plain", input="b", previous_response_id=first.id)
    assert [m["role"] for m in _sent(upstream)["messages"]] == [
        "assistant", "user", "assistant", "user",
    ]  # fmt: skip
    unknown: Any = {"type": "item_reference", "id": "msg_nothing_0"}
    with pytest.raises(openai.NotFoundError):
        client.responses.create(model="plain", input=[unknown])


def test_a_cut_stream_ends_in_an_error_and_a_failed_response(client: openai.OpenAI) -> None:
    """Numbers go on to the end; nothing is kept of it."""
    events = list(client.responses.create(model="cuts", input="hi", stream=True))
    assert [event.type for event in events[-2:]] == ["error", "response.failed"]
    assert [event.sequence_number for event in events] == list(range(len(events)))
    last = events[-1]
    assert last.type == "response.failed"
    assert last.response.error is not None
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve(last.response.id)


def test_errors_before_a_stream(client: openai.OpenAI) -> None:
    """A refusal keeps its status; state that needs the real API is refused in plain words."""
    with pytest.raises(openai.RateLimitError):
        client.responses.create(model="limited", input="hi")
    with pytest.raises(openai.InternalServerError):
        client.responses.create(model="fails", input="hi", stream=True)
    for more in ({"conversation": "conv_1"}, {"prompt": {"id": "p"}}):
        with pytest.raises(openai.BadRequestError, match="Responses API"):
            client.responses.create(model="plain", input="hi", **more)  # type: ignore[call-overload]
    with pytest.raises(openai.BadRequestError, match="input"):
        client.responses.create(model="plain")


def test_the_async_client(gateway: RunningGateway) -> None:
    """The asynchronous client reads the same."""

    async def ask() -> str:
        base = f"{gateway.url}/v1"
        async with openai.AsyncOpenAI(base_url=base, api_key=SECRET, max_retries=0) as client:
            made = await client.responses.create(model="plain", input="hi")
            async with client.responses.stream(
                model="plain", input="again", previous_response_id=made.id
            ) as stream:
                final = await stream.get_final_response()
        return final.output_text

    assert asyncio.run(ask()) == TEXT


def test_what_is_kept_survives_a_kill(client: openai.OpenAI, gateway: RunningGateway) -> None:
    """A new process finds what another kept, whole."""
    made = client.responses.create(model="plain", input="before")
    gateway.stop(signal.SIGKILL)
    gateway.start()
    with _client(gateway) as again:
        assert again.responses.retrieve(made.id).output_text == TEXT


def test_it_is_counted_like_any_other(client: openai.OpenAI, gateway: RunningGateway) -> None:
    """Requests and tokens stand on the metrics page."""
    before = counters(gateway.page())("tidegate_requests_total", endpoint="responses", status="200")
    client.responses.create(model="plain", input="hi")
    page = counters(gateway.page())
    assert page("tidegate_requests_total", endpoint="responses", status="200") == before + 1
