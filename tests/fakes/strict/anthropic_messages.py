"""Anthropic's Messages, as strict as the `anthropic` package's types and the API's refusals."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from anthropic.types import message_create_params as params
from tests.fakes.strict import scenarios as s
from tests.fakes.strict.sdk_types import problem
from tests.fakes.strict.wire import KEY, Asked, data_event, is_base64

VERSIONS = ("2023-06-01", "2026-10-21")
_ID = re.compile(r"^[a-zA-Z0-9_-]+$")
_LEAST_BUDGET_TOKENS = 1024


class AnthropicMessages:
    """See `wire.StrictWire`."""

    name = "anthropic"
    stream_type = "text/event-stream; charset=utf-8"

    def asked(self, path: str, body: dict[str, Any]) -> Asked | None:
        """Serve one path; the SDK's beta resources add a query."""
        if path.partition("?")[0] != "/v1/messages":
            return None
        return Asked(str(body.get("model")), body.get("stream") is True)

    def problem_of_headers(self, headers: Mapping[str, str]) -> tuple[int, str] | None:
        """Want a key and a known version."""
        if KEY not in (headers.get("x-api-key"), headers.get("authorization", "")[7:]):
            return 401, "invalid x-api-key"
        version = headers.get("anthropic-version")
        if version is None:
            return 400, "anthropic-version: header is required"
        if version not in VERSIONS:
            return 400, f"anthropic-version: {version!r} is not a valid version"
        self._version = version
        return None

    def problem(self, body: dict[str, Any], asked: Asked) -> str | None:
        """Check types, then the rules that types do not say."""
        known = dict(body)
        if self._version == "2023-06-01":
            for name, most in (("temperature", 1), ("top_p", 1), ("top_k", 1 << 20)):
                value = known.pop(name, None)
                if value is not None and not 0 <= value <= most:
                    return f"{name}: must be between 0 and {most}"
        shape = (
            params.MessageCreateParamsStreaming
            if asked.stream
            else params.MessageCreateParamsNonStreaming
        )
        return problem(known, shape) or _rules(body) or _changed(body, asked.model)

    def error(self, status: int, message: str) -> tuple[dict[str, str], dict[str, Any]]:
        """Write a refusal."""
        kinds = {401: "authentication_error", 404: "not_found_error", 429: "rate_limit_error"}
        error = {"type": kinds.get(status, "invalid_request_error"), "message": message}
        lines = {"request-id": "req_anthropic"}
        return lines, {"type": "error", "error": error, "request_id": "req_anthropic"}

    def whole(self, reply: s.Reply, asked: Asked) -> dict[str, Any]:
        """Write a whole answer."""
        content: list[dict[str, Any]] = []
        if reply.thinking:
            content.append(
                {"type": "thinking", "thinking": reply.thinking, "signature": s.SIGNATURE}
            )
        if reply.text:
            content.append({"type": "text", "text": reply.text, "citations": None})
        content += [
            {"type": "tool_use", "id": call.id, "name": call.name, "input": call.arguments}
            for call in reply.calls
        ]
        return {
            **_message(asked), "content": content, "stop_reason": _finish(reply),
            "usage": _usage(s.OUTPUT_TOKENS),
        }  # fmt: skip

    def head(self, asked: Asked) -> list[bytes]:
        """Open with an empty message; a ping may come at any time."""
        message = {**_message(asked), "usage": _usage(1)}
        return [_event("message_start", message=message), _event("ping")]

    def content(self, reply: s.Reply) -> Iterator[bytes]:
        """Stream blocks."""
        at = 0
        if reply.thinking:
            empty = {"type": "thinking", "thinking": "", "signature": ""}
            pieces = (reply.thinking[:6], reply.thinking[6:])
            deltas = [{"type": "thinking_delta", "thinking": piece} for piece in pieces]
            deltas.append({"type": "signature_delta", "signature": s.SIGNATURE})
            yield from _block(at, empty, deltas)
            at += 1
        if reply.text:
            deltas = [{"type": "text_delta", "text": word} for word in reply.words]
            yield from _block(at, {"type": "text", "text": ""}, deltas)
            at += 1
        for call in reply.calls:
            empty = {"type": "tool_use", "id": call.id, "name": call.name, "input": {}}
            deltas = [
                {"type": "input_json_delta", "partial_json": piece} for piece in ("", *call.pieces)
            ]
            yield from _block(at, empty, deltas)
            at += 1

    def tail(self, reply: s.Reply, body: dict[str, Any]) -> list[bytes]:
        """Say why, and what it took."""
        delta = {"stop_reason": _finish(reply), "stop_sequence": None}
        usage = {"output_tokens": s.OUTPUT_TOKENS}
        return [_event("message_delta", delta=delta, usage=usage), _event("message_stop")]


def _event(kind: str, **fields: Any) -> bytes:
    return data_event({"type": kind, **fields}, kind)


def _block(at: int, empty: dict[str, Any], deltas: list[dict[str, Any]]) -> Iterator[bytes]:
    yield _event("content_block_start", index=at, content_block=empty)
    for delta in deltas:
        yield _event("content_block_delta", index=at, delta=delta)
    yield _event("content_block_stop", index=at)


def _message(asked: Asked) -> dict[str, Any]:
    return {
        "id": "msg_1", "type": "message", "role": "assistant", "model": asked.model,
        "content": [], "stop_reason": None, "stop_sequence": None,
    }  # fmt: skip


def _finish(reply: s.Reply) -> str:
    return "tool_use" if reply.calls else "end_turn"


def _usage(output_tokens: int) -> dict[str, Any]:
    return {
        "input_tokens": s.INPUT_TOKENS - s.CACHED_TOKENS,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": s.CACHED_TOKENS,
        "output_tokens": output_tokens,
    }


def _rules(body: dict[str, Any]) -> str | None:
    if not body["messages"]:
        return "messages: at least one message is required"
    if body["max_tokens"] < 1:
        return "max_tokens: must be at least 1"
    thinking = body.get("thinking") or {}
    if thinking.get("type") == "enabled":
        if not _LEAST_BUDGET_TOKENS <= thinking["budget_tokens"] < body["max_tokens"]:
            return "thinking.budget_tokens: at least 1024, and less than max_tokens"
        if body.get("temperature") not in (None, 1):
            return "temperature: may only be 1 when thinking is enabled"
        if body.get("top_k") is not None:
            return "top_k: must be unset when thinking is enabled"
        if (body.get("tool_choice") or {}).get("type") in ("any", "tool"):
            return "tool_choice: thinking may not be enabled when it forces tool use"
    if body.get("tool_choice") and not body.get("tools"):
        return "tool_choice: may only be specified while providing tools"
    return _turns(body) or _unsigned_call(body)


def _turns(body: dict[str, Any]) -> str | None:
    if body["messages"][0]["role"] == "assistant":
        return "messages.0: the first message must be the user's"
    calls: set[str] = set()
    for at, message in enumerate(body["messages"]):
        path = f"messages.{at}"
        blocks = message["content"]
        if isinstance(blocks, str):
            blocks = [{"type": "text", "text": blocks}]
        results = {block["tool_use_id"] for block in blocks if block["type"] == "tool_result"}
        if results - calls:
            return f"{path}: unexpected tool_use_id: {sorted(results - calls)}"
        if calls - results:
            return f"{path}: tool_use ids without tool_result: {sorted(calls - results)}"
        kinds = [block["type"] for block in blocks]
        if results and "tool_result" in kinds[len(results) :]:
            return f"{path}: tool results must come first"
        calls = {block["id"] for block in blocks if block["type"] == "tool_use"}
        for block in blocks:
            wrong = _block_problem(block)
            if wrong is not None:
                return f"{path}.content.{wrong}"
    return None


def _unsigned_call(body: dict[str, Any]) -> str | None:
    """Want the thinking that led to calls back while their results come in."""
    last = body["messages"][-1]["content"]
    is_amid = isinstance(last, list) and last[0]["type"] == "tool_result"
    if not is_amid or (body.get("thinking") or {}).get("type") != "enabled":
        return None
    if body["messages"][-2]["content"][0]["type"] in ("thinking", "redacted_thinking"):
        return None
    return "messages: expected `thinking` or `redacted_thinking`, but found `tool_use`"


def _changed(body: dict[str, Any], model: str) -> str | None:
    """Want thinking as it was: joined from its pieces, without another's."""
    for at, message in enumerate(body["messages"] if model == "loop" else ()):
        for block in message["content"] if isinstance(message["content"], list) else ():
            if block["type"] == "thinking" and block["thinking"] != s.LOOP.thinking:
                return f"messages.{at}: thinking blocks cannot be modified"
    return None


def _block_problem(block: dict[str, Any]) -> str | None:
    if block["type"] == "text" and not block["text"].strip():
        return "text: must contain non-whitespace text"
    if block["type"] == "tool_use" and not _ID.match(block["id"]):
        return "tool_use.id: wrong signs"
    if block["type"] == "image" and block["source"]["type"] == "base64":
        return None if is_base64(block["source"]["data"]) else "image.source.data: invalid base64"
    if block["type"] == "thinking" and block["signature"] != s.SIGNATURE:
        return "thinking.signature: invalid"
    if block["type"] == "redacted_thinking" and block["data"] != s.SIGNATURE:
        return "redacted_thinking.data: invalid"
    return None
