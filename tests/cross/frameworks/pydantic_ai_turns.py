"""pydantic-ai's agents, run by an interpreter that has them: URL and key are the arguments."""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

from pydantic import BaseModel
from pydantic_ai import Agent, ModelHTTPError, NativeOutput
from pydantic_ai.direct import model_request
from pydantic_ai.messages import ModelRequest, ToolCallPart
from pydantic_ai.models import ModelRequestParameters
from pydantic_ai.models.anthropic import AnthropicModel
from pydantic_ai.models.openai import OpenAIChatModel, OpenAIResponsesModel
from pydantic_ai.providers.anthropic import AnthropicProvider
from pydantic_ai.providers.openai import OpenAIProvider
from pydantic_ai.tools import ToolDefinition

URL, KEY = sys.argv[1:3]


class Weather(BaseModel):
    """What the answer shall be."""

    city: str
    days: int


def _chat(name: str) -> Any:
    return OpenAIChatModel(name, provider=OpenAIProvider(base_url=f"{URL}/v1", api_key=KEY))


def _responses(name: str) -> Any:
    return OpenAIResponsesModel(name, provider=OpenAIProvider(base_url=f"{URL}/v1", api_key=KEY))


def _claude(name: str) -> Any:
    return AnthropicModel(name, provider=AnthropicProvider(base_url=URL, api_key=KEY))


async def _turns(make: Any, back: str) -> dict[str, Any]:
    whole = await Agent(make(f"{back}-text"), instructions="be terse").run("hi")
    async with Agent(make(f"{back}-text")).run_stream("hi") as run:
        streamed = await run.get_output()
    tool = ToolDefinition(name="get_weather", parameters_json_schema=Weather.model_json_schema())
    called = await model_request(
        make(f"{back}-tools"),
        [ModelRequest.user_text_prompt("weather?")],
        model_request_parameters=ModelRequestParameters(function_tools=[tool]),
    )
    try:
        await Agent(make(f"{back}-error")).run("hi")
        refused = 0
    except ModelHTTPError as error:
        refused = error.status_code
    calls = [part for part in called.parts if isinstance(part, ToolCallPart)]
    return {
        "text": whole.output,
        "streamed": streamed,
        "calls": [[call.tool_name, call.args_as_dict()] for call in calls],
        "input_tokens": whole.usage.input_tokens,
        "refused": refused,
    }


async def _shaped(make: Any, back: str) -> dict[str, Any]:
    """Add a structured answer, which its Anthropic model only asks of names that it knows."""
    asked = Agent(make(f"{back}-schema"), output_type=NativeOutput(Weather))
    shaped = (await asked.run("weather?")).output
    return {**await _turns(make, back), "schema": [shaped.city, shaped.days]}


async def _all() -> dict[str, Any]:
    return {
        "openai": await _shaped(_chat, "bedrock"),
        "responses": await _shaped(_responses, "gemini"),
        "anthropic": await _turns(_claude, "openai"),
    }


print(json.dumps(asyncio.run(_all())))  # noqa: T201  # it is what the test reads
