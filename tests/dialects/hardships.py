"""Streams and answers of every provider as one wants them broken: usage, errors, arguments."""

from __future__ import annotations

import json
from typing import Any

import pytest
from bench.fuzz_corpus import errors
from tests.fakes.strict.bedrock_converse import frame
from tests.fakes.strict.scenarios import Reply
from tests.fakes.strict.server import WIRES as STRICT_WIRES
from tests.fakes.strict.wire import Asked, data_event

from tidegate.dialects.anthropic.wire import PASSING_SIGNS as MESSAGE_SIGNS
from tidegate.dialects.bedrock.eventstream import FrameReader
from tidegate.dialects.gemini.wire import PASSING_SIGNS as GENERATE_SIGNS
from tidegate.dialects.openai.stream import CompletionStream
from tidegate.dialects.passing import PassingStream, Scanner
from tidegate.dialects.responses.passing import ResponsesPassing
from tidegate.dialects.sse import event_data, event_name
from tidegate.dialects.usage import Usage
from tidegate.dialects.wires import BACKS

STRICT = {wire.name: wire for wire in STRICT_WIRES}
ODD_TEXT = 'a\u2028b\u2029c\u0085d\x0be [DONE] "usage":{ "error" \\ é 漢 😀'
#: Where each provider tells usage, and what two numbers are called there.
_USAGE = {
    "openai": (("usage",), "prompt_tokens", "completion_tokens"),
    "responses": (("response", "usage"), "input_tokens", "output_tokens"),
    "anthropic": (("usage",), "input_tokens", "output_tokens"),
    "gemini": (("usageMetadata",), "promptTokenCount", "candidatesTokenCount"),
    "bedrock": (("usage",), "inputTokens", "outputTokens"),
    "cohere": (("delta", "usage", "tokens"), "input_tokens", "output_tokens"),
}
_PASSING_SIGNS = {"anthropic": MESSAGE_SIGNS, "gemini": GENERATE_SIGNS}
#: What a provider tells of input and output (None: nothing), and what is to be made of it.
USAGE_CASES = pytest.mark.parametrize(
    ("change", "expected"),
    [(None, None), ((0, 0), Usage()), ((7, 9), Usage(7, 9)), ((-1, 9), None), (("x", 1), None)],
    ids=["missing", "zero", "plain", "negative", "malformed"],
)


def stream_of(name: str, reply: Reply) -> list[bytes]:
    """Return a provider's whole stream, event by event, usage asked for."""
    wire = STRICT[name]
    told = {"stream_options": {"include_usage": True}}
    asked = Asked("m", stream=True)
    return [*wire.head(asked), *wire.content(reply), *wire.tail(reply, told)]


def with_payload(name: str, event: bytes, payload: bytes) -> bytes:
    """Return *event* with another payload."""
    if name == "bedrock":
        [(head, _)] = FrameReader(1 << 20).feed(event)
        return frame(head, payload)
    named = event_name(event)
    return (b"event: " + named + b"\n" if named else b"") + b"data: " + payload + b"\n\n"


def payload_of(name: str, event: bytes) -> bytes:
    """Return an event's payload."""
    if name == "bedrock":
        return FrameReader(1 << 20).feed(event)[0][1]
    return event_data(event) or b""


def with_usage(name: str, event: bytes, change: Any) -> bytes:
    """Return *event* with its usage changed: None takes it out, a pair sets both numbers."""
    try:
        body = json.loads(payload_of(name, event))
    except ValueError:
        return event
    path, first, second = _USAGE[name]
    inner = body
    for step in path[:-1]:
        inner = inner.get(step) or {}
    if not isinstance(inner.get(path[-1]), dict):
        return event
    if change is None:
        del inner[path[-1]]
    else:
        inner[path[-1]] = {first: change[0], second: change[1]}
    if name == "cohere":  # it tells what was cached beside the counts
        inner.pop("cached_tokens", None)
        inner.pop("billed_units", None)
    return with_payload(name, event, json.dumps(body, ensure_ascii=False).encode())


def error_events(name: str) -> list[bytes]:
    """Return a provider's ways to say in a stream that it failed."""
    found = []
    for of, (head, payload) in errors():
        if of != name:
            continue
        body = json.loads(payload)
        found.append(frame(head, payload) if name == "bedrock" else data_event(body, head))
    return found


def scanner_of(name: str, choices: int = 1) -> Scanner:
    """Return what stands between a provider and a caller of the same dialect."""
    if name == "openai":
        return CompletionStream(hide_usage=False, choices=choices)
    if name == "responses":
        return ResponsesPassing()
    return PassingStream(BACKS[name].stream_decoder(choices=choices), _PASSING_SIGNS[name])
