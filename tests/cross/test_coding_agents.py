"""Coding agents send more than SDKs do; all of it works in front of a foreign model."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest
from tests.cross.matrix import SECRET
from tests.fakes.strict.scenarios import SIGNATURE
from tests.fakes.strict.server import StrictUpstream
from tests.running import RunningGateway

pytestmark = pytest.mark.process

CLAUDE_CODE = {
    "authorization": f"Bearer {SECRET}",
    "anthropic-version": "2023-06-01",
    "anthropic-beta": "claude-code-20250219,interleaved-thinking-2025-05-14",
    "anthropic-dangerous-direct-browser-access": "true",
    "user-agent": "claude-cli/2.1.0 (external, cli)",
    "x-app": "cli",
    "x-claude-code-session-id": "0b5f3a2e-session",
    "x-stainless-lang": "js",
    "x-stainless-timeout": "600",
    "content-type": "application/json",
}
_MARK = {"type": "ephemeral"}
BASH = {
    "name": "Bash",
    "description": "Runs a command.",
    "input_schema": {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "type": "object",
        "properties": {"command": {"type": "string"}, "timeout": {"type": "number"}},
        "required": ["command"],
        "additionalProperties": False,
    },
}


def claude_code(model: str, **more: Any) -> dict[str, Any]:
    """Return a request as Claude Code makes it, in the middle of a session."""
    reminder = "<system-reminder>Be careful.</system-reminder>"
    thinking = {"type": "thinking", "thinking": "List first.", "signature": SIGNATURE}
    call = {"type": "tool_use", "id": "toolu_01", "name": "Bash", "input": {"command": "ls"}}
    result = {"type": "tool_result", "tool_use_id": "toolu_01", "is_error": False,
              "content": [{"type": "text", "text": "a.py"}], "cache_control": _MARK}  # fmt: skip
    return {
        "model": model,
        "max_tokens": 32000,
        "system": [
            {"type": "text", "text": "x-anthropic-billing-header: cc_version=2.1.0;"},
            {"type": "text", "text": "You are Claude Code.", "cache_control": _MARK},
            {"type": "text", "text": "Work in /src.", "cache_control": {**_MARK, "ttl": "1h"}},
        ],
        "messages": [
            {"role": "user", "content": [
                {"type": "text", "text": reminder},
                {"type": "text", "text": "What is here?", "cache_control": _MARK},
            ]},
            {"role": "assistant", "content": [thinking, call]},
            {"role": "user", "content": [result]},
        ],
        "tools": [BASH, {"type": "web_search_20250305", "name": "web_search", "max_uses": 8}],
        "metadata": {"user_id": "user_ab_account__session_0b5f3a2e"},
        "thinking": {"type": "enabled", "budget_tokens": 31999},
        "context_management": {"edits": [{"type": "clear_thinking_20251015", "keep": "all"}]},
        "stream": True,
        **more,
    }  # fmt: skip


@pytest.fixture
def http(gateway: RunningGateway) -> Iterator[httpx2.Client]:
    with httpx2.Client(base_url=gateway.url, timeout=20) as client:
        yield client


def _events(text: str) -> list[dict[str, Any]]:
    return [json.loads(line[6:]) for line in text.split("\n") if line.startswith("data: {")]


@pytest.mark.parametrize("back", ["openai", "responses", "gemini", "bedrock", "cohere"])
def test_claude_code_works_with_any_model(
    http: httpx2.Client, upstream: StrictUpstream, back: str
) -> None:
    """A whole turn streams, calls its tool, and each thing that had no place is named."""
    answer = http.post(
        "/v1/messages?beta=true", headers=CLAUDE_CODE, json=claude_code(f"{back}-tools")
    )
    assert upstream.refused == []
    assert answer.status_code == 200, answer.text
    events = _events(answer.text)
    assert events[0]["type"] == "message_start"
    assert events[-1]["type"] == "message_stop"
    starts = [e["content_block"] for e in events if e["type"] == "content_block_start"]
    assert [block["name"] for block in starts] == ["get_weather", "get_weather"]
    stop = next(event for event in events if event["type"] == "message_delta")
    assert stop["delta"]["stop_reason"] == "tool_use"
    named = answer.headers["x-tidegate-fidelity"]
    assert "tools[];dropped" in named
    assert "context_management;dropped" in named
    received = upstream.last[back, "tools"]
    assert "anthropic-beta" not in received.headers
    assert "x-claude-code-session-id" not in received.headers
    text = json.dumps(received.body)
    for word in ("You are Claude Code.", "Work in /src.", "What is here?", "a.py", "Bash"):
        assert word in text


def test_claude_code_passes_through_to_its_own_provider(
    http: httpx2.Client, upstream: StrictUpstream
) -> None:
    """Beta flags, version, markers and signatures reach Anthropic as they were."""
    asked = claude_code("anthropic-tools")
    del asked["context_management"]  # a beta field that the package's types do not have
    answer = http.post("/v1/messages?beta=true", headers=CLAUDE_CODE, json=asked)
    assert upstream.refused == []
    assert answer.status_code == 200, answer.text
    received = upstream.last["anthropic", "tools"]
    assert received.headers["anthropic-beta"] == CLAUDE_CODE["anthropic-beta"]
    assert received.headers["anthropic-version"] == "2023-06-01"
    assert received.body == {**asked, "model": "tools"}
    assert "x-tidegate-fidelity" not in answer.headers


def test_claude_code_discovers_models_and_counts_tokens(http: httpx2.Client) -> None:
    """The calls it makes before the first turn are answered in Anthropic's shape."""
    assert http.head("/", headers=CLAUDE_CODE).status_code < 500
    listed = http.get("/v1/models?limit=1000", headers=CLAUDE_CODE).json()
    names = [model["id"] for model in listed["data"]]
    assert "openai-text" in names
    assert all(model["type"] == "model" and model["display_name"] for model in listed["data"])
    asked = claude_code("openai-text")
    for name in ("max_tokens", "stream", "metadata", "context_management"):
        del asked[name]
    counted = http.post("/v1/messages/count_tokens?beta=true", headers=CLAUDE_CODE, json=asked)
    assert counted.status_code == 200, counted.text
    assert counted.json()["input_tokens"] > 100
    assert counted.headers["x-tidegate-usage"] == "estimated"


CODEX = {
    "authorization": f"Bearer {SECRET}",
    "accept": "text/event-stream",
    "originator": "codex_cli_rs",
    "user-agent": "codex_cli_rs/0.101.0",
    "session_id": "0b5f3a2e-session",
    "openai-beta": "responses=experimental",
    "content-type": "application/json",
}


def codex(model: str) -> dict[str, Any]:
    """Return a request as Codex makes it: stateless, encrypted reasoning, free-text tools."""
    shell = {"type": "function", "name": "shell", "description": "Runs a command.",
             "strict": False, "parameters": BASH["input_schema"]}  # fmt: skip
    patch = {"type": "custom", "name": "apply_patch", "description": "Edits files.",
             "format": {"type": "grammar", "syntax": "lark", "definition": "start: /.+/"},
             }  # fmt: skip
    return {
        "model": model,
        "instructions": "You are a coding agent.",
        "input": [
            {"type": "message", "role": "developer",
             "content": [{"type": "input_text", "text": "<permissions>all</permissions>"}]},
            {"type": "message", "role": "user",
             "content": [{"type": "input_text", "text": "What is here?"}]},
            {"type": "function_call", "call_id": "call_1", "name": "shell",
             "arguments": '{"command":"ls"}'},
            {"type": "function_call_output", "call_id": "call_1", "output": "a.py"},
        ],
        "tools": [shell, patch],
        "tool_choice": "auto",
        "parallel_tool_calls": False,
        "reasoning": {"effort": "medium", "summary": "auto"},
        "store": False,
        "stream": True,
        "include": ["reasoning.encrypted_content"],
        "prompt_cache_key": "0b5f3a2e",
        "text": {"verbosity": "medium"},
    }  # fmt: skip


@pytest.mark.parametrize("back", ["openai", "anthropic", "gemini", "bedrock", "cohere"])
def test_codex_works_with_any_model(
    http: httpx2.Client, upstream: StrictUpstream, back: str
) -> None:
    """A whole turn streams to `response.completed`, which Codex waits for."""
    answer = http.post("/v1/responses", headers=CODEX, json=codex(f"{back}-reasoning"))
    assert upstream.refused == []
    assert answer.status_code == 200, answer.text
    events = _events(answer.text)
    assert events[0]["type"] == "response.created"
    assert events[-1]["type"] == "response.completed"
    numbers = [event["sequence_number"] for event in events]
    assert numbers == list(range(len(numbers)))
    output = events[-1]["response"]["output"]
    text = [item["content"][0]["text"] for item in output if item["type"] == "message"]
    assert text == ["It will rain."]
    received = json.dumps(upstream.last[back, "reasoning"].body)
    for word in ("coding agent", "<permissions>", "What is here?", "a.py", "apply_patch"):
        assert word in received
