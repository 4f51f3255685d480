"""A conversation that moves: the SDK's own dialect to another provider, and back."""

from __future__ import annotations

from typing import Any

import anthropic
import openai
import pytest
from google import genai
from google.genai import types
from tests.cross import seen as w
from tests.cross.front_anthropic import AnthropicFront
from tests.cross.front_gemini import GeminiFront
from tests.cross.matrix import SECRET, model_name
from tests.fakes.strict.scenarios import LOOP, SIGNATURE
from tests.fakes.strict.server import StrictUpstream
from tests.running import RunningGateway

pytestmark = pytest.mark.process

_TOOL: dict[str, Any] = {"name": w.TOOL_NAME, "input_schema": w.TOOL}
_THINKING = {"type": "enabled", "budget_tokens": 2048}


@pytest.mark.parametrize("streams", [False, True])
def test_an_anthropic_conversation_moves_from_gemini_and_back(
    upstream: StrictUpstream, gateway: RunningGateway, streams: bool
) -> None:
    """Anthropic gets the same bytes without Gemini's state; Gemini gets its state again."""
    heard = w.Heard()
    client: Any = anthropic.Anthropic(
        base_url=gateway.url, api_key=SECRET, max_retries=0, http_client=heard.client()
    )
    asked: dict[str, Any] = {"max_tokens": 3000, "tools": [_TOOL], "thinking": _THINKING}
    question = {"role": "user", "content": w.QUESTION}
    with client:
        first = client.messages.create(
            **asked, model=model_name("gemini", "loop"), messages=[question]
        )
        (call,) = [block for block in first.content if block.type == "tool_use"]
        result = {"type": "tool_result", "tool_use_id": call.id, "content": w.RESULT}
        turns = [
            question,
            {"role": "assistant", "content": first.content},
            {"role": "user", "content": [result]},
        ]
        asked["messages"] = turns
        moved = model_name("anthropic", "loop")
        if streams:
            with client.messages.stream(**asked, model=moved) as stream:
                second = stream.get_final_message()
        else:
            second = client.messages.create(**asked, model=moved)
        assert second.content[0].text == "It rains in Oslo."
        assert heard.losses == {
            "messages[].content[].thinking": "dropped",
            "thinking": "dropped",  # the call was not led to by thinking of its own
        }
        client.messages.create(**asked, model=model_name("gemini", "loop"))
    assert upstream.refused == []
    received = upstream.last["anthropic", "loop"].body
    assert [block["type"] for block in received["messages"][1]["content"]] == ["tool_use"]
    thought, signed = upstream.last["gemini", "loop"].body["contents"][1]["parts"]
    assert thought == {"text": LOOP.thinking, "thought": True}
    assert signed["thoughtSignature"] == SIGNATURE


def test_a_gemini_conversation_moves_from_anthropic_and_back(
    upstream: StrictUpstream, gateway: RunningGateway
) -> None:
    """Gemini gets the same parts without Anthropic's state; Anthropic gets its thinking again."""
    heard = w.Heard()
    http = heard.client()
    options = types.HttpOptions(base_url=gateway.url, httpx_client=http)
    function = types.FunctionDeclaration(name=w.TOOL_NAME, parameters_json_schema=w.TOOL)
    config = types.GenerateContentConfig(
        tools=[types.Tool(function_declarations=[function])],
        max_output_tokens=20000,
        thinking_config=types.ThinkingConfig(thinking_budget=2048),
    )
    client = genai.Client(api_key=SECRET, http_options=options)
    models: Any = client.models
    question = types.Content(role="user", parts=[types.Part(text=w.QUESTION)])
    model = model_name("anthropic", "loop")
    first = models.generate_content(model=model, config=config, contents=[question])
    answer = first.candidates[0].content
    (call,) = [part.function_call for part in answer.parts if part.function_call is not None]
    response = types.FunctionResponse(id=call.id, name=call.name, response={"output": w.RESULT})
    result = types.Content(role="user", parts=[types.Part(function_response=response)])
    contents = [question, answer, result]
    # A model that takes calls without a signature: see `sign_foreign_calls` for the others.
    models.generate_content(model=model_name("gemini", "text"), config=config, contents=contents)
    assert heard.losses == {"contents[].parts[].thought": "dropped"}
    models.generate_content(model=model, config=config, contents=contents)
    client.close()
    http.close()
    assert upstream.refused == []
    (only,) = upstream.last["gemini", "text"].body["contents"][1]["parts"]
    assert only.keys() == {"functionCall"}
    thinking = upstream.last["anthropic", "loop"].body["messages"][1]["content"][0]
    assert thinking == {"type": "thinking", "thinking": LOOP.thinking, "signature": SIGNATURE}


def test_a_responses_conversation_moves_from_anthropic(
    upstream: StrictUpstream, gateway: RunningGateway
) -> None:
    """OpenAI gets the items without Anthropic's state, and the loss is named."""
    heard = w.Heard()
    client: Any = openai.OpenAI(
        base_url=f"{gateway.url}/v1", api_key=SECRET, max_retries=0, http_client=heard.client()
    )
    question = {"role": "user", "content": w.QUESTION}
    reasoning = {"effort": "medium"}
    with client:
        first = client.responses.create(
            model=model_name("anthropic", "reasoning"), input=w.QUESTION, reasoning=reasoning
        )
        items = [item.model_dump(exclude_none=True) for item in first.output]
        client.responses.create(
            model=model_name("responses", "text"), input=[question, *items, question]
        )
    assert heard.losses == {"input[].encrypted_content": "dropped"}
    assert upstream.refused == []
    received = upstream.last["responses", "text"].body["input"]
    assert [item.get("type", "message") for item in received] == ["message"] * 3


@pytest.mark.parametrize("make", [AnthropicFront, GeminiFront])
def test_what_never_moved_passes_byte_for_byte(
    upstream: StrictUpstream, gateway: RunningGateway, make: Any
) -> None:
    """A provider's own signature is no one else's: the loop at home is not touched."""
    front = make(gateway.url, SECRET)
    front.ask("thinking loop", model_name(front.name, "loop"))
    front.close()
    assert upstream.refused == []
    assert front.last.losses == {}
