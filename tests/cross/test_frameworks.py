"""What people build with stands on the SDKs, and adds its own habits to the wire.

The frameworks are none of our dependencies: `make test` installs them beside ours
(scripts/install_frameworks.sh), in the versions of their own lock files.
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from tests.cross.matrix import SECRET
from tests.fakes.strict.scenarios import BERGEN, INPUT_TOKENS, OSLO, REPLIES
from tests.fakes.strict.server import StrictUpstream
from tests.running import RunningGateway

pytestmark = pytest.mark.process

ROOT = Path(__file__).parent.parent.parent
TURNS = Path(__file__).parent / "frameworks"
CALLS = [[call.name, call.arguments] for call in (OSLO, BERGEN)]


def _python() -> str:
    python = ROOT / ".venv-frameworks" / "bin" / "python"
    if not python.exists():
        pytest.skip("LangChain and pydantic-ai are not installed (make frameworks)")
    return str(python)


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
    python = _python()
    for turns in _run(python, str(TURNS / "langchain_turns.py"), gateway.url, SECRET).values():
        _check(turns)
        assert "RateLimitError" in turns["refused"]
    assert upstream.refused == []


def test_pydantic_ai(gateway: RunningGateway, upstream: StrictUpstream) -> None:
    """Agents, streams, native structured output and tools, each before another provider."""
    python = _python()
    for turns in _run(python, str(TURNS / "pydantic_ai_turns.py"), gateway.url, SECRET).values():
        _check(turns)
        assert turns["refused"] == 400
        assert turns.get("schema", ["Oslo", 2]) == ["Oslo", 2]
    assert upstream.refused == []


def test_ai_sdk(gateway: RunningGateway, upstream: StrictUpstream) -> None:
    """Vercel's AI SDK: four providers of its own, each before another of ours."""
    if not (TURNS / "node_modules").is_dir():
        pytest.skip("the AI SDK is not installed (make frameworks, where npm is)")
    script = str(TURNS / "ai_sdk_turns.mjs")
    for turns in _run("node", script, gateway.url, SECRET).values():
        _check(turns)
        assert turns["refused"] == 400
    assert upstream.refused == []
