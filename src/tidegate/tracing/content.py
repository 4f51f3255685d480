"""Prompts and answers as the conventions want them; only where `capture_content` asks for it.

Text and tool calls alone: pictures, sound and files are named by their type. Of what has no
neutral form (embeddings, plain completions) nothing is captured.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from tidegate.dialects.neutral import (
    Message,
    Refusal,
    RefusalDelta,
    Text,
    TextDelta,
    Thinking,
    ThinkingDelta,
    ToolResult,
    ToolUse,
)
from tidegate.dialects.wire import Back, UnreadableAnswer
from tidegate.dialects.wires import BACKS, WIRES
from tidegate.errors import GatewayError
from tidegate.logs.redact import redact
from tidegate.tracing.trace import AttemptSpan

MAX_TEXT_CHARACTERS: Final = 16 * 1024
"""Longest text of one part; more is cut, with a mark."""
MAX_ATTRIBUTE_CHARACTERS: Final = 128 * 1024


def input_messages(attempt: AttemptSpan) -> str | None:
    """Return `gen_ai.input.messages` of an attempt, or None where it cannot be told."""
    wire = WIRES.get(attempt.dialect)
    if wire is None or attempt.request is None:
        return None
    try:
        request = wire.decode_request(attempt.request)
    except (GatewayError, UnreadableAnswer, ValueError, msgspec.MsgspecError):
        return None
    messages = [_message(message) for message in request.messages]
    if request.system:
        parts = [{"type": "text", "content": _cut(text.text)} for text in request.system]
        messages.insert(0, {"role": "system", "parts": parts})
    return _json(messages)


def output_messages(attempt: AttemptSpan) -> str | None:
    """Return `gen_ai.output.messages` of an attempt, or None where there is nothing of one."""
    back = BACKS.get(attempt.dialect)
    if back is None or not attempt.answer or attempt.status not in (200, 201):
        return None
    body = b"".join(attempt.answer)
    try:
        if body.lstrip()[:1] == b"{":
            answer = back.decode_answer(body)
            return _json(
                [
                    {
                        "role": "assistant",
                        "parts": [_part(part) for part in choice.parts],
                        "finish_reason": choice.finish,
                    }
                    for choice in answer.choices
                ]
            )
        return _streamed(back, body)
    except (GatewayError, UnreadableAnswer, ValueError, msgspec.MsgspecError):
        return None


def _streamed(back: Back, body: bytes) -> str | None:
    decoder = back.stream_decoder()
    texts: dict[int, list[str]] = {}
    for event in [*decoder.feed(body), *decoder.end()]:
        if isinstance(event, TextDelta | RefusalDelta):
            texts.setdefault(event.choice, []).append(event.text)
        elif isinstance(event, ThinkingDelta):
            texts.setdefault(event.choice, [])
    if not texts:
        return None
    return _json(
        [
            {
                "role": "assistant",
                "parts": [{"type": "text", "content": _cut("".join(pieces))}],
            }
            for _, pieces in sorted(texts.items())
        ]
    )


def _message(message: Message) -> dict[str, Any]:
    return {"role": message.role, "parts": [_part(part) for part in message.parts]}


def _part(part: object) -> dict[str, Any]:
    match part:
        case Text() | Refusal():
            return {"type": "text", "content": _cut(part.text)}
        case Thinking():
            return {"type": "reasoning", "content": _cut(part.text)}
        case ToolUse():
            return {
                "type": "tool_call",
                "id": part.id,
                "name": part.name,
                "arguments": _cut(part.arguments),
            }
        case ToolResult():
            texts = [_part(one) for one in part.parts]
            return {"type": "tool_call_response", "id": part.tool_use_id, "result": texts}
        case _:
            return {"type": type(part).__name__.lower()}


def _cut(text: str) -> str:
    # Masked before it is cut: half a secret has no shape.
    text = redact(text[: 2 * MAX_TEXT_CHARACTERS])
    return text if len(text) <= MAX_TEXT_CHARACTERS else text[:MAX_TEXT_CHARACTERS] + "…"


def _json(messages: list[dict[str, Any]]) -> str:
    """Return messages as JSON; the oldest ones go where they are too much for one attribute."""
    while True:
        text = msgspec.json.encode(messages).decode("utf-8", "replace")
        if len(text) <= MAX_ATTRIBUTE_CHARACTERS or len(messages) <= 1:
            return text
        del messages[: max(1, len(messages) // 4)]
