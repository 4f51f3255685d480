"""What people build with stands on the SDKs, and adds its own habits to the wire.

The frameworks are none of our dependencies. Where they are said to be, they are run:

    TIDEGATE_FRAMEWORKS_PYTHON   an interpreter with langchain-openai, langchain-anthropic and
                                 pydantic-ai-slim[openai,anthropic]
    TIDEGATE_AI_SDK_FOLDER       a folder with ai, @ai-sdk/openai, @ai-sdk/anthropic,
                                 @ai-sdk/google and zod in its node_modules
"""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
from tests.cross.matrix import SECRET
from tests.fakes.strict.scenarios import BERGEN, INPUT_TOKENS, OSLO, REPLIES
from tests.fakes.strict.server import StrictUpstream
from tests.running import RunningGateway

pytestmark = pytest.mark.process

TURNS = Path(__file__).parent / "frameworks"
CALLS = [[call.name, call.arguments] for call in (OSLO, BERGEN)]


def _setting(name: str) -> str:
    value = os.environ.get(name)
    if not value:
        pytest.skip(f"{name} is not set: the frameworks are not installed")
    return value


def _run(*command: str) -> dict[str, Any]:
    done = subprocess.run(command, capture_output=True, text=True, timeout=50, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    found: dict[str, Any] = json.loads(done.stdout.strip().split("\n")[-1])
    return found


def _check(turns: dict[str, Any]) -> None:
    assert turns["text"] == turns["streamed"] == REPLIES["text"].text
    assert turns["calls"] == CALLS
    assert turns["input_tokens"] == INPUT_TOKENS


def test_langchain(gateway: RunningGateway, upstream: StrictUpstream) -> None:
    """Its OpenAI and Anthropic models, each before another provider."""
    python = _setting("TIDEGATE_FRAMEWORKS_PYTHON")
    for turns in _run(python, str(TURNS / "langchain_turns.py"), gateway.url, SECRET).values():
        _check(turns)
        assert "RateLimitError" in turns["refused"]
    assert upstream.refused == []


def test_pydantic_ai(gateway: RunningGateway, upstream: StrictUpstream) -> None:
    """Agents, streams, native structured output and tools, each before another provider."""
    python = _setting("TIDEGATE_FRAMEWORKS_PYTHON")
    for turns in _run(python, str(TURNS / "pydantic_ai_turns.py"), gateway.url, SECRET).values():
        _check(turns)
        assert turns["refused"] == 400
        assert turns.get("schema", ["Oslo", 2]) == ["Oslo", 2]
    assert upstream.refused == []


def test_ai_sdk(gateway: RunningGateway, upstream: StrictUpstream) -> None:
    """Vercel's AI SDK: four providers of its own, each before another of ours."""
    folder = _setting("TIDEGATE_AI_SDK_FOLDER")
    script = str(TURNS / "ai_sdk_turns.mjs")
    for turns in _run("node", script, folder, gateway.url, SECRET).values():
        _check(turns)
        assert turns["refused"] == 400
    assert upstream.refused == []
