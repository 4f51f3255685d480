"""Whole answers: authentication, limits, attempts, and what each leaves on the counters."""

from __future__ import annotations

import asyncio
import json

import pytest
from scene import ANSWER, FakeAnswer, FakeExchange, FakeUpstream, Scene, chat

from tidegate.config.snapshot import LimitSnapshot
from tidegate.upstream.answer import UpstreamFault

MINUTE_NS = 60_000_000_000


def _limit(requests: int, burst: int, *, per: str = "key", mode: str = "enforce") -> LimitSnapshot:
    return LimitSnapshot(f"{per}-limit", per, "requests", requests, MINUTE_NS, burst, mode)


async def test_an_answer_passes_through_and_is_counted() -> None:
    """The client gets the provider's bytes; request, tokens and permit are counted once."""
    up = FakeUpstream(FakeAnswer(body=ANSWER))
    scene = Scene({"m": [up]})
    done = await scene.run(FakeExchange(body=chat()))
    assert (done.status, done.sent) == (200, ANSWER)
    assert done.answer_headers["x-request-id"].startswith("req_")
    assert done.answer_headers["x-tidegate-provider"] == "p0"
    assert scene.count("allowed") == 1
    assert scene.count("requests", "chat_completions", "200") == 1
    assert scene.count("tokens", "p0", "m-up", "input") == 3
    assert scene.count("tokens", "p0", "m-up", "output") == 2
    head, body = up.sent[0]
    assert head.startswith(b"POST /base/chat/completions HTTP/1.1\r\n")
    assert head.endswith(b"content-length: %d\r\n\r\n" % len(body))
    assert json.loads(body)["model"] == "m-up"


async def test_only_listed_headers_reach_the_provider() -> None:
    """The client's key, cookies and forwarding stay here; tracing and OpenAI's go on."""
    up = FakeUpstream(FakeAnswer(body=ANSWER))
    scene = Scene({"m": [up]})
    await scene.run(
        FakeExchange(
            body=chat(),
            headers={
                "cookie": "session=1", "x-forwarded-for": "1.2.3.4", "x-api-key": "tg-test-secret",
                "openai-organization": "org-1", "traceparent": "00-a-b-01",
            },
        )
    )  # fmt: skip
    head = up.sent[0][0]
    assert b"openai-organization: org-1\r\n" in head
    assert b"traceparent: 00-a-b-01\r\n" in head
    for secret in (b"cookie", b"1.2.3.4", b"tg-test-secret"):
        assert secret not in head


@pytest.mark.parametrize(
    ("secret", "reason"), [(None, "missing"), ("tg-wrong-secret", "unknown"), ("", "missing")]
)
async def test_a_wrong_key_is_401_and_consumes_nothing(secret: str | None, reason: str) -> None:
    """Neither allowed nor blocked; counted by reason; the provider is not asked."""
    up = FakeUpstream(FakeAnswer(body=ANSWER))
    scene = Scene({"m": [up]}, limits=(_limit(60, 1),))
    done = await scene.run(FakeExchange(body=chat(), secret=secret))
    assert done.status == 401
    assert done.json["error"]["code"] == "invalid_api_key"
    assert done.answer_headers["www-authenticate"] == "Bearer"
    assert not up.sent
    assert scene.count("allowed") == scene.count("blocked") == 0
    total = sum(
        scene.count("auth_failures", r) for r in ("missing", "unknown", "malformed", "expired")
    )
    assert total == 1
    assert (await scene.run(FakeExchange(body=chat()))).status == 200


async def test_an_unknown_model_is_404_with_near_matches_and_consumes_nothing() -> None:
    """404 in OpenAI's shape; a model of another key looks the same as none."""
    scene = Scene({"claude-fast": [FakeUpstream(FakeAnswer(body=ANSWER))]}, limits=(_limit(60, 1),))
    done = await scene.run(FakeExchange(body=chat("claude-fst")))
    assert done.status == 404
    assert done.json["error"]["code"] == "model_not_found"
    assert "`claude-fast`" in done.json["error"]["message"]
    assert done.answer_headers["x-should-retry"] == "false"
    assert scene.count("allowed") == scene.count("blocked") == 0
    walled = Scene({"m": [], "n": []} and {"m": [FakeUpstream(FakeAnswer(body=ANSWER))]},
                   key_models=("n",))  # fmt: skip
    assert (await walled.run(FakeExchange(body=chat("m")))).status == 404


async def test_a_limit_refuses_with_exact_headers_and_a_shadow_limit_does_not() -> None:
    """The burst passes, the next is 429 with the wait that is really needed."""
    scene = Scene(
        {"m": [FakeUpstream(FakeAnswer(body=ANSWER))]},
        limits=(_limit(60, 2), _limit(60, 1, per="global", mode="shadow")),
    )
    answers = [await scene.run(FakeExchange(body=chat())) for _ in range(3)]
    assert [done.status for done in answers] == [200, 200, 429]
    assert answers[0].answer_headers["x-ratelimit-limit-requests"] == "60"
    assert answers[0].answer_headers["x-ratelimit-remaining-requests"] in ("0", "1")
    refused = answers[2]
    assert refused.json["error"]["type"] == "rate_limit_error"
    assert refused.answer_headers["retry-after"] == "1"
    assert 900 <= int(refused.answer_headers["retry-after-ms"]) <= 1000
    assert '"key-limit";q=60;w=60' in refused.answer_headers["ratelimit-policy"]
    assert (scene.count("allowed"), scene.count("blocked")) == (2, 1)
    assert scene.count("decisions", "key-limit", "blocked") == 1
    assert scene.count("decisions", "global-limit", "shadow") >= 1


async def test_an_upstreams_429_is_not_ours() -> None:
    """It reaches the client with its body and Retry-After, and counts as an upstream outcome."""
    limited = FakeAnswer(429, b'{"error":{"message":"slow"}}', headers={b"retry-after": b"7"})
    scene = Scene({"m": [FakeUpstream(limited)]}, retries=0)
    done = await scene.run(FakeExchange(body=chat()))
    assert (done.status, done.sent) == (429, b'{"error":{"message":"slow"}}')
    assert done.answer_headers["retry-after"] == "7"
    assert (scene.count("allowed"), scene.count("blocked")) == (1, 0)
    assert scene.count("upstream_requests", "p0", "m-up", "http_429") == 1


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        (FakeAnswer(400, b'{"error":{}}'), 400), (FakeAnswer(404, b'{"error":{}}'), 404),
        (FakeAnswer(413, b"{}"), 413), (FakeAnswer(422, b"{}"), 422),
        (FakeAnswer(401, b"{}"), 502), (FakeAnswer(403, b"{}"), 502),
        (FakeAnswer(500, b"{}"), 502), (FakeAnswer(503, b"{}"), 503), (FakeAnswer(529, b"{}"), 503),
        (FakeAnswer(204), 502), (FakeAnswer(302), 502), (FakeAnswer(418), 502),
        (FakeAnswer(408), 504),
        (UpstreamFault("connect", "x", sent=False, answered=False), 502),
        (UpstreamFault("tls", "x", sent=False, answered=False), 502),
        (UpstreamFault("protocol", "x", sent=True, answered=False), 502),
        (UpstreamFault("truncated", "x", sent=True, answered=True), 502),
        (UpstreamFault("first_byte", "x", sent=True, answered=False), 504),
        (UpstreamFault("total", "x", sent=True, answered=False), 504),
        (UpstreamFault("busy", "x", sent=False, answered=False), 503),
    ],
)  # fmt: skip
async def test_each_upstream_outcome_has_its_status(
    answer: FakeAnswer | UpstreamFault, status: int
) -> None:
    """The table of upstream outcomes, with no word of the provider's own 401 to the client."""
    scene = Scene({"m": [FakeUpstream(answer)]}, retries=0)
    done = await scene.run(FakeExchange(body=chat()))
    assert done.status == status
    assert "provider-secret" not in done.sent.decode()
    assert scene.count("requests", "chat_completions", str(status)) == 1


async def test_trouble_moves_on_to_the_next_target_and_then_to_the_fallback() -> None:
    """Connect failure → other target; its 500 → the fallback model; one ledger of attempts."""
    down = FakeUpstream(UpstreamFault("connect", "x", sent=False, answered=False))
    failing = FakeUpstream(FakeAnswer(500, b"{}"))
    good = FakeUpstream(FakeAnswer(body=ANSWER))
    scene = Scene({"m": [down, failing], "n": [good]}, fallbacks={"m": ["n"]}, retries=1)
    done = await scene.run(FakeExchange(body=chat()))
    assert done.status == 200
    assert (len(down.sent), len(failing.sent), len(good.sent)) == (1, 1, 1)
    assert json.loads(good.sent[0][1])["model"] == "n-up"
    assert scene.count("fallbacks", "n", "http_5xx") == 1
    assert scene.count("retries", "p0", "connect") == 1


async def test_a_clients_fault_is_not_tried_again() -> None:
    """400 is final: no retry, no fallback."""
    up, other = FakeUpstream(FakeAnswer(400, b"{}")), FakeUpstream(FakeAnswer(body=ANSWER))
    scene = Scene({"m": [up], "n": [other]}, fallbacks={"m": ["n"]})
    assert (await scene.run(FakeExchange(body=chat()))).status == 400
    assert (len(up.sent), len(other.sent)) == (1, 0)


async def test_a_wait_that_does_not_fit_the_deadline_ends_the_attempts() -> None:
    """An upstream that asks for an hour is not waited for."""
    limited = FakeAnswer(429, b"{}", headers={b"retry-after": b"3600"})
    up = FakeUpstream(limited)
    scene = Scene({"m": [up]}, retries=5)
    assert (await scene.run(FakeExchange(body=chat()))).status == 429
    assert len(up.sent) == 1


async def test_a_client_that_leaves_cancels_the_upstream() -> None:
    """The task is cancelled at once, the request counted under 499 and by phase."""
    up = FakeUpstream(FakeAnswer(body=ANSWER))
    up.waiting = asyncio.Event()
    scene = Scene({"m": [up]})
    exchange = FakeExchange(body=chat())
    task = asyncio.create_task(scene.run(exchange))
    while not up.sent:
        await asyncio.sleep(0)
    exchange.leave()
    await task
    assert exchange.status == 0
    assert scene.count("requests", "chat_completions", "499") == 1
    assert scene.count("disconnects", "upstream") == 1
    assert scene.meters.in_flight.value == 0


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v1/chat/completions", 405), ("POST", "/nothing", 404), ("GET", "/livez", 200),
        ("GET", "/readyz", 200), ("GET", "/api/v1/health", 200), ("GET", "/v1/models/", 200),
        ("GET", "/v1/models/m", 200), ("GET", "/v1/models/nope", 404),
        ("DELETE", "/v1/models", 405),
    ],
)  # fmt: skip
async def test_paths_and_methods(method: str, path: str, status: int) -> None:
    """Unknown paths and wrong methods are JSON in the dialect."""
    scene = Scene({"m": [FakeUpstream(FakeAnswer(body=ANSWER))]})
    done = await scene.run(FakeExchange(method, path))
    assert done.status == status
    if status == 405:
        assert done.answer_headers["allow"]
    if status >= 400:
        assert done.json["error"]["message"]


async def test_the_seed_api_is_carried_by_the_same_pipeline() -> None:
    """Fields, bodies and codes of `/api/v1/chat`."""
    up = FakeUpstream(FakeAnswer(body=ANSWER))
    scene = Scene({"m": [up]}, limits=(_limit(60, 1),))

    def ask(body: object, secret: str = "tg-test-secret") -> FakeExchange:
        return FakeExchange(
            path="/api/v1/chat", body=body, secret=None, headers={"x-api-key": secret}
        )

    messages = [{"role": "user", "content": "hi"}]
    bad = await scene.run(ask({"messages": []}))
    assert bad.status == 422
    assert isinstance(bad.json["detail"], list)
    done = await scene.run(ask({"messages": messages, "model": "m", "max_tokens": 9}))
    assert done.status == 200
    assert done.json["content"] == "yo"
    assert done.json["provider"] == "p0"
    assert done.json["usage"] == {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
    assert json.loads(up.sent[0][1])["max_tokens"] == 9
    limited = await scene.run(ask({"messages": messages, "model": "m"}))
    assert limited.status == 429
    assert limited.json == {"detail": "Too many requests. Please wait before trying again."}
    wrong = await scene.run(ask({"messages": messages}, secret="tg-no"))
    assert (wrong.status, wrong.json) == (401, {"detail": "Invalid or missing API Key"})
    unknown = await scene.run(ask({"messages": messages, "model": "gpt-nope"}))
    assert unknown.status == 404


async def test_the_seed_api_chooses_among_found_models_too() -> None:
    """Names that a server was found to have stand in no configuration."""
    up = FakeUpstream(FakeAnswer(body=ANSWER))
    scene = Scene({"m": [up]})
    state = scene.gateway.state
    state.offered = frozenset({"a/found"})
    state.open_route = {"a/found": state.routes["m"]}.get
    body = {"messages": [{"role": "user", "content": "hi"}], "model_hint": "online"}
    done = await scene.run(FakeExchange(path="/api/v1/chat", body=body))
    assert done.status == 200


async def test_a_local_word_is_never_answered_online() -> None:
    """No field undoes it: it is refused, and a provider at a public address is not local."""
    from tidegate.config.snapshot import ProviderSnapshot
    from tidegate.endpoints.seed_chat import _is_near

    up = FakeUpstream(FakeAnswer(body=ANSWER))
    scene = Scene({"m": [up]})
    messages = [{"role": "user", "content": "hi"}]
    for fields in (
        {"model": "gemini", "model_hint": "secure"},
        {"model": "online", "model_hint": "local"},
        {"model": "m", "model_hint": "secure"},
        {"model_hint": "local"},
    ):
        done = await scene.run(
            FakeExchange(path="/api/v1/chat", body={"messages": messages, **fields})
        )
        assert done.status in (400, 404), fields
    assert not up.sent
    near = {
        "http://127.0.0.1:11434/v1": True,
        "http://10.0.0.7/v1": True,
        "http://ollama:11434/v1": True,
        "http://gpu.internal/v1": True,
        "http://8.8.8.8/v1": False,
        "https://ollama.example.com/v1": False,
    }
    for url, expected in near.items():
        assert _is_near(ProviderSnapshot("p", "ollama", url)) is expected, url
    assert not _is_near(ProviderSnapshot("p", "openai", "http://127.0.0.1/v1"))


async def test_a_client_that_leaves_while_its_401_is_held_back_is_logged_as_gone() -> None:
    """Not as `ok` with status 0."""
    scene = Scene({"m": [FakeUpstream(FakeAnswer(body=ANSWER))]})
    for _ in range(10):
        await scene.run(FakeExchange(body=chat(), secret="tg-wrong-wrong"))
    exchange = FakeExchange(body=chat(), secret="tg-wrong-wrong")
    task = asyncio.create_task(scene.run(exchange))
    while not scene.gateway.throttle.held:
        await asyncio.sleep(0)
    exchange.disconnected = True
    await task
    assert exchange.status == 0
    assert scene.count("disconnects", "request") == 1
