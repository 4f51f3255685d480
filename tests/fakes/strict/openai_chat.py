"""OpenAI's Chat Completions, as strict as the `openai` package's types and the API's refusals.

It never shows what its models think, only how many tokens that took.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from openai.types.chat import completion_create_params as params
from tests.fakes.strict import scenarios as s
from tests.fakes.strict.sdk_types import problem
from tests.fakes.strict.wire import Asked, bearer_problem, data_event, dumps, is_base64

_IMAGES = ("data:image/png;base64,", "data:image/jpeg;base64,", "data:image/webp;base64,")


class OpenAIChat:
    """See `wire.StrictWire`."""

    name = "openai"
    stream_type = "text/event-stream; charset=utf-8"

    def asked(self, path: str, body: dict[str, Any]) -> Asked | None:
        """Serve one path."""
        if path != "/v1/chat/completions":
            return None
        return Asked(str(body.get("model")), body.get("stream") is True)

    def problem_of_headers(self, headers: Mapping[str, str]) -> tuple[int, str] | None:
        """Want a bearer token."""
        return bearer_problem(headers)

    def problem(self, body: dict[str, Any], asked: Asked) -> str | None:
        """Check types, then the rules that types do not say."""
        shape = (
            params.CompletionCreateParamsStreaming
            if asked.stream
            else params.CompletionCreateParamsNonStreaming
        )
        return problem(body, shape) or _rules(body)

    def error(self, status: int, message: str) -> tuple[dict[str, str], dict[str, Any]]:
        """Write a refusal."""
        return error_of_openai(status, message)

    def whole(self, reply: s.Reply, asked: Asked) -> dict[str, Any]:
        """Write a whole answer."""
        message: dict[str, Any] = {
            "role": "assistant", "content": reply.text or None, "refusal": None,
        }  # fmt: skip
        if reply.calls:
            message["tool_calls"] = [
                {
                    "id": call.id,
                    "type": "function",
                    "function": {"name": call.name, "arguments": dumps(call.arguments)},
                }
                for call in reply.calls
            ]
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": _finish(reply)}
        return {
            "id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": asked.model,
            "choices": [choice], "usage": _usage(reply), "service_tier": "default",
        }  # fmt: skip

    def head(self, asked: Asked) -> list[bytes]:
        """Open with the role."""
        return [_chunk({"role": "assistant", "content": "", "refusal": None})]

    def content(self, reply: s.Reply) -> Iterator[bytes]:
        """Stream pieces."""
        for word in reply.words:
            yield _chunk({"content": word})
        for at, call in enumerate(reply.calls):
            function = {"name": call.name, "arguments": ""}
            yield _chunk(
                {"tool_calls": [
                    {"index": at, "id": call.id, "type": "function", "function": function}
                ]}
            )  # fmt: skip
            for piece in call.pieces:
                yield _chunk({"tool_calls": [{"index": at, "function": {"arguments": piece}}]})

    def tail(self, reply: s.Reply, body: dict[str, Any]) -> list[bytes]:
        """Finish; tell usage where it was asked for."""
        events = [_chunk({}, _finish(reply))]
        if (body.get("stream_options") or {}).get("include_usage"):
            events.append(data_event({**_COMMON, "choices": [], "usage": _usage(reply)}))
        return [*events, b"data: [DONE]\n\n"]


_COMMON = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "m"}


def _chunk(delta: dict[str, Any], finish: str | None = None) -> bytes:
    choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
    return data_event({**_COMMON, "choices": [choice]})


def _finish(reply: s.Reply) -> str:
    return "tool_calls" if reply.calls else "stop"


def _usage(reply: s.Reply) -> dict[str, Any]:
    return {
        "prompt_tokens": s.INPUT_TOKENS,
        "completion_tokens": s.OUTPUT_TOKENS,
        "total_tokens": s.INPUT_TOKENS + s.OUTPUT_TOKENS,
        "prompt_tokens_details": {"cached_tokens": s.CACHED_TOKENS, "audio_tokens": 0},
        "completion_tokens_details": {
            "reasoning_tokens": s.REASONING_TOKENS if reply.thinking else 0
        },
    }


def is_image_url(url: str) -> bool:
    """Whether *url* leads to an image, or holds one of a known kind."""
    if not url.startswith("data:"):
        return url.startswith("https://")
    return url.startswith(_IMAGES) and is_base64(url.partition(",")[2])


def error_of_openai(status: int, message: str) -> tuple[dict[str, str], dict[str, Any]]:
    """Write a refusal as all of OpenAI's APIs do."""
    limited = status == 429
    error = {
        "message": message,
        "type": "rate_limit_error" if limited else "invalid_request_error",
        "param": None,
        "code": "rate_limit_exceeded" if limited else None,
    }
    return {"x-request-id": "req_openai"}, {"error": error}


def _rules(body: dict[str, Any]) -> str | None:
    if not body["messages"]:
        return "messages: must not be empty"
    open_calls: set[str] = set()
    for at, message in enumerate(body["messages"]):
        path = f"messages[{at}]"
        if message["role"] == "tool":
            if message["tool_call_id"] not in open_calls:
                return f"{path}: a tool message must follow the call that it answers"
            open_calls.discard(message["tool_call_id"])
            continue
        if open_calls:
            return f"{path}: these calls have no answer: {sorted(open_calls)}"
        open_calls = {call["id"] for call in message.get("tool_calls") or ()}
        for part in message["content"] if isinstance(message.get("content"), list) else ():
            if part["type"] == "image_url" and not is_image_url(part["image_url"]["url"]):
                return f"{path}: the image's address is of no known form"
    if not body.get("tools"):
        for name in ("tool_choice", "parallel_tool_calls"):
            if body.get(name) is not None:
                return f"{name}: only allowed when tools are specified"
    if "stream_options" in body and not body.get("stream"):
        return "stream_options: only allowed when stream is enabled"
    if body.get("top_logprobs") is not None and not body.get("logprobs"):
        return "top_logprobs: logprobs must be set"
    if len(body.get("stop") or ()) > 4 and isinstance(body["stop"], list):
        return "stop: at most 4"
    return None
