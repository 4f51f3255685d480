"""The short way is the long way in less time: nothing that anybody can see tells them apart."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from tests.edge.wire import Answer
from tests.turns.stand import (
    CHAT_ANSWER,
    MESSAGE_ANSWER,
    Behave,
    Connection,
    Provider,
    Stand,
    answering,
    chat,
    config,
    in_turn,
    request,
)
from tests.turns.two_ways import Seen, play

from tidegate.dialects.envelope import TEXT_SIGN

TEXT = json.dumps(
    {
        "id": "cmpl-1",
        "object": "text_completion",
        "created": 1_700_000_000,
        "model": "fast-up",
        "choices": [{"index": 0, "text": " world", "finish_reason": "length"}],
        "usage": {"prompt_tokens": 2, "completion_tokens": 1, "total_tokens": 3},
    }
).encode()
HOUR = "requests: 1000, window: 1h"


def chat_answer(**usage: Any) -> bytes:
    """Return an answer to a chat with another usage; with none at all if none is given."""
    answer = json.loads(CHAT_ANSWER)
    del answer["usage"]
    if usage:
        answer["usage"] = usage
    return json.dumps(answer).encode()


def message(model: str, *more: str, **fields: object) -> bytes:
    """Write a request for a message."""
    body = {
        "model": model,
        "max_tokens": 100,
        "messages": [{"role": "user", "content": "Good day"}],
        **fields,
    }
    return request("/v1/messages", body, *more)


class Case(msgspec.Struct):
    """A plain request, what its provider says, then says, and the rest of the world."""

    data: bytes
    up: Behave = answering(CHAT_ANSWER)
    then: Behave | None = None
    claude: Behave = answering(MESSAGE_ANSWER)
    settings: dict[str, str] = {}


CASES = {
    "chat": Case(chat()),
    "chat without /v1": Case(chat().replace(b" /v1/chat", b" /chat", 1)),
    "chat with a query": Case(chat().replace(b"/completions ", b"/completions?api-version=1 ", 1)),
    "text": Case(
        request("/v1/completions", {"model": "fast", "prompt": "Hello"}), up=answering(TEXT)
    ),
    "message": Case(message("wise")),
    "message below /anthropic": Case(message("wise").replace(b" /v1/", b" /anthropic/v1/", 1)),
    "message with its own version": Case(
        message("wise", "anthropic-version: 2023-06-01", "anthropic-beta: one,two")
    ),
    "message with a cached prompt": Case(
        message(
            "wise",
            system=[{"type": "text", "text": "x", "cache_control": {"type": "ephemeral"}}],
        )
    ),
    "message with another provider's state in it": Case(
        message(
            "wise",
            messages=[
                {"role": "user", "content": "Good day"},
                {
                    "role": "assistant",
                    "content": [
                        {"type": "thinking", "thinking": "", "signature": TEXT_SIGN[1:].decode()},
                        {"type": "text", "text": "Good day."},
                    ],
                },
                {"role": "user", "content": "Good night"},
            ],
        )
    ),
    "chat of a provider of messages": Case(chat("wise")),
    "chat that loses a field there": Case(chat("wise", logit_bias={"1": 1}, seed=3)),
    "message of a provider of chats": Case(message("fast")),
    "message that loses a field there": Case(message("fast", top_k=3)),
    "a model that is called the same there": Case(chat("same-up")),
    "a model of the provider's, not configured": Case(chat("up/some-model")),
    "a model without a price": Case(chat("free")),
    "created": Case(chat(), up=answering(CHAT_ANSWER, status=b"201 Created")),
    "another reason phrase": Case(chat(), up=answering(CHAT_ANSWER, status=b"200 Fine")),
    "no usage": Case(chat(), up=answering(chat_answer())),
    "no usage, translated": Case(message("fast"), up=answering(chat_answer())),
    "usage of nothing": Case(chat(), up=answering(chat_answer(prompt_tokens=5))),
    "usage of zeros": Case(
        chat(), up=answering(chat_answer(prompt_tokens=0, completion_tokens=0, total_tokens=0))
    ),
    "no output": Case(
        chat(), up=answering(chat_answer(prompt_tokens=9, completion_tokens=0, total_tokens=9))
    ),
    "cached and reasoning tokens": Case(
        chat(),
        up=answering(
            chat_answer(
                prompt_tokens=90,
                completion_tokens=40,
                total_tokens=130,
                prompt_tokens_details={"cached_tokens": 64},
                completion_tokens_details={"reasoning_tokens": 32},
            )
        ),
    ),
    "absurd tokens": Case(
        chat(), up=answering(chat_answer(prompt_tokens=1 << 40, completion_tokens=1 << 41))
    ),
    "a negative usage": Case(
        chat(), up=answering(chat_answer(prompt_tokens=-5, completion_tokens=-1))
    ),
    "an answer that is no JSON": Case(chat(), up=answering(b"<html>", b"content-type: text/html")),
    "an answer that is empty": Case(chat(), up=answering(b"")),
    "an answer that cannot be translated": Case(message("fast"), up=answering(b"<html>")),
    "an event stream that nobody asked for": Case(
        chat(), up=answering(b"data: [DONE]\n\n", b"content-type: text/event-stream")
    ),
    "headers of the provider": Case(
        chat(),
        up=answering(
            CHAT_ANSWER,
            b"x-ratelimit-remaining-requests: 99",
            b"x-ratelimit-limit-requests: 100",
            b"x-ratelimit-remaining-tokens: junk",
            b"openai-processing-ms: 17",
            b"openai-organization: acme",
            b"x-request-id: theirs",
            b"set-cookie: a=b",
            b"server: x",
        ),
    ),
    "headers of the client": Case(
        chat(
            "fast",
            "openai-organization: org-1",
            "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "tracestate: a=b",
            "cookie: a=b",
            "x-forwarded-for: 1.2.3.4",
            "user-agent: tests",
        )
    ),
    "a name in another alphabet": Case(chat("fast", user="Grüße, 世界", metadata={"a": "\u2028"})),
    "a limit of the key": Case(
        chat(), settings={"limits": f"  own: {{per: key, {HOUR}}}", "key": ", limits: [own]"}
    ),
    "limits of all kinds": Case(
        chat(),
        settings={
            "limits": "\n".join(
                f"  {per}-limit: {{per: {per}, {HOUR}}}" for per in ("key", "global", "ip", "model")
            ),
            "default": "key-limit, global-limit, ip-limit, model-limit",
        },
    ),
    "a limit of the address alone": Case(
        chat(), settings={"limits": f"  ip: {{per: ip, {HOUR}}}", "default": "ip"}
    ),
    "a limit that is near": Case(
        chat(),
        settings={
            "limits": "  few: {per: key, requests: 5, window: 1h}\n"
            f"  many: {{per: global, {HOUR}}}",
            "default": "few, many",
        },
    ),
    "a shadow of a limit": Case(
        chat(),
        settings={
            "limits": "  shade: {per: key, requests: 1, window: 1h, mode: shadow}\n"
            f"  many: {{per: global, {HOUR}}}",
            "default": "shade, many",
        },
    ),
    "a limit of how many at once": Case(
        chat(),
        settings={
            "limits": f"  once: {{per: key, concurrency: 9}}\n  many: {{per: key, {HOUR}}}",
            "default": "once, many",
        },
    ),
    "series of keys and teams": Case(
        chat(), settings={"more": "metrics: {identity_labels: [key, team]}"}
    ),
    "a key for one model": Case(chat(), settings={"key": ", models: [warm, warm-claude, fast]"}),
    "a key that ends one day": Case(
        chat(), settings={"key": ", expires_at: '2099-01-01T00:00:00Z'"}
    ),
    "an estimate that one answer has taught": Case(
        chat(), up=answering(CHAT_ANSWER), then=answering(chat_answer())
    ),
    "ids that are nobody's are refused": Case(
        chat(), settings={"more": "files: {unknown_ids: refuse}"}
    ),
    "no access log": Case(chat(), settings={"more": "logging: {access: false}"}),
}


async def seen(
    make_stand: Callable[..., Stand], up: Provider, claude: Provider, case: Case, short: bool
) -> Seen:
    """Play *case* one way: twice, for the second request finds what the first has left."""
    stand = make_stand(config(up, claude, **case.settings), short=short)

    async def scene(stand: Stand, connection: Connection) -> list[Answer]:
        up.behave, claude.behave = in_turn(case.up, case.then or case.up), case.claude
        return [await connection.ask(case.data) for _ in range(2)]

    return await play(stand, scene, up, claude)


#: What is refused, or has to be looked into, by code that only the long way has.
NEEDS_TASK = {
    "an answer that cannot be translated",
    "message with another provider's state in it",
    "ids that are nobody's are refused",
}


@pytest.mark.parametrize("name", CASES)
async def test_a_plain_request_leaves_the_same_on_both_ways(
    make_stand: Callable[..., Stand], up: Provider, claude: Provider, name: str
) -> None:
    """Answer, the provider's bytes, log lines, ledger rows and every counter are the same."""
    short = await seen(make_stand, up, claude, CASES[name], True)
    long = await seen(make_stand, up, claude, CASES[name], False)
    assert short.answers == long.answers
    assert short.asked == long.asked
    assert short.lines == long.lines
    assert short.rows == long.rows
    assert short.counted == long.counted
    assert long.tasks == 2
    # An answer that looks as none did before may be read the long way once.
    assert short.tasks == 2 if name in NEEDS_TASK else short.tasks <= 1
