"""Bedrock's Converse, as strict as Amazon's own description of it.

The description says what a request and an answer may hold; the rules that it does not say (turns
alternate, results follow calls) are written here, from the API reference.
"""

from __future__ import annotations

import json
import re
import struct
import zlib
from collections.abc import Iterator, Mapping
from typing import Any

from tests.fakes.strict import scenarios as s
from tests.fakes.strict.service_model import operation, problem
from tests.fakes.strict.wire import Asked, bearer_problem, dumps

_PATH = re.compile(r"^/model/([^/]+)/(converse|converse-stream)$")
_DOCUMENT_NAME = re.compile(r"^[a-zA-Z0-9\s()\[\]-]{1,200}$")


_CONVERSE = operation("bedrock-runtime", "Converse")


class BedrockConverse:
    """See `wire.StrictWire`."""

    name = "bedrock"
    stream_type = "application/vnd.amazon.eventstream"

    def asked(self, path: str, body: dict[str, Any]) -> Asked | None:
        """Read the path, which names model and method."""
        match = _PATH.match(path)
        return None if match is None else Asked(match[1], match[2] == "converse-stream")

    def problem_of_headers(self, headers: Mapping[str, str]) -> tuple[int, str] | None:
        """Want a key of Bedrock's own, which is a bearer token."""
        return bearer_problem(headers)

    def problem(self, body: dict[str, Any], asked: Asked) -> str | None:
        """Check shapes, then the rules that shapes do not say."""
        return problem(body, _CONVERSE.input_shape) or _rules(body)

    def error(self, status: int, message: str) -> tuple[dict[str, str], dict[str, Any]]:
        """Write a refusal."""
        kinds = {400: "ValidationException", 429: "ThrottlingException"}
        kind = kinds.get(status, "AccessDeniedException")
        return {"x-amzn-errortype": f"{kind}:http://internal.amazon.com/"}, {"message": message}

    def whole(self, reply: s.Reply, asked: Asked) -> dict[str, Any]:
        """Write a whole answer."""
        content: list[dict[str, Any]] = []
        if reply.thinking:
            text = {"text": reply.thinking, "signature": s.SIGNATURE}
            content.append({"reasoningContent": {"reasoningText": text}})
        if reply.text:
            content.append({"text": reply.text})
        content += [
            {"toolUse": {"toolUseId": call.id, "name": call.name, "input": call.arguments}}
            for call in reply.calls
        ]
        return {
            "output": {"message": {"role": "assistant", "content": content}},
            "stopReason": _finish(reply),
            "usage": _USAGE,
            "metrics": {"latencyMs": 7},
        }

    def head(self, asked: Asked) -> list[bytes]:
        """Open with the role."""
        return [event_frame("messageStart", {"role": "assistant"})]

    def content(self, reply: s.Reply) -> Iterator[bytes]:
        """Stream blocks; only those of calls are opened."""
        at = 0
        if reply.thinking:
            for piece in (reply.thinking[:6], reply.thinking[6:]):
                yield _delta(at, {"reasoningContent": {"text": piece}})
            yield _delta(at, {"reasoningContent": {"signature": s.SIGNATURE}})
            yield event_frame("contentBlockStop", {"contentBlockIndex": at})
            at += 1
        if reply.text:
            for word in reply.words:
                yield _delta(at, {"text": word})
            yield event_frame("contentBlockStop", {"contentBlockIndex": at})
            at += 1
        for call in reply.calls:
            start = {"toolUse": {"toolUseId": call.id, "name": call.name}}
            yield event_frame("contentBlockStart", {"contentBlockIndex": at, "start": start})
            for piece in call.pieces:
                yield _delta(at, {"toolUse": {"input": piece}})
            yield event_frame("contentBlockStop", {"contentBlockIndex": at})
            at += 1

    def tail(self, reply: s.Reply, body: dict[str, Any]) -> list[bytes]:
        """Say why, and what it took."""
        return [
            event_frame("messageStop", {"stopReason": _finish(reply)}),
            event_frame("metadata", {"usage": _USAGE, "metrics": {"latencyMs": 7}}),
        ]


_USAGE = {
    "inputTokens": s.INPUT_TOKENS - s.CACHED_TOKENS,
    "outputTokens": s.OUTPUT_TOKENS,
    "totalTokens": s.INPUT_TOKENS + s.OUTPUT_TOKENS,
    "cacheReadInputTokens": s.CACHED_TOKENS,
    "cacheWriteInputTokens": 0,
}


def event_frame(kind: str, payload: dict[str, Any]) -> bytes:
    """Return one event in Amazon's binary framing; its payload is padded, as the real one's is."""
    padded = {**payload, "p": "abcdefgh"}
    return frame({":event-type": kind, ":message-type": "event"}, dumps(padded).encode())


def frame(headers: Mapping[str, str], payload: bytes) -> bytes:
    """Return one frame with text headers."""
    head = b""
    for name, value in {":content-type": "application/json", **headers}.items():
        data = value.encode()
        head += struct.pack(">B", len(name)) + name.encode()
        head += struct.pack(">BH", 7, len(data)) + data
    prelude = struct.pack(">II", 16 + len(head) + len(payload), len(head))
    message = prelude + struct.pack(">I", zlib.crc32(prelude)) + head + payload
    return message + struct.pack(">I", zlib.crc32(message))


def _delta(at: int, delta: dict[str, Any]) -> bytes:
    return event_frame("contentBlockDelta", {"contentBlockIndex": at, "delta": delta})


def _finish(reply: s.Reply) -> str:
    return "tool_use" if reply.calls else "end_turn"


def _rules(body: dict[str, Any]) -> str | None:
    if not body.get("messages"):
        return "messages: must not be empty"
    if body["messages"][0]["role"] != "user":
        return "A conversation must start with a user message."
    seen: set[str] = set()
    calls: list[str] = []
    role = ""
    for at, message in enumerate(body["messages"]):
        if message["role"] == role:
            return "roles must alternate between user and assistant"
        role = message["role"]
        kinds = [next(iter(block)) for block in message["content"]]
        seen.update(kinds)
        found = _content_problem(message, kinds, calls)
        if found is not None:
            return f"messages.{at}: {found}"
        calls = [b["toolUse"]["toolUseId"] for b in message["content"] if "toolUse" in b]
    if seen & {"toolUse", "toolResult"} and "toolConfig" not in body:
        return "The toolConfig field must be defined when using toolUse and toolResult blocks."
    inference = body.get("inferenceConfig", {})
    return _thinking_problem(body, inference)


def _thinking_problem(body: dict[str, Any], inference: dict[str, Any]) -> str | None:
    thinking = body.get("additionalModelRequestFields", {}).get("thinking")
    if thinking is not None:
        if not 1024 <= thinking["budget_tokens"] < inference.get("maxTokens", 1 << 20):
            return "thinking.budget_tokens: at least 1024, and less than maxTokens"
        if inference.get("temperature", 1) != 1:
            return "temperature may only be 1 when thinking is enabled"
    text = body.get("outputConfig", {}).get("textFormat")
    if text is not None and not isinstance(
        json.loads(text["structure"]["jsonSchema"]["schema"]), dict
    ):
        return "outputConfig: the schema must be an object"
    return None


def _content_problem(message: dict[str, Any], kinds: list[str], calls: list[str]) -> str | None:
    content = message["content"]
    if not content:
        return "content must not be empty"
    results = [b["toolResult"]["toolUseId"] for b in content if "toolResult" in b]
    if sorted(results) != sorted(calls):
        return f"expected results of {calls}, found {results}"
    if "document" in kinds and "text" not in kinds:
        return "a document needs a text beside it"
    for block in content:
        if "text" in block and not block["text"]:
            return "text must not be empty"
        if "document" in block and not _DOCUMENT_NAME.match(block["document"]["name"]):
            return "document.name: wrong signs"
        thought = block.get("reasoningContent", {}).get("reasoningText")
        if thought is not None and thought.get("signature") != s.SIGNATURE:
            return "thinking.signature: invalid"
    return None
