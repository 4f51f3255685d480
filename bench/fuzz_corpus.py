"""What `bench.fuzz_dialects` starts from: nothing in it is broken yet.

Streams and answers are those of the strict providers of the tests; requests are one rich
conversation in each dialect.
"""

from __future__ import annotations

import json
from typing import Any

from tests.fakes.strict.scenarios import BERGEN, OSLO, REPLIES, Reply, ToolCall
from tests.fakes.strict.server import WIRES as STRICT_WIRES
from tests.fakes.strict.wire import Asked

from tidegate.dialects import neutral as n
from tidegate.dialects.bedrock.eventstream import FrameReader
from tidegate.dialects.sse import event_data, event_name
from tidegate.dialects.wire import Quirks
from tidegate.dialects.wires import WIRES

#: One event: its name (Bedrock: its headers) and its JSON.
Event = tuple[Any, bytes]

_PRETTY = ToolCall("call_pretty", "f", {"a": [1]}, ('{\n  "a":\r\n [1]', "\n}"))
_NO_JSON = ToolCall("call_cut", "f", {}, ('{"x": tru',))
_REPLIES: list[Reply] = [
    *REPLIES.values(),
    Reply('a\u2028b\u2029c\u0085d\x0be [DONE] "usage":{ \\ é 漢 😀', "th\u2028ought", (OSLO,)),
    Reply("Two", "thoughts", (BERGEN, OSLO, _PRETTY)),
    Reply(calls=(_NO_JSON,)),
    Reply(),
]
_PNG = "iVBORw0KGgo="


def _rich_request() -> n.NeutralRequest:
    schema = b'{"type":"object","properties":{"a":{"type":"number"}},"additionalProperties":false}'
    return n.NeutralRequest(
        dialect="openai",
        model="m",
        system=[n.Text("Be brief.", n.CacheMarker("5m"))],
        messages=[
            n.Message(
                "user",
                [
                    n.Text("What is\u2028this?"),
                    n.Image(mime="image/png", data=_PNG, detail="low"),
                    n.Image(url="https://x.test/i.png"),
                    n.Document("application/pdf", "JVBERi0=", title="a.pdf"),
                    n.Audio("UklGRg==", "wav"),
                ],
            ),
            n.Message(
                "assistant",
                [
                    n.Thinking("Hm.", "c2lnbmVk", origin="anthropic"),
                    n.Thinking("", None, "cmVkYWN0ZWQ=", origin="anthropic"),
                    n.Text("I look."),
                    n.ToolUse("call_1", "f", '{"a": 1.50}'),
                    n.ToolUse("call_2", "g", '{"a":\n{}}', signature="c2ln"),
                ],
            ),
            n.Message(
                "user",
                [
                    n.ToolResult("call_1", [n.Text("found")], name="f"),
                    n.ToolResult(
                        "call_2",
                        [n.Text("no"), n.Image(mime="image/png", data=_PNG)],
                        is_error=True,
                        name="g",
                    ),
                    n.Text("And now?", n.CacheMarker()),
                ],
            ),
        ],
        tools=[
            n.Tool("f", "finds", schema, strict=True),
            n.Tool("g", None, None, cache=n.CacheMarker()),
        ],
        tool_choice=n.ToolChoice("auto", allowed=["f"]),
        parallel_tool_calls=False,
        response_format=n.ResponseFormat("json_schema", "s", None, schema, True),
        stop=["END"],
        max_output_tokens=2000,
        temperature=0.5,
        top_p=0.9,
        seed=7,
        reasoning=n.Reasoning(effort="high"),
        user="ann",
        metadata=b'{"user_id":"u"}',
    )


def requests() -> list[tuple[str, bytes]]:
    """Return `(dialect, body)` of requests that each front understands."""
    found = []
    for name, wire in WIRES.items():
        rich = _rich_request()
        found.append((name, wire.encode_request(rich, "m", Quirks())[0]))
        plain = replace_fields(rich, tools=[], tool_choice=None, response_format=None, top_k=5)
        plain.messages = [n.Message("user", [n.Text("hi")]), n.Message("system", [n.Text("s")])]
        plain.reasoning = n.Reasoning("budget", budget_tokens=1500)
        found.append((name, wire.encode_request(plain, "m", Quirks(thinking="budget"))[0]))
    found.append(("openai", _CHAT_EXTRAS))
    found.append(("openai", _CHAT_LEGACY))
    found.append(("responses", _RESPONSES_EXTRAS))
    found.append(("anthropic", _MESSAGES_EXTRAS))
    found.append(("gemini", _GEMINI_EXTRAS))
    return found


def replace_fields(request: n.NeutralRequest, **fields: Any) -> n.NeutralRequest:
    """Return a request with other values in some fields."""
    for name, value in fields.items():
        setattr(request, name, value)
    return request


def _body(value: dict[str, Any]) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode()


_CHAT_EXTRAS = _body({
    "model": "m", "n": 2, "logprobs": True, "top_logprobs": 3, "logit_bias": {"1": -100},
    "stream": True, "stream_options": {"include_usage": True}, "modalities": ["text", "audio"],
    "audio": {"voice": "alloy", "format": "wav"}, "prediction": {"type": "content", "content": "x"},
    "messages": [
        {"role": "developer", "content": [{"type": "text", "text": "d"}]},
        {"role": "user", "content": "q", "name": "ann"},
        {"role": "assistant", "content": None, "refusal": "no", "audio": {"id": "a"}},
        {"role": "assistant", "tool_calls": [
            {"id": "c", "type": "custom", "custom": {"name": "t", "input": "free\ntext"}}]},
        {"role": "tool", "tool_call_id": "c", "content": [{"type": "text", "text": "ok"}]},
        {"role": "user", "content": [{"type": "file", "file": {
            "file_data": "data:application/pdf;base64,JVBERi0=", "filename": "a.pdf"}}]},
    ],
    "tools": [{"type": "custom", "custom": {"name": "t", "format": {
        "type": "grammar", "grammar": {"syntax": "lark", "definition": "x"}}}}],
    "tool_choice": {"type": "custom", "custom": {"name": "t"}},
})  # fmt: skip
_CHAT_LEGACY = _body({
    "model": "m", "functions": [{"name": "f", "parameters": {}}], "function_call": {"name": "f"},
    "messages": [
        {"role": "user", "content": "q"},
        {"role": "assistant", "function_call": {"name": "f", "arguments": "{}"}},
        {"role": "function", "name": "f", "content": "r"},
    ],
})  # fmt: skip
_RESPONSES_EXTRAS = _body({
    "model": "m", "instructions": "i", "previous_response_id": None, "store": False,
    "include": ["reasoning.encrypted_content"], "reasoning": {"effort": "low", "summary": "auto"},
    "text": {"format": {"type": "json_object"}, "verbosity": "low"}, "truncation": "auto",
    "input": [
        {"role": "user", "content": [{"type": "input_text", "text": "q"},
            {"type": "input_image", "image_url": "data:image/png;base64," + _PNG},
            {"type": "input_file", "file_id": "file-1"}]},
        {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "s"}],
            "encrypted_content": "gAAA"},
        {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c", "output": [
            {"type": "input_text", "text": "r"}]},
        {"type": "custom_tool_call", "call_id": "d", "name": "t", "input": "free"},
        {"type": "custom_tool_call_output", "call_id": "d", "output": "r"},
        {"type": "message", "role": "assistant", "content": [
            {"type": "output_text", "text": "t", "annotations": []},
            {"type": "refusal", "refusal": "no"}]},
        {"type": "web_search_call", "id": "ws_1", "status": "completed"},
    ],
    "tools": [{"type": "function", "name": "f", "parameters": {}, "strict": False},
        {"type": "web_search"}, {"type": "custom", "name": "t"}],
    "tool_choice": {"type": "allowed_tools", "mode": "auto", "tools": [
        {"type": "function", "name": "f"}]},
})  # fmt: skip
_MESSAGES_EXTRAS = _body({
    "model": "m", "max_tokens": 4000, "service_tier": "auto", "container": "c",
    "thinking": {"type": "enabled", "budget_tokens": 1024}, "stop_sequences": ["X"], "top_k": 3,
    "system": [{"type": "text", "text": "s", "cache_control": {"type": "ephemeral"}}],
    "messages": [
        {"role": "user", "content": [
            {"type": "document", "title": "t", "citations": {"enabled": True},
                "source": {"type": "text", "media_type": "text/plain", "data": "plain"}},
            {"type": "image", "source": {"type": "url", "url": "https://x.test/i.png"}},
            {"type": "search_result", "source": "s", "title": "t", "content": []}]},
        {"role": "assistant", "content": [
            {"type": "thinking", "thinking": "t", "signature": "s=="},
            {"type": "server_tool_use", "id": "srv", "name": "web_search", "input": {}},
            {"type": "tool_use", "id": "t1", "name": "f", "input": {"a": [1.0]}}]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t1", "content": [
            {"type": "text", "text": "r"}], "is_error": False}]},
    ],
    "tools": [{"name": "f", "input_schema": {"type": "object"}, "strict": True},
        {"type": "web_search_20250305", "name": "web_search"}],
    "tool_choice": {"type": "any", "disable_parallel_tool_use": True},
})  # fmt: skip
_GEMINI_EXTRAS = _body({
    "model": "m", "safetySettings": [{"category": "C", "threshold": "T"}], "cachedContent": "c",
    "systemInstruction": {"parts": [{"text": "s"}]},
    "contents": [
        {"role": "user", "parts": [{"text": "q"},
            {"fileData": {"fileUri": "gs://b/f", "mimeType": "video/mp4"}},
            {"inlineData": {"mimeType": "audio/wav", "data": "UklG"}}]},
        {"role": "model", "parts": [{"functionCall": {"name": "f", "args": {"a": 1}, "id": "i"},
            "thoughtSignature": "c2ln"}, {"executableCode": {"language": "PYTHON", "code": "1"}}]},
        {"role": "user", "parts": [{"functionResponse": {"name": "f", "id": "i",
            "response": {"output": "o"}}}]},
    ],
    "tools": [{"functionDeclarations": [{"name": "f", "parameters": {"type": "OBJECT"}}]},
        {"googleSearch": {}}],
    "toolConfig": {"functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": ["f"]}},
    "generationConfig": {"candidateCount": 2, "responseMimeType": "application/json",
        "responseSchema": {"type": "OBJECT"}, "thinkingConfig": {"thinkingBudget": 100},
        "responseLogprobs": True, "logprobs": 2},
})  # fmt: skip


def answers() -> list[tuple[str, bytes]]:
    """Return `(back, body)` of whole answers of each provider."""
    asked = Asked("m", stream=False)
    return [
        (wire.name, _body(wire.whole(reply, asked))) for wire in STRICT_WIRES for reply in _REPLIES
    ]


def streams() -> list[tuple[str, list[Event]]]:
    """Return `(back, events)` of streams of each provider."""
    asked = Asked("m", stream=True)
    found = []
    for wire in STRICT_WIRES:
        for reply in _REPLIES:
            usage = {"stream_options": {"include_usage": True}}
            wire_events = [*wire.head(asked), *wire.content(reply), *wire.tail(reply, usage)]
            events: list[Event] = []
            for raw in wire_events:
                if wire.name == "bedrock":
                    events += FrameReader(1 << 20).feed(raw)
                else:
                    events.append((event_name(raw).decode(), event_data(raw) or b""))
            found.append((wire.name, events))
    return found


def errors() -> list[tuple[str, Event]]:
    """Return each provider's way to say in a stream that it failed."""
    inner = {"message": "busy", "code": 429, "type": "rate_limit_error"}
    return [
        ("openai", ("", _body({"error": inner}))),
        ("responses", ("error", _body({"type": "error", "code": "server_error", "message": "b"}))),
        ("responses", ("response.failed", _body(
            {"type": "response.failed", "response": {"status": "failed", "error": inner}}))),
        ("anthropic", ("error", _body({"type": "error", "error": inner}))),
        ("gemini", ("", _body({"error": {**inner, "status": "RESOURCE_EXHAUSTED"}}))),
        ("cohere", ("error", _body({"message": "busy"}))),
        ("bedrock", ({":message-type": "exception", ":exception-type": "throttlingException"},
            _body({"message": "busy"}))),
    ]  # fmt: skip
