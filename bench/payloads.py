"""The bodies that the benchmark sends and the mock upstream answers."""

from __future__ import annotations

import base64
import json
import random

MODEL = "bench"
"""The model's name for clients; the gateway must rewrite it to `UPSTREAM_MODEL`."""
UPSTREAM_MODEL = "bench-large-2026"
SPACED_MODEL = "bench-spaced"
UPSTREAM_SPACED_MODEL = "bench-large-2026-spaced"
"""The mock sends its events 5 ms apart to a request that has `-spaced` in its body."""

TRANSLATED_MODEL = "bench-claude"
"""A model whose provider speaks Anthropic's dialect; `-spaced` behind it as above."""
UPSTREAM_TRANSLATED_MODEL = "claude-bench-2026"

STREAM_EVENTS = 52
"""Events of one stream as a client sees them that did not ask for usage, `[DONE]` included."""

_SENTENCE = (
    "the gate opens when water rises and closes as it falls so that ships of every size may "
    "pass the narrow entrance at slack tide while pumps rest and the keeper writes the level "
    "in a book that nobody has read since the harbour was built"
)
_WORDS = _SENTENCE.split()


def _text(length: int, seed: int) -> str:
    """Return about `length` characters that repeat little, with quotes and newlines."""
    words, size, source = [], 0, random.Random(seed)
    while size < length:
        word = source.choice(_WORDS)
        if source.random() < 0.03:
            word = source.choice(('"said"', "grün", "naïve", "\n\n", "水門"))
        words.append(word)
        size += len(word) + 1
    return " ".join(words)


def chat_body(*, stream: bool, model: str = MODEL, length: int = 1_480) -> bytes:
    """Return a chat request of some `length` characters of text in four messages."""
    share = length // 4
    messages = [
        {"role": role, "content": _text(share, seed)}
        for seed, role in enumerate(("system", "user", "assistant", "user"))
    ]
    body = {"model": model, "temperature": 0.2, "max_tokens": 256, "messages": messages}
    if stream:
        body["stream"] = True
    return json.dumps(body, ensure_ascii=False).encode()


def messages_body(*, stream: bool, model: str = MODEL, length: int = 1_480) -> bytes:
    """Return what `chat_body` asks, as Anthropic's SDK would."""
    asked = json.loads(chat_body(stream=stream, model=model, length=length))
    system, *messages = asked["messages"]
    return json.dumps(
        {**asked, "system": system["content"], "messages": messages}, ensure_ascii=False
    ).encode()


def image_body() -> bytes:
    """Return a chat request with an inline picture, 1 MB in all."""
    picture = base64.b64encode(random.Random(1).randbytes(750_000)).decode()
    content = [
        {"type": "text", "text": "What is in this picture?"},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64," + picture}},
    ]
    return json.dumps({"model": MODEL, "messages": [{"role": "user", "content": content}]}).encode()


BODIES = {
    "1.7 KB": chat_body(stream=False),
    "49 KB": chat_body(stream=False, length=46_500),
    "1 MB": image_body(),
}


def answer_body() -> bytes:
    """Return a whole chat answer of 1.1 KB."""
    return json.dumps(
        {
            "id": "chatcmpl-bench0123456789",
            "object": "chat.completion",
            "created": 1_700_000_000,
            "model": UPSTREAM_MODEL,
            "choices": [
                {
                    "index": 0,
                    "message": {"role": "assistant", "content": _text(700, 9)},
                    "logprobs": None,
                    "finish_reason": "stop",
                }
            ],
            "usage": {
                "prompt_tokens": 320,
                "completion_tokens": 150,
                "total_tokens": 470,
                "prompt_tokens_details": {"cached_tokens": 0},
            },
            "system_fingerprint": "fp_bench",
        },
        ensure_ascii=False,
    ).encode()


def messages_answer() -> bytes:
    """Return the text of `answer_body` as a whole answer of Anthropic's."""
    return json.dumps(
        {
            "id": "msg_bench0123456789",
            "type": "message",
            "role": "assistant",
            "model": UPSTREAM_TRANSLATED_MODEL,
            "content": [{"type": "text", "text": _text(700, 9)}],
            "stop_reason": "end_turn",
            "stop_sequence": None,
            "usage": {
                "input_tokens": 320,
                "cache_creation_input_tokens": 0,
                "cache_read_input_tokens": 0,
                "output_tokens": 150,
                "service_tier": "standard",
            },
        },
        ensure_ascii=False,
    ).encode()


def messages_events() -> list[bytes]:
    """Return the words of `stream_events` as a stream of Anthropic's, each event whole."""

    def event(kind: str, **fields: object) -> bytes:
        data = json.dumps({"type": kind, **fields}).encode()
        return b"event: %s\ndata: %s\n\n" % (kind.encode(), data)

    message = json.loads(messages_answer())
    usage = {**message["usage"], "output_tokens": 1}
    begun = {**message, "content": [], "stop_reason": None, "usage": usage}
    source = random.Random(3)
    words = [f" {source.choice(_WORDS)}" for _ in range(STREAM_EVENTS - 3)]
    return [
        event("message_start", message=begun),
        event("content_block_start", index=0, content_block={"type": "text", "text": ""}),
        event("ping"),
        *(
            event("content_block_delta", index=0, delta={"type": "text_delta", "text": word})
            for word in words
        ),
        event("content_block_stop", index=0),
        event(
            "message_delta",
            delta={"stop_reason": "end_turn", "stop_sequence": None},
            usage={"output_tokens": 49},
        ),
        event("message_stop"),
    ]


def stream_events(*, include_usage: bool) -> list[bytes]:
    """Return the events of a streamed answer, each whole with its blank line."""

    def event(choices: list[dict[str, object]], **more: object) -> bytes:
        chunk = {
            "id": "chatcmpl-bench0123456789",
            "object": "chat.completion.chunk",
            "created": 1_700_000_000,
            "model": UPSTREAM_MODEL,
            "choices": choices,
            **more,
        }
        return b"data: " + json.dumps(chunk).encode() + b"\n\n"

    def delta(content: dict[str, str], finish: str | None = None) -> bytes:
        return event([{"index": 0, "delta": content, "finish_reason": finish}])

    source = random.Random(3)
    words = [delta({"content": f" {source.choice(_WORDS)}"}) for _ in range(STREAM_EVENTS - 3)]
    events = [delta({"role": "assistant", "content": ""}), *words, delta({}, "stop")]
    if include_usage:
        usage = {"prompt_tokens": 320, "completion_tokens": 49, "total_tokens": 369}
        events.append(event([], usage=usage))
    return [*events, b"data: [DONE]\n\n"]
