"""What `bench.fuzz_dialects` starts from, and how it breaks it.

Streams and answers are those of the strict providers of the tests; requests are one rich
conversation in each dialect. JSON is mostly broken as JSON is: a value of another kind, a field
that is missing or there twice; sometimes a byte is.
"""

from __future__ import annotations

import json
import random
from typing import Any

from tests.fakes.strict.bedrock_converse import frame
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


# --- how things break ---------------------------------------------------------------------------

_DEEP: Any = 0
for _ in range(150):
    _DEEP = [_DEEP]
_VALUES: list[Any] = [
    None, True, False, 0, -1, 1, 2**31, 2**53, 2**63, 2**64, 10**30, -(2**63) - 1, 0.0, -0.0, 0.5,
    1.5, 1e300, -1e300, 1e-300, float("inf"), float("nan"), "", " ", "x", "1", "\u2028", "\x00",
    "\ud800", "\udc80y", "a" * 3000, "[DONE]", "null", '{"a":', "{}", "text", "user", "tool",
    "assistant", "function", "error", "stop", "length", "tool_calls", "tool_use", "end_turn",
    "data:image/png;base64,AAAA", "data:;base64,", "https://x.test/a?b=c", "c2ln", "/", [], [None],
    [[]], [{}], ["x"], {}, {"a": 1}, {"type": "text", "text": "t"}, {"type": "text"}, {"text": "t"},
    {"error": {"message": "m"}}, {"message": "m", "code": 429}, _DEEP, [0] * 50,
]  # fmt: skip
_TOKENS = (
    b"\n", b"\r", b"\r\n", b"\n\n", b"\r\r", b"data:", b"data: ", b"event: error\n", b":", b" ",
    b"\xef\xbb\xbf", b"\xff", b"\xc3", b"\xed\xa0\x80", b"\x00", b"\xe2\x80\xa8", b'"', b"\\", b"{",
    b"}", b"[", b"]", b",", b"null", b"-", b"1e999", b"\\ud800", b"\\u0000", b"[DONE]",
    b"data: [DONE]\n\n", b": ping\n\n", b"id: 1\n", b"retry: 1\n", b"{}" * 20, b"[" * 3000,
)  # fmt: skip


class Breaker:
    """Breaks things, always in the same way for one seed."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)

    def json_text(self, text: bytes) -> bytes:
        """Return *text* with one to four values changed, written in one of several ways."""
        chance = self.chance
        try:
            value = json.loads(text)
        except (ValueError, RecursionError):
            return self.raw(text)
        for _ in range(chance.choice((1, 1, 1, 2, 3, 4))):
            value = self._changed(value)
        ascii_only = chance.random() < 0.5
        indent = 1 if chance.random() < 0.1 else None
        out = json.dumps(value, ensure_ascii=ascii_only, indent=indent)
        found = out.encode("utf-8", "surrogatepass")
        return self.raw(found) if chance.random() < 0.05 else found

    def _changed(self, value: Any) -> Any:
        """Change one place of *value*, mostly one further down."""
        chance = self.chance
        if isinstance(value, dict) and value and chance.random() < 0.9:
            name = chance.choice(list(value))
            kind = chance.randrange(12)
            if kind == 0:
                return {key: item for key, item in value.items() if key != name}
            if kind == 1:
                return {**value, chance.choice(("extra", "type", "error", "", name + "x")): 1}
            if kind == 2:
                other = chance.choice(list(value))
                return {**value, name: value[other], other: value[name]}
            return {**value, name: self._changed(value[name])}
        if isinstance(value, list) and value and chance.random() < 0.9:
            at = chance.randrange(len(value))
            kind = chance.randrange(8)
            if kind == 0:
                return value[:at] + value[at + 1 :]
            if kind == 1:
                return value[:at] + [value[at]] * chance.choice((2, 2, 3, 40)) + value[at + 1 :]
            if kind == 2:
                return [*value[at:], *value[:at]]
            return [*value[:at], self._changed(value[at]), *value[at + 1 :]]
        if isinstance(value, str) and chance.random() < 0.3:
            return value[: len(value) // 2] + chance.choice(("\u2028", "\ud800", "\n", "", '"'))
        return chance.choice(_VALUES)

    def raw(self, data: bytes) -> bytes:
        """Return *data* with one to three bytes, or a few, changed."""
        chance = self.chance
        broken = bytearray(data)
        for _ in range(chance.choice((1, 1, 2, 3))):
            at = chance.randrange(len(broken) + 1)
            kind = chance.randrange(6)
            if kind == 0 and at < len(broken):
                broken[at] ^= 1 << chance.randrange(8)
            elif kind == 1:
                broken[at:at] = chance.choice(_TOKENS)
            elif kind == 2:
                del broken[at : at + chance.randint(1, 12)]
            elif kind == 3:
                broken[at:at] = broken[at : at + chance.randint(1, 60)] * chance.randint(1, 3)
            elif kind == 4:
                token = chance.choice(_TOKENS)
                broken[at : at + len(token)] = token
            elif chance.random() < 0.3:
                del broken[at:]
        return bytes(broken)

    def events(self, events: list[Event], extra: list[Event]) -> list[Event]:
        """Return a stream with some events lost, twice, in another order, or broken within."""
        chance = self.chance
        out = list(events)
        for _ in range(chance.choice((0, 1, 1, 2, 3))):
            if not out:
                break
            at = chance.randrange(len(out))
            kind = chance.randrange(10)
            if kind == 0:
                del out[at]
            elif kind == 1:
                out[at:at] = [out[at]] * chance.choice((1, 1, 2, 30))
            elif kind == 2:
                other = chance.randrange(len(out))
                out[at], out[other] = out[other], out[at]
            elif kind == 3:
                del out[at:]
            elif kind == 4:
                out.insert(at, chance.choice(extra))
            elif kind == 5:
                out += events
            else:
                out[at] = (out[at][0], self.json_text(out[at][1]))
        return out

    def write(self, back: str, events: list[Event]) -> bytes:
        """Return the bytes of a stream, framed in one of the ways that are allowed."""
        chance = self.chance
        if back == "bedrock":
            return b"".join([frame(head, payload) for head, payload in events])
        end = chance.choice((b"\n", b"\n", b"\n", b"\r\n", b"\r"))
        out = b"\xef\xbb\xbf" if chance.random() < 0.05 else b""
        for name, payload in events:
            if chance.random() < 0.03:
                out += chance.choice((b": ping", b"retry: 5", b"id: 1", b"data")) + end + end
            if name:
                out += b"event: " + str(name).encode() + end
            blank = b"" if chance.random() < 0.02 else b" "
            lines = payload.replace(b"\r", b"\n").split(b"\n")
            out += end.join([b"data:" + blank + line for line in lines]) + end + end
        return out

    def pieces(self, data: bytes) -> list[bytes]:
        """Cut *data* in two to eight, or into single bytes."""
        chance = self.chance
        if chance.random() < 0.1 and len(data) < 4000:
            return [data[at : at + 1] for at in range(len(data))]
        cuts = sorted({chance.randrange(len(data) + 1) for _ in range(chance.randint(1, 7))})
        ends = [*cuts, len(data)]
        return [data[a:b] for a, b in zip([0, *cuts], ends, strict=True)]
