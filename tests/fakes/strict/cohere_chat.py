"""Cohere's Chat, version 2, as strict as the types of its SDK.

That package's models allow unknown fields, so the shapes are written here. They were held against
the request, answer and stream types of cohere 7.3.1.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Literal, NotRequired, TypedDict

from tests.fakes.strict import scenarios as s
from tests.fakes.strict.sdk_types import problem
from tests.fakes.strict.wire import Asked, bearer_problem, data_event, dumps


class _TextContent(TypedDict):
    type: Literal["text"]
    text: str


class _ImageUrl(TypedDict):
    url: str
    detail: NotRequired[Literal["auto", "low", "high"]]


class _ImageContent(TypedDict):
    type: Literal["image_url"]
    image_url: _ImageUrl


class _ThinkingContent(TypedDict):
    type: Literal["thinking"]
    thinking: str


class _SystemMessage(TypedDict):
    role: Literal["system"]
    content: str | list[_TextContent]


class _UserMessage(TypedDict):
    role: Literal["user"]
    content: str | list[_TextContent | _ImageContent]


class _Function(TypedDict):
    name: str
    arguments: str


class _Call(TypedDict):
    id: str
    type: Literal["function"]
    function: _Function


class _AssistantMessage(TypedDict):
    role: Literal["assistant"]
    content: NotRequired[str | list[_TextContent | _ThinkingContent]]
    tool_calls: NotRequired[list[_Call]]
    tool_plan: NotRequired[str]
    citations: NotRequired[list[Any]]


class _Document(TypedDict):
    data: dict[str, Any]
    id: NotRequired[str]


class _DocumentContent(TypedDict):
    type: Literal["document"]
    document: _Document


class _ToolMessage(TypedDict):
    role: Literal["tool"]
    tool_call_id: str
    content: str | list[_TextContent | _DocumentContent]


class _Schema(TypedDict):
    name: str
    parameters: dict[str, Any]
    description: NotRequired[str]


class _Tool(TypedDict):
    type: Literal["function"]
    function: _Schema


class _Format(TypedDict):
    type: Literal["text", "json_object"]
    json_schema: NotRequired[dict[str, Any]]


class _Thinking(TypedDict):
    type: Literal["enabled", "disabled"]
    token_budget: NotRequired[int]


class ChatRequest(TypedDict):
    model: str
    messages: list[_SystemMessage | _UserMessage | _AssistantMessage | _ToolMessage]
    stream: NotRequired[bool]
    tools: NotRequired[list[_Tool]]
    strict_tools: NotRequired[bool]
    tool_choice: NotRequired[Literal["REQUIRED", "NONE"]]
    documents: NotRequired[list[Any]]
    citation_options: NotRequired[dict[str, Any]]
    response_format: NotRequired[_Format]
    safety_mode: NotRequired[Literal["CONTEXTUAL", "STRICT", "OFF"]]
    max_tokens: NotRequired[int]
    stop_sequences: NotRequired[list[str]]
    temperature: NotRequired[float]
    seed: NotRequired[int]
    frequency_penalty: NotRequired[float]
    presence_penalty: NotRequired[float]
    k: NotRequired[int]
    p: NotRequired[float]
    logprobs: NotRequired[bool]
    thinking: NotRequired[_Thinking]
    priority: NotRequired[int]


class CohereChat:
    """See `wire.StrictWire`."""

    name = "cohere"
    stream_type = "text/event-stream"

    def asked(self, path: str, body: dict[str, Any]) -> Asked | None:
        """Serve one path."""
        if path != "/v2/chat":
            return None
        return Asked(str(body.get("model")), body.get("stream") is True)

    def problem_of_headers(self, headers: Mapping[str, str]) -> tuple[int, str] | None:
        """Want a bearer token."""
        return bearer_problem(headers)

    def problem(self, body: dict[str, Any], asked: Asked) -> str | None:
        """Check shapes, then the rules that shapes do not say."""
        return problem(body, ChatRequest) or _rules(body)

    def error(self, status: int, message: str) -> tuple[dict[str, str], dict[str, Any]]:
        """Write a refusal."""
        return {}, {"id": "cohere-1", "message": message}

    def whole(self, reply: s.Reply, asked: Asked) -> dict[str, Any]:
        """Write a whole answer."""
        message: dict[str, Any] = {"role": "assistant"}
        content: list[dict[str, Any]] = []
        if reply.thinking:
            content.append({"type": "thinking", "thinking": reply.thinking})
        if reply.text:
            content.append({"type": "text", "text": reply.text})
        if content:
            message["content"] = content
        if reply.calls:
            message["tool_calls"] = [
                {
                    "id": call.id,
                    "type": "function",
                    "function": {"name": call.name, "arguments": dumps(call.arguments)},
                }
                for call in reply.calls
            ]
        return {
            "id": "cohere-1", "message": message, "finish_reason": _finish(reply), "usage": _USAGE,
        }  # fmt: skip

    def head(self, asked: Asked) -> list[bytes]:
        """Open with the empty message."""
        empty = {"role": "assistant", "content": [], "tool_plan": "", "tool_calls": []}
        return [_event("message-start", id="cohere-1", delta={"message": empty})]

    def content(self, reply: s.Reply) -> Iterator[bytes]:
        """Stream parts, each opened, filled and closed."""
        at = 0
        if reply.thinking:
            pieces = [{"thinking": piece} for piece in (reply.thinking[:6], reply.thinking[6:])]
            yield from _part(at, {"type": "thinking", "thinking": ""}, pieces)
            at += 1
        if reply.text:
            yield from _part(
                at, {"type": "text", "text": ""}, [{"text": word} for word in reply.words]
            )
        for number, call in enumerate(reply.calls):
            function = {"name": call.name, "arguments": ""}
            opened = {"id": call.id, "type": "function", "function": function}
            yield _event("tool-call-start", index=number, delta={"message": {"tool_calls": opened}})
            for piece in call.pieces:
                more = {"function": {"arguments": piece}}
                yield _event(
                    "tool-call-delta", index=number, delta={"message": {"tool_calls": more}}
                )
            yield _event("tool-call-end", index=number)

    def tail(self, reply: s.Reply, body: dict[str, Any]) -> list[bytes]:
        """Say why, and what it took."""
        delta = {"finish_reason": _finish(reply), "usage": _USAGE}
        return [_event("message-end", id="cohere-1", delta=delta)]


_USAGE = {
    "billed_units": {"input_tokens": s.INPUT_TOKENS - 3, "output_tokens": s.OUTPUT_TOKENS},
    "tokens": {"input_tokens": float(s.INPUT_TOKENS), "output_tokens": float(s.OUTPUT_TOKENS)},
    "cached_tokens": float(s.CACHED_TOKENS),
}


def _event(kind: str, **fields: Any) -> bytes:
    return data_event({"type": kind, **fields}, kind)


def _part(at: int, empty: dict[str, Any], pieces: list[dict[str, Any]]) -> Iterator[bytes]:
    yield _event("content-start", index=at, delta={"message": {"content": empty}})
    for piece in pieces:
        yield _event("content-delta", index=at, delta={"message": {"content": piece}})
    yield _event("content-end", index=at)


def _finish(reply: s.Reply) -> str:
    return "TOOL_CALL" if reply.calls else "COMPLETE"


def _rules(body: dict[str, Any]) -> str | None:
    if not body["messages"]:
        return "messages: must not be empty"
    if "tool_choice" in body and not body.get("tools"):
        return "tool_choice: only with tools"
    for name, most in (("p", 0.99), ("frequency_penalty", 1), ("presence_penalty", 1)):
        if not 0 <= body.get(name, 0.5) <= most:
            return f"{name}: must be between 0 and {most}"
    if not 0 <= body.get("k", 0) <= 500:
        return "k: must be between 0 and 500"
    if len(body.get("stop_sequences", ())) > 5:
        return "stop_sequences: at most 5"
    if body.get("response_format", {}).get("type") == "json_object" and body.get("tools"):
        return "response_format: not supported together with tools"
    calls: set[str] = set()
    for at, message in enumerate(body["messages"]):
        if message["role"] == "tool":
            if message["tool_call_id"] not in calls:
                return f"messages[{at}]: no call has this id"
            calls.discard(message["tool_call_id"])
            continue
        if calls:
            return f"messages[{at}]: these calls have no result: {sorted(calls)}"
        if message["role"] == "assistant":
            if not message.get("content") and not message.get("tool_calls"):
                return f"messages[{at}]: an assistant's message needs content or tool_calls"
            calls = {call["id"] for call in message.get("tool_calls", ())}
    return None
