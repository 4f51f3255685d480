"""LangChain's chat models, run by an interpreter that has them: URL and key are the arguments."""

from __future__ import annotations

import json
import sys
from typing import Any

from langchain_anthropic import ChatAnthropic
from langchain_openai import ChatOpenAI

URL, KEY = sys.argv[1:3]
TOOL = {
    "name": "get_weather",
    "description": "Tells the weather.",
    "parameters": {
        "type": "object",
        "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
        "required": ["city", "days"],
    },
}


def _chat(model: str) -> Any:
    return ChatOpenAI(model=model, base_url=f"{URL}/v1", api_key=KEY, max_retries=0)


def _claude(model: str) -> Any:
    return ChatAnthropic(model_name=model, base_url=URL, api_key=KEY, max_retries=0, max_tokens=500)


def _turns(make: Any, back: str) -> dict[str, Any]:
    whole = make(f"{back}-text").invoke("hi")
    pieces = list(make(f"{back}-text").stream("hi"))
    called = make(f"{back}-tools").bind_tools([TOOL]).invoke("weather?")
    try:
        make(f"{back}-limited").invoke("hi")
        refused = ""
    except Exception as error:  # its class is what is asked for
        refused = type(error).__name__
    return {
        "text": whole.text,
        "streamed": "".join(piece.text for piece in pieces),
        "calls": [[call["name"], call["args"]] for call in called.tool_calls],
        "input_tokens": whole.usage_metadata["input_tokens"],
        "refused": refused,
    }


print(json.dumps({"openai": _turns(_chat, "anthropic"), "anthropic": _turns(_claude, "gemini")}))  # noqa: T201
