"""Providers that speak the Responses API themselves, and Codex in front of those that do not."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any

import openai
import pytest
from tests.fakes import openai_upstream
from tests.fakes.openai_upstream import OpenAIUpstream
from tests.fakes.responses_upstream import ENCRYPTED, KEY, SIGNATURE, TEXT, ResponsesUpstream
from tests.running import RunningGateway, counters

pytestmark = pytest.mark.process

SECRET = "tg-natives-0123456789"
OTHER = "tg-natives-other-012345"


@pytest.fixture(scope="module")
def native() -> Iterator[ResponsesUpstream]:
    with ResponsesUpstream() as running:
        yield running


@pytest.fixture(scope="module")
def chat() -> Iterator[OpenAIUpstream]:
    with OpenAIUpstream() as running:
        yield running


@pytest.fixture(scope="module")
def gateway(
    native: ResponsesUpstream, chat: OpenAIUpstream, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningGateway]:
    config = f"""
providers:
  keeper: {{kind: openai, base_url: "{native.url}", api_key: env:UP_KEY}}
  forgetful: {{kind: groq, base_url: "{native.url}", api_key: env:UP_KEY}}
  claude: {{kind: anthropic, base_url: "{native.root}", api_key: env:UP_KEY}}
  plain: {{kind: openai-compatible, base_url: "{chat.url}", api_key: env:CHAT_KEY}}
models:
  kept: {{targets: [keeper/gpt], retries: 0}}
  cut: {{targets: [keeper/cuts], retries: 0}}
  forgotten: {{targets: [forgetful/oss], retries: 0}}
  thinker: {{targets: [claude/claude], retries: 0}}
  chatty: {{targets: [plain/plain], retries: 0}}
keys:
  one: {{secret: env:ONE_KEY}}
  other: {{secret: env:OTHER_KEY}}
"""
    environment = {
        "UP_KEY": KEY,
        "CHAT_KEY": openai_upstream.KEY,
        "ONE_KEY": SECRET,
        "OTHER_KEY": OTHER,
    }
    folder = tmp_path_factory.mktemp("natives")
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


def test_what_a_provider_keeps_stays_there(
    client: openai.OpenAI, native: ResponsesUpstream, gateway: RunningGateway
) -> None:
    """Chains, reads, lists, cancels and deletes go to the provider; no text is kept here."""
    first = client.responses.create(model="kept", input="one")
    assert first.output_text == TEXT
    with client.responses.stream(
        model="kept", input="two", previous_response_id=first.id
    ) as stream:
        second = stream.get_final_response()
    assert native.last["previous_response_id"] == first.id
    assert native.last["input"] == "two"
    assert client.responses.retrieve(second.id).output_text == TEXT
    assert native.seen[-1][:2] == ("GET", f"/v1/responses/{second.id}")
    assert client.responses.input_items.list(second.id, limit=3).data[0].id == "msg_1"
    assert native.seen[-1][1] == f"/v1/responses/{second.id}/input_items?limit=3"
    assert client.responses.cancel(second.id).status == "cancelled"
    client.responses.delete(second.id)
    assert second.id not in native.kept
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve(second.id)
    assert native.seen[-1][0] == "DELETE"  # what is deleted is not asked for again
    for path in (gateway.data_dir / "responses").rglob("*"):
        assert path.is_dir() or TEXT.encode() not in path.read_bytes()


def test_a_provider_s_responses_are_one_key_s_too(
    client: openai.OpenAI, other: openai.OpenAI, native: ResponsesUpstream
) -> None:
    """The provider would tell anybody with our credential; we ask it for nobody else."""
    made = client.responses.create(model="kept", input="secret")
    asked = len(native.seen)
    for ask in (
        lambda: other.responses.retrieve(made.id),
        lambda: other.responses.delete(made.id),
        lambda: other.responses.cancel(made.id),
        lambda: other.responses.input_items.list(made.id),
        lambda: other.responses.create(model="kept", input="x", previous_response_id=made.id),
    ):
        with pytest.raises(openai.NotFoundError):
            ask()
    assert len(native.seen) == asked
    unpinned = client.responses.create(model="kept", input="x", store=False)
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve(unpinned.id)


def _references(name: str) -> list[Any]:
    """Ways to refer to an item: as documented, without its type, and as nobody writes it."""
    return [
        [{"type": "item_reference", "id": name}],
        [{"role": "user", "content": "hi"}, {"id": name}],
        [{"id": name, "type": None}],
    ]


def _raw(gateway: RunningGateway, secret: str, body: str) -> int:
    """Send a body as it is; return the status."""
    request = urllib.request.Request(
        f"{gateway.url}/v1/responses", body.encode(), {"authorization": f"Bearer {secret}"}
    )
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        error.close()
        return error.code


def test_an_item_of_another_key_s_response_is_unknown(
    client: openai.OpenAI,
    other: openai.OpenAI,
    native: ResponsesUpstream,
    gateway: RunningGateway,
) -> None:
    """However its id was learned, and however it is referred to; its owner may go on."""
    whole = client.responses.create(model="kept", input="one")
    with client.responses.stream(model="kept", input="two") as stream:
        streamed = stream.get_final_response()
    client.responses.input_items.list(whole.id)
    other.responses.input_items.list(other.responses.create(model="kept", input="three").id)
    for name in (whole.output[0].id, whole.output[1].id, streamed.output[1].id, "msg_1"):
        assert name is not None
        asked = len(native.seen)
        for items in _references(name):
            for ask in (
                lambda: other.responses.create(model="kept", input=items),  # noqa: B023
                lambda: other.responses.input_tokens.count(model="kept", input=items),  # noqa: B023
                lambda: other.responses.compact(model="kept", input=items),  # noqa: B023
            ):
                with pytest.raises(openai.NotFoundError, match=f"'{name}' not found"):
                    ask()
        hidden = r'[{"typ\u0065": "item\u005freference", "id": "NAME", "id": "x"}]'
        hidden = hidden.replace("NAME", name)
        assert _raw(gateway, OTHER, f'{{"model": "kept", "input": {hidden}}}') == 404
        assert len(native.seen) == asked
        client.responses.create(model="kept", input=_references(name)[0])
        assert native.last["input"] == [{"type": "item_reference", "id": name}]
    other.responses.create(model="kept", input=[{"type": "item_reference", "id": "msg_unknown"}])
    assert native.last["input"][0]["id"] == "msg_unknown"  # its provider decides


def test_what_its_provider_has_lost_can_be_deleted(
    client: openai.OpenAI, native: ResponsesUpstream
) -> None:
    """The provider's 404 is passed on, and the response is not asked for again."""
    made = client.responses.create(model="kept", input="one")
    del native.kept[made.id]
    with pytest.raises(openai.NotFoundError):
        client.responses.delete(made.id)
    asked = len(native.seen)
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve(made.id)
    assert len(native.seen) == asked


def test_compaction_is_the_provider_s_own(
    client: openai.OpenAI, native: ResponsesUpstream, gateway: RunningGateway
) -> None:
    """Passed on where there is one, with its usage; elsewhere 404; what is sealed is refused."""
    before = counters(gateway.page())("tidegate_tokens_total", provider="keeper")
    made = client.responses.compact(model="kept", input="a long story", instructions="be brief")
    assert native.seen[-1][1] == "/v1/responses/compact"
    assert native.last == {"model": "gpt", "input": "a long story", "instructions": "be brief"}
    (item,) = made.output
    assert (item.type, made.usage.total_tokens) == ("compaction", 14)
    used = counters(gateway.page())("tidegate_tokens_total", provider="keeper")
    assert used > before
    with pytest.raises(openai.NotFoundError, match="compacts no conversations"):
        client.responses.compact(model="chatty", input="a long story")
    sealed: Any = item.model_dump(exclude_none=True)
    for model, given in (("chatty", sealed), ("thinker", {"type": "compaction_trigger"})):
        with pytest.raises(openai.BadRequestError, match="compacted conversation"):
            client.responses.create(model=model, input=[given, {"role": "user", "content": "x"}])


def test_a_response_cannot_leave_its_provider(client: openai.OpenAI) -> None:
    """A model of another provider does not know what came before, and that is said."""
    made = client.responses.create(model="kept", input="one")
    with pytest.raises(openai.BadRequestError, match="kept by provider 'keeper'"):
        client.responses.create(model="chatty", input="two", previous_response_id=made.id)


def test_a_provider_that_keeps_nothing_is_told_all(
    client: openai.OpenAI, native: ResponsesUpstream
) -> None:
    """Where the API is spoken without its state, the state is ours."""
    first = client.responses.create(model="forgotten", input="one")
    with client.responses.stream(
        model="forgotten", input="two", previous_response_id=first.id
    ) as stream:
        second = stream.get_final_response()
    assert "previous_response_id" not in native.last
    kinds = [item.get("role") or item["type"] for item in native.last["input"]]
    assert kinds == ["user", "reasoning", "assistant", "user"]
    assert native.last["input"][1]["encrypted_content"] == ENCRYPTED
    client.responses.create(model="forgotten", input="three", previous_response_id=second.id)
    assert len(native.last["input"]) == 7
    assert client.responses.retrieve(second.id).output_text == TEXT


def test_a_conversation_moves_to_a_provider_that_keeps(
    client: openai.OpenAI, native: ResponsesUpstream, chat: OpenAIUpstream
) -> None:
    """What we kept goes along, without ids and reasoning that the provider never gave."""
    first = client.responses.create(model="chatty", input="one")
    second = client.responses.create(model="kept", input="two", previous_response_id=first.id)
    assert [item.get("role") for item in native.last["input"]] == ["user", "assistant", "user"]
    assert all("id" not in item for item in native.last["input"])
    client.responses.create(model="kept", input="three", previous_response_id=second.id)
    assert native.last["previous_response_id"] == second.id


def test_a_native_stream_passes_byte_for_byte(
    client: openai.OpenAI, gateway: RunningGateway
) -> None:
    """Events are the provider's own; the usage that stands in the last one is counted."""
    before = counters(gateway.page())("tidegate_tokens_total", provider="keeper", type="input")
    events = list(client.responses.create(model="kept", input="hi", stream=True))
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert events[-1].type == "response.completed"
    after = counters(gateway.page())("tidegate_tokens_total", provider="keeper", type="input")
    assert after > before


def test_a_cut_native_stream_ends_in_a_failed_response(client: openai.OpenAI) -> None:
    """The numbers go on where the provider stopped."""
    events = list(client.responses.create(model="cut", input="hi", stream=True))
    assert [event.type for event in events[-2:]] == ["error", "response.failed"]
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert events[-1].response.id == events[0].response.id  # type: ignore[union-attr]


# --- Codex ----------------------------------------------------------------------------------

_TOOLS: list[dict[str, Any]] = [
    {
        "type": "function",
        "name": "shell",
        "description": "Runs a command",
        "strict": False,
        "parameters": {
            "type": "object",
            "properties": {"command": {"type": "array", "items": {"type": "string"}}},
            "required": ["command"],
            "additionalProperties": False,
        },
    },
    {
        "type": "custom",
        "name": "apply_patch",
        "description": "Edits files",
        "format": {"type": "grammar", "syntax": "lark", "definition": "start: /.+/"},
    },
    {"type": "local_shell"},
    {"type": "web_search", "external_web_access": False},
]


def _codex(gateway: RunningGateway, model: str, items: list[dict[str, Any]]) -> Any:
    """Ask as Codex does; return the answer's fidelity header and its events."""
    body = {
        "model": model,
        "instructions": "You are Codex.",
        "input": items,
        "tools": _TOOLS,
        "tool_choice": "auto",
        "parallel_tool_calls": False,
        "reasoning": {"effort": "medium", "summary": "auto"},
        "store": False,
        "stream": True,
        "include": ["reasoning.encrypted_content"],
        "prompt_cache_key": "0199-uuid",
        "text": {"verbosity": "low"},
    }
    request = urllib.request.Request(
        f"{gateway.url}/v1/responses",
        json.dumps(body).encode(),
        {
            "authorization": f"Bearer {SECRET}",
            "content-type": "application/json",
            "accept": "text/event-stream",
            "originator": "codex_cli_rs",
            "session_id": "0199-uuid",
            "conversation_id": "0199-uuid",
            "openai-beta": "responses=experimental",
            "user-agent": "codex_cli_rs/0.60.0",
        },
    )
    with urllib.request.urlopen(request, timeout=20) as answer:
        raw = answer.read().decode()
        header = answer.headers.get("x-tidegate-fidelity", "")
    events = []
    for event in raw.split("\n\n"):
        lines = [line for line in event.split("\n") if line and not line.startswith(":")]
        if lines:
            name, data = lines
            events.append(json.loads(data.removeprefix("data: ")))
            assert name == f"event: {events[-1]['type']}"
    return header, events


_HELLO: dict[str, Any] = {
    "type": "message",
    "role": "user",
    "content": [{"type": "input_text", "text": "list the files"}],
}
_CONTEXT: dict[str, Any] = {
    "type": "message",
    "role": "developer",
    "content": [{"type": "input_text", "text": "<permissions>"}],
}


def test_codex_with_a_chat_only_provider(gateway: RunningGateway, chat: OpenAIUpstream) -> None:
    """Text comes back as items; what the provider cannot have is named, nothing is kept."""
    header, events = _codex(gateway, "chatty", [_CONTEXT, _HELLO])
    assert events[-1]["type"] == "response.completed"
    assert events[-1]["response"]["output"][0]["content"][0]["text"] == "one two three four"
    assert events[-1]["response"]["store"] is False
    sent = chat.last["plain"][1]
    assert [message["role"] for message in sent["messages"]] == ["system", "user"]
    assert sent["reasoning_effort"] == "medium"
    for lost in ("prompt_cache_key", "text.verbosity", "tools[]"):
        assert f"{lost};dropped" in header


def test_codex_with_anthropic_goes_round(
    gateway: RunningGateway, native: ResponsesUpstream
) -> None:
    """Thinking and its signature come back through Codex's items as Anthropic gave them."""
    _, events = _codex(gateway, "thinker", [_HELLO])
    done = [event["item"] for event in events if event["type"] == "response.output_item.done"]
    assert [item["type"] for item in done] == ["reasoning", "function_call"]
    assert done[0]["summary"] == [{"type": "summary_text", "text": "hm"}]
    assert json.loads(done[1]["arguments"]) == {"command": ["ls"]}
    assert events[-1]["response"]["usage"]["input_tokens"] == 7
    output = {"type": "function_call_output", "call_id": done[1]["call_id"], "output": "a.txt"}
    _codex(gateway, "thinker", [_HELLO, *done, output])
    turns = native.last["messages"]
    assert [turn["role"] for turn in turns] == ["user", "assistant", "user"]
    thinking, call = turns[1]["content"]
    assert (thinking["thinking"], thinking["signature"]) == ("hm", SIGNATURE)
    assert call["input"] == {"command": ["ls"]}
    assert turns[2]["content"][0]["tool_use_id"] == "toolu_1"


def test_codex_moves_on_to_a_native_provider(
    gateway: RunningGateway, native: ResponsesUpstream
) -> None:
    """Reasoning of another provider is left out, which a native one would refuse."""
    _, events = _codex(gateway, "thinker", [_HELLO])
    done = [event["item"] for event in events if event["type"] == "response.output_item.done"]
    output = {"type": "function_call_output", "call_id": done[1]["call_id"], "output": "a.txt"}
    _, events = _codex(gateway, "kept", [_HELLO, *done, output])
    assert events[-1]["type"] == "response.completed"
    kinds = [item["type"] for item in native.last["input"]]
    assert kinds == ["message", "function_call", "function_call_output"]
