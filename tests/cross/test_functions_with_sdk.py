"""The `openai` package asking with functions, the predecessor of tools, across dialects."""

from __future__ import annotations

import json
from typing import Any

import openai
import pytest
from tests.cross import seen as w
from tests.cross.front_openai import FUNCTION
from tests.cross.matrix import SECRET, model_name
from tests.fakes.strict.scenarios import OSLO
from tests.fakes.strict.server import StrictUpstream
from tests.running import RunningGateway

pytestmark = pytest.mark.process

BACKS = ("responses", "anthropic", "gemini", "bedrock", "cohere")
QUESTION = {"role": "user", "content": w.QUESTION}


def _asked(back: str, model: str, *turns: object) -> dict[str, Any]:
    return {
        "model": model_name(back, model),
        "messages": [QUESTION, *turns],
        "functions": [FUNCTION],
        "max_tokens": 500,
    }


@pytest.mark.parametrize("back", BACKS)
def test_a_function_is_called_and_its_result_taken(
    gateway: RunningGateway, upstream: StrictUpstream, back: str
) -> None:
    """Whole and streamed, by providers that refuse what is not exactly theirs."""
    client: Any
    with openai.OpenAI(base_url=f"{gateway.url}/v1", api_key=SECRET, max_retries=0) as client:
        chat = client.chat.completions
        choice = chat.create(**_asked(back, "tools")).choices[0]
        pieces = [
            chunk.choices[0]
            for chunk in chat.create(**_asked(back, "tools"), stream=True)
            if chunk.choices
        ]
        result = {"role": "function", "name": w.TOOL_NAME, "content": w.RESULT}
        turn = choice.message.model_dump(exclude_none=True)
        answer = chat.create(**_asked(back, "result", turn, result)).choices[0]
    call = choice.message.function_call
    assert (call.name, json.loads(call.arguments)) == (OSLO.name, OSLO.arguments)
    assert (choice.finish_reason, choice.message.tool_calls) == ("function_call", None)
    calls = [piece.delta.function_call for piece in pieces if piece.delta.function_call]
    assert [call.name for call in calls if call.name] == [OSLO.name]
    assert json.loads("".join(call.arguments or "" for call in calls)) == OSLO.arguments
    assert pieces[-1].finish_reason == "function_call"
    assert answer.finish_reason == "stop"
    assert w.RESULT in json.dumps(upstream.last[back, "result"].body)
    assert not upstream.refused
