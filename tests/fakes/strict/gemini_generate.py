"""Gemini's generateContent, as strict as `google-genai`'s types and the API's refusals."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from google.genai import types
from tests.fakes.strict import scenarios as s
from tests.fakes.strict.sdk_types import problem
from tests.fakes.strict.wire import KEY, Asked, data_event

_PATH = re.compile(
    r"^/(?:v1|v1beta)/models/([^:/?]+):(generateContent|streamGenerateContent\?alt=sse)$"
)
_FIELDS: dict[str, Any] = {
    "contents": list[types.Content],
    "systemInstruction": types.Content,
    "tools": list[types.Tool],
    "toolConfig": types.ToolConfig,
    "safetySettings": list[types.SafetySetting],
    "generationConfig": types.GenerationConfig,
    "cachedContent": str,
    "serviceTier": str,
}
_DATA = {"text", "inlineData", "fileData", "functionCall", "functionResponse"}
_KINDS = {400: "INVALID_ARGUMENT", 403: "PERMISSION_DENIED", 404: "NOT_FOUND",
          429: "RESOURCE_EXHAUSTED"}  # fmt: skip


class GeminiGenerate:
    """See `wire.StrictWire`."""

    name = "gemini"
    stream_type = "text/event-stream"

    def asked(self, path: str, body: dict[str, Any]) -> Asked | None:
        """Read the path, which names model and method."""
        match = _PATH.match(path)
        return None if match is None else Asked(match[1], "stream" in match[2])

    def problem_of_headers(self, headers: Mapping[str, str]) -> tuple[int, str] | None:
        """Want the key in the header that is its own."""
        if headers.get("x-goog-api-key") != KEY:
            return 403, "Method doesn't allow unregistered callers"
        return None

    def problem(self, body: dict[str, Any], asked: Asked) -> str | None:
        """Check types, then the rules that types do not say."""
        for name, value in body.items():
            if name not in _FIELDS:
                return f'Unknown name "{name}": Cannot find field.'
            wrong = problem(value, _FIELDS[name], name)
            if wrong is not None:
                return wrong
        return _rules(body) or _unsigned(body, asked.model)

    def error(self, status: int, message: str) -> tuple[dict[str, str], dict[str, Any]]:
        """Write a refusal."""
        kind = _KINDS.get(status, "INTERNAL")
        return {}, {"error": {"code": status, "message": message, "status": kind}}

    def whole(self, reply: s.Reply, asked: Asked) -> dict[str, Any]:
        """Write a whole answer."""
        parts: list[dict[str, Any]] = []
        if reply.thinking:
            parts.append({"text": reply.thinking, "thought": True})
        if reply.text:
            parts.append({"text": reply.text})
            if reply.thinking:
                parts[-1]["thoughtSignature"] = s.SIGNATURE
        parts += _calls(reply)
        return {**_response(parts, "STOP"), "usageMetadata": _usage(reply)}

    def head(self, asked: Asked) -> list[bytes]:
        """Nothing opens a stream."""
        return []

    def content(self, reply: s.Reply) -> Iterator[bytes]:
        """Stream responses, each a piece; calls come whole."""
        if reply.thinking:
            for piece in (reply.thinking[:6], reply.thinking[6:]):
                yield data_event(_response([{"text": piece, "thought": True}]))
        for word in reply.words:
            yield data_event(_response([{"text": word}]))
        if reply.calls:
            yield data_event(_response(_calls(reply)))

    def tail(self, reply: s.Reply, body: dict[str, Any]) -> list[bytes]:
        """The last response tells the finish and the usage; the signature is on an empty text."""
        parts = (
            [{"text": "", "thoughtSignature": s.SIGNATURE}] if reply.text and reply.thinking else []
        )
        return [data_event({**_response(parts, "STOP"), "usageMetadata": _usage(reply)})]


def _calls(reply: s.Reply) -> list[dict[str, Any]]:
    return [
        {
            "functionCall": {"id": call.id, "name": call.name, "args": call.arguments},
            # Only the first of a round is signed.
            **({"thoughtSignature": s.SIGNATURE} if reply.thinking and not at else {}),
        }
        for at, call in enumerate(reply.calls)
    ]


def _response(parts: list[dict[str, Any]], finish: str = "") -> dict[str, Any]:
    candidate: dict[str, Any] = {"content": {"parts": parts, "role": "model"}, "index": 0}
    if finish:
        candidate["finishReason"] = finish
    return {"candidates": [candidate], "modelVersion": "m-001", "responseId": "resp-1"}


def _usage(reply: s.Reply) -> dict[str, Any]:
    thoughts = s.REASONING_TOKENS if reply.thinking else 0
    usage = {
        "promptTokenCount": s.INPUT_TOKENS,
        "cachedContentTokenCount": s.CACHED_TOKENS,
        "candidatesTokenCount": s.OUTPUT_TOKENS - thoughts,
        "totalTokenCount": s.INPUT_TOKENS + s.OUTPUT_TOKENS,
    }
    return {**usage, "thoughtsTokenCount": thoughts} if thoughts else usage


def _unsigned(body: dict[str, Any], model: str) -> str | None:
    """Want the signature of a round of calls back, as newer models do, and no other at all."""
    for at, content in enumerate(body["contents"]):
        parts = content.get("parts") or []
        signed = [part["thoughtSignature"] for part in parts if "thoughtSignature" in part]
        if any(one.replace("-", "+").replace("_", "/") != s.SIGNATURE for one in signed):
            return f"contents[{at}]: thought signature is not valid"
        first = next((part for part in parts if "functionCall" in part), None)
        if model == "loop" and first is not None and "thoughtSignature" not in first:
            return f"contents[{at}]: function call is missing a thought_signature"
    return None


def _rules(body: dict[str, Any]) -> str | None:
    if not body.get("contents"):
        return "contents is not specified"
    pending = 0
    for at, content in enumerate(body["contents"]):
        parts = content.get("parts") or []
        if content.get("role", "user") not in ("user", "model"):
            return f"contents[{at}].role: please use a valid role: user, model."
        if not parts:
            return f"contents[{at}].parts: must not be empty"
        for part in parts:
            if not _DATA & part.keys():
                return f"contents[{at}].parts: required oneof field 'data' must have one field set"
        answers = sum("functionResponse" in part for part in parts)
        if answers != pending:
            return (
                "the number of function response parts must equal the number of function call "
                "parts of the function call turn"
            )
        pending = sum("functionCall" in part for part in parts)
    config = body.get("generationConfig") or {}
    if ("responseSchema" in config or "responseJsonSchema" in config) and config.get(
        "responseMimeType"
    ) != "application/json":
        return "responseMimeType: must be application/json for a response schema"
    if len(config.get("stopSequences") or ()) > 5:
        return "stopSequences: at most 5"
    calling = body.get("toolConfig", {}).get("functionCallingConfig", {})
    if calling.get("allowedFunctionNames") and calling.get("mode") not in ("ANY", "VALIDATED"):
        return "allowedFunctionNames: only with mode ANY"
    thinking = config.get("thinkingConfig") or {}
    if "thinkingBudget" in thinking and "thinkingLevel" in thinking:
        return "thinkingConfig: a budget and a level exclude each other"
    return None
