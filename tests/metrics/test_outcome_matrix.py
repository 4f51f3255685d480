"""Every endpoint, whole and streamed, with every outcome: exactly the right families move.

Each case runs through the real pipeline with an upstream in memory. What moved is compared as a
whole: a family that should have moved and did not fails, and so does one that should not have.
"""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, field
from typing import Any

import pytest
from tests.metrics.moved_series import Moves, moves_between, read_series
from tests.pipeline.scene import ANSWER, SECRET, FakeAnswer, FakeExchange, FakeUpstream, Scene

from tidegate.config.snapshot import LimitSnapshot
from tidegate.money import ModelPrice, Period, Price, Rates
from tidegate.providers.operations import OPERATIONS
from tidegate.upstream.answer import FaultKind, UpstreamFault

MINUTE_NS = 60_000_000_000
#: 1 and 2 USD per million tokens; the fake answer has 3 and 2 of them.
PRICE = ModelPrice((Period(Price(Rates(10**9, 10**9, 10**9, 2 * 10**9, 2 * 10**9))),))
INPUT, OUTPUT = 3.0, 2.0
COST_USD = (INPUT * 1 + OUTPUT * 2) / 1e6
#: Written at one journal write in 64, by the clock.
SAMPLED = {"tidegate_ledger_write_seconds"}


@dataclass(frozen=True)
class Surface:
    """One endpoint in one of its forms.

    Attributes:
        pieces: Pieces in which the client gets the whole stream; what a translation holds back
            until the end goes with the last one.
    """

    endpoint: str
    path: str
    stream: bool = False
    bad_body_status: int = 400
    pieces: int = 3

    @property
    def labels(self) -> tuple[str, str]:
        return self.endpoint, "true" if self.stream else "false"

    @property
    def translated(self) -> bool:
        return self.endpoint in ("messages", "generate_content")

    def body(self) -> dict[str, Any]:
        messages = [{"role": "user", "content": "hi"}]
        if self.endpoint == "embeddings":
            return {"input": "hi"}
        if self.endpoint == "completions":
            return {"prompt": "hi", "stream": self.stream}
        if self.endpoint == "messages":
            return {"messages": messages, "max_tokens": 9, "stream": self.stream}
        if self.endpoint == "generate_content":
            return {"contents": [{"role": "user", "parts": [{"text": "hi"}]}]}
        return {"messages": messages, "stream": self.stream}

    def request(
        self, model: str = "m", body: bytes | None = None, secret: str | None = SECRET
    ) -> FakeExchange:
        """Return a client that asks here for *model*."""
        path, _, query = self.path.partition("?")
        whole: Any = {**self.body(), "model": model}
        if self.endpoint == "generate_content":
            path, whole = path.replace("MODEL", model), self.body()
        exchange = FakeExchange(path=path, body=whole if body is None else body, secret=secret)
        exchange.query = query.encode()
        return exchange


_GEMINI = "/v1beta/models/MODEL"
SURFACES = (
    Surface("chat_completions", "/v1/chat/completions"),
    Surface("chat_completions", "/v1/chat/completions", stream=True),
    Surface("completions", "/v1/completions"),
    Surface("completions", "/v1/completions", stream=True),
    Surface("embeddings", "/v1/embeddings"),
    Surface("seed_chat", "/api/v1/chat", bad_body_status=422),
    # Translated: the upstream of these tests speaks OpenAI's API.
    Surface("messages", "/v1/messages"),
    Surface("messages", "/v1/messages", stream=True, pieces=2),
    Surface("generate_content", f"{_GEMINI}:generateContent"),
    Surface("generate_content", f"{_GEMINI}:streamGenerateContent?alt=sse", stream=True, pieces=2),
)


def event(content: str, finish: str | None = None) -> bytes:
    choice = {"index": 0, "delta": {"content": content}, "finish_reason": finish}
    return b"data: " + json.dumps({"choices": [choice]}).encode() + b"\n\n"


FIRST, SECOND, LAST = event("yo"), event("ho"), event("", "stop")
USAGE_FIELDS = {
    "prompt_tokens": 3,
    "completion_tokens": 2,
    "prompt_tokens_details": {"cached_tokens": 1},
    "completion_tokens_details": {"reasoning_tokens": 1},
}
USAGE = b"data: " + json.dumps({"choices": [], "usage": USAGE_FIELDS}).encode() + b"\n\n"
DONE = b"data: [DONE]\n\n"
STREAM_ERROR = b'data: {"error":{"message":"overloaded"}}\n\n'


def fault(kind: FaultKind, *, answered: bool = False) -> UpstreamFault:
    return UpstreamFault(kind, "x", sent=True, answered=answered)


def good_answer(surface: Surface) -> FakeAnswer:
    if surface.stream:
        return FakeAnswer(pieces=[FIRST, SECOND, LAST, USAGE + DONE])
    return FakeAnswer(body=ANSWER)


FAILED = {"stream_cut", "upstream_error", "upstream_timeout", "service_unavailable"}


@dataclass
class Expected:
    """Builds the moves that a case must make."""

    surface: Surface
    moves: Moves = field(default_factory=dict)

    def add(self, name: str, *labels: str, by: float = 1.0) -> None:
        series = self.moves.setdefault(name, {})
        series[labels] = series.get(labels, 0.0) + by

    def request(
        self, status: int, outcome: str, *, allowed: bool = True, model: str | None = "m"
    ) -> None:
        """What every request moves, its configured model's, and what the limiter said of it."""
        endpoint, stream = self.surface.labels
        if model is not None:
            result = "ok" if outcome == "ok" else "failed" if outcome in FAILED else "other"
            self.add("tidegate_model_requests_total", model, result)
        self.add("tidegate_requests_total", endpoint, str(status))
        self.add("tidegate_request_outcomes_total", endpoint, stream, outcome)
        self.add("tidegate_request_duration_seconds", endpoint, stream)
        if allowed:
            self.add("rate_limit_allowed_total")
            self.add("tidegate_rate_limit_decisions_total", "per-key", "allowed")

    def attempt(self, outcome: str, *, source: str, model: str = "m-up") -> None:
        """What every attempt moves."""
        self.add("tidegate_upstream_requests_total", "p0", model, outcome)
        self.add("tidegate_upstream_duration_seconds", "p0", model)
        self.add("tidegate_usage_source_total", source)
        self.add("tidegate_ledger_records_total", "open")
        self.add("tidegate_ledger_records_total", "settle")

    def overhead(self) -> None:
        self.add("tidegate_overhead_seconds", self.surface.endpoint)

    def pieces(self, count: int, model: str = "m-up") -> None:
        """A stream of which *count* pieces reached the client."""
        self.add("tidegate_time_to_first_token_seconds", "p0", model)
        if count > 1:
            self.add("tidegate_inter_token_seconds", "p0", model, by=count - 1.0)

    def whole(self, model: str = "m-up") -> None:
        """An answer that came whole, its usage and its price known."""
        self.attempt("ok", source="provider", model=model)
        self.overhead()
        self.add("tidegate_tokens_total", "p0", model, "input", by=INPUT)
        self.add("tidegate_tokens_total", "p0", model, "output", by=OUTPUT)
        self.add("tidegate_cost_usd_total", "p0", model, by=COST_USD)
        self.add("tidegate_output_tokens_per_second", "p0", model)
        if self.surface.stream:
            self.add("tidegate_tokens_total", "p0", model, "cached_input", by=1.0)
            self.add("tidegate_tokens_total", "p0", model, "reasoning", by=1.0)
            self.pieces(self.surface.pieces, model)

    def waste(self, cause: str, tokens: float, cost_usd: float, model: str = "m-up") -> None:
        self.add("tidegate_wasted_tokens_total", "p0", model, cause, by=tokens)
        self.add("tidegate_wasted_cost_usd_total", "p0", model, cause, by=cost_usd)


def make_scene(*script: Any, retries: int = 0, burst: int = 100, fallback: Any = None) -> Scene:
    models = {"m": [FakeUpstream(*(script or (FakeAnswer(body=ANSWER),)))]}
    if fallback is not None:
        models["spare"] = [FakeUpstream(fallback)]
    scene = Scene(
        models,
        fallbacks={"m": ["spare"]} if fallback is not None else None,
        limits=(LimitSnapshot("per-key", "key", "requests", 100, MINUTE_NS, burst),),
        retries=retries,
    )
    for route in scene.gateway.state.routes.values():
        for target in route.targets:
            target.price = PRICE
            paths = OPERATIONS["openai"]
            target.paths = {name: whole.encode() for name, (whole, _) in paths.items()}
            target.stream_paths = {name: stream.encode() for name, (_, stream) in paths.items()}
    return scene


async def moved_by(scene: Scene, exchange: FakeExchange, *, leave_when: Any = None) -> Moves:
    """Serve one request and return what moved."""
    before = read_series(scene.segment)
    task = asyncio.create_task(scene.run(exchange))
    if leave_when is not None:
        while not leave_when():
            assert not task.done(), exchange.sent
            await asyncio.sleep(0)
        exchange.leave()
    await task
    moved = moves_between(before, read_series(scene.segment))
    return {name: series for name, series in moved.items() if name not in SAMPLED}


def assert_moves(moved: Moves, expected: Expected) -> None:
    assert moved.keys() == expected.moves.keys()
    for name, series in expected.moves.items():
        assert moved[name] == pytest.approx(series), name


each_surface = pytest.mark.parametrize(
    "surface", SURFACES, ids=lambda s: s.endpoint + ("-stream" if s.stream else "")
)
streams = pytest.mark.parametrize(
    "surface", [s for s in SURFACES if s.stream], ids=lambda s: s.endpoint
)


@each_surface
async def test_a_whole_answer_moves_the_full_set(surface: Surface) -> None:
    """Request, duration, overhead, attempt, tokens by type, cost, rate, and a stream's pace."""
    expected = Expected(surface)
    expected.request(200, "ok")
    expected.whole()
    moved = await moved_by(make_scene(good_answer(surface)), surface.request())
    assert_moves(moved, expected)


REFUSALS = ("no key", "wrong key", "no such model", "bad body", "over the limit")


@each_surface
@pytest.mark.parametrize("reason", REFUSALS)
async def test_a_refusal_of_ours_moves_no_attempt(surface: Surface, reason: str) -> None:
    """It is a request with its status and outcome; only a 429 of ours is also `blocked`."""
    scene = make_scene(burst=1 if reason == "over the limit" else 100)
    expected = Expected(surface)
    exchange = surface.request()
    if reason == "no key":
        exchange = surface.request(secret=None)
        expected.add("tidegate_auth_failures_total", "missing")
        expected.request(401, "invalid_api_key", allowed=False, model=None)
    elif reason == "wrong key":
        exchange = surface.request(secret="tg-guess")
        expected.add("tidegate_auth_failures_total", "unknown")
        expected.request(401, "invalid_api_key", allowed=False, model=None)
    elif reason == "no such model":
        exchange = surface.request("nope")
        expected.request(404, "model_not_found", allowed=False, model=None)
    elif reason == "bad body":
        exchange = surface.request(body=b'["model"')
        expected.request(surface.bad_body_status, "invalid_request", allowed=False, model=None)
    else:
        await scene.run(FakeExchange(method="GET", path="/v1/models"))
        expected.request(429, "rate_limit_exceeded", allowed=False)
        expected.add("rate_limit_blocked_total")
        expected.add("tidegate_rate_limit_decisions_total", "per-key", "blocked")
    if surface.stream and reason in ("no key", "wrong key", "bad body"):
        # The body was not read, or not understood: whether it wanted a stream is not known.
        expected = _as_whole(expected)
    assert_moves(await moved_by(scene, exchange), expected)


def _as_whole(expected: Expected) -> Expected:
    """The same moves for a request of which nobody knows that it wanted a stream."""
    moves: Moves = {}
    for name, series in expected.moves.items():
        for labels, value in series.items():
            moves.setdefault(name, {})[tuple("false" if x == "true" else x for x in labels)] = value
    return Expected(expected.surface, moves)


#: What the upstream does → outcome of the attempt, status, outcome of the request, and whether it
#: had worked on the request without telling what it used.
FAILURES: dict[str, tuple[Any, str, int, str, bool]] = {
    "400": (FakeAnswer(400, b'{"error":{}}'), "http_4xx", 400, "upstream_refused", False),
    "401": (FakeAnswer(401, b"{}"), "http_4xx", 502, "upstream_error", False),
    "404": (FakeAnswer(404, b"{}"), "http_4xx", 404, "upstream_refused", False),
    "429": (FakeAnswer(429, b"{}"), "http_429", 429, "upstream_refused", False),
    "500": (FakeAnswer(500, b"{}"), "http_5xx", 502, "upstream_error", False),
    "503": (FakeAnswer(503, b"{}"), "http_5xx", 503, "service_unavailable", False),
    "302": (FakeAnswer(302, b""), "protocol", 502, "upstream_error", False),
    "refuses connections": (fault("connect"), "connect", 502, "upstream_error", False),
    "has no free connection": (fault("busy"), "connect", 503, "service_unavailable", False),
    "says nothing in time": (fault("first_byte"), "timeout", 504, "upstream_timeout", True),
    "takes too long": (fault("total"), "timeout", 504, "upstream_timeout", True),
    "speaks no HTTP": (fault("protocol"), "protocol", 502, "upstream_error", True),
    "hangs up": (fault("truncated"), "cut", 502, "upstream_error", True),
}


@each_surface
@pytest.mark.parametrize("failure", FAILURES)
async def test_a_failed_attempt_moves_its_outcome(surface: Surface, failure: str) -> None:
    """No tokens, no cost; what the provider had begun is waste, its input estimated."""
    step, outcome, status, told, worked = FAILURES[failure]
    expected = Expected(surface)
    expected.request(status, told)
    expected.attempt(outcome, source="none")
    expected.overhead()
    scene = make_scene(step)
    moved = await moved_by(scene, surface.request())
    if worked:
        tokens = estimated_input(scene)
        expected.waste("cut", tokens, tokens / 1e6)
    assert_moves(moved, expected)


def estimated_input(scene: Scene, model: str = "m") -> float:
    """The tokens that the gateway takes the last request for, having learned nothing yet."""
    target = scene.gateway.state.routes[model].targets[0]
    _, body = target.client.sent[-1]
    return float(round(len(body) / 4.5))


@each_surface
async def test_a_defect_of_ours_is_counted_too(surface: Surface) -> None:
    """A request that ends in an exception is a 500 and `internal_error`; its attempt is settled."""

    class Broken(FakeUpstream):
        async def send(self, head: bytes, body: bytes, **_: Any) -> FakeAnswer:
            self.sent.append((head, body))
            raise RuntimeError("a defect")

    scene = make_scene()
    target = scene.gateway.state.routes["m"].targets[0]
    target.client = Broken()
    expected = Expected(surface)
    expected.request(500, "internal_error")
    expected.attempt("cancelled", source="none")
    moved = await moved_by(scene, surface.request())
    tokens = estimated_input(scene)
    expected.waste("cut", tokens, tokens / 1e6)
    assert_moves(moved, expected)


@each_surface
async def test_a_retry_names_why_and_what_the_first_attempt_wasted(surface: Surface) -> None:
    """Two attempts, one retry, one answer; the lost one's input is waste of cause `retry`."""
    scene = make_scene(fault("truncated"), good_answer(surface), retries=1)
    scene.gateway.chance = lambda: -1.0  # no pause before the retry
    expected = Expected(surface)
    expected.request(200, "ok")
    expected.attempt("cut", source="none")
    expected.add("tidegate_upstream_retries_total", "p0", "cut")
    expected.whole()
    moved = await moved_by(scene, surface.request())
    tokens = estimated_input(scene)
    expected.waste("retry", tokens, tokens / 1e6)
    assert_moves(moved, expected)


@each_surface
async def test_a_fallback_names_why_and_what_the_first_model_wasted(surface: Surface) -> None:
    """The fallback's series get the tokens, the first model's the waste."""
    scene = make_scene(fault("first_byte"), fallback=good_answer(surface))
    expected = Expected(surface)
    expected.request(200, "ok")
    expected.attempt("timeout", source="none")
    expected.add("tidegate_fallbacks_total", "spare", "timeout")
    expected.whole("spare-up")
    moved = await moved_by(scene, surface.request())
    tokens = estimated_input(scene)
    expected.waste("fallback", tokens, tokens / 1e6)
    assert_moves(moved, expected)


@each_surface
async def test_a_fallback_that_fails_as_well_is_the_end(surface: Surface) -> None:
    """The first model's work is lost to the fallback, the fallback's to nothing more: `cut`."""
    scene = make_scene(fault("first_byte"), fallback=fault("first_byte"))
    expected = Expected(surface)
    expected.request(504, "upstream_timeout")
    expected.overhead()
    for model in ("m-up", "spare-up"):
        expected.attempt("timeout", source="none", model=model)
    expected.add("tidegate_fallbacks_total", "spare", "timeout")
    moved = await moved_by(scene, surface.request())
    for model, cause in (("m", "fallback"), ("spare", "cut")):
        tokens = estimated_input(scene, model)
        expected.waste(cause, tokens, tokens / 1e6, f"{model}-up")
    assert_moves(moved, expected)


@each_surface
async def test_a_client_that_leaves_before_the_answer(surface: Surface) -> None:
    """Status 499, phase `upstream`; the input that the provider reads for nobody is waste."""
    scene = make_scene(good_answer(surface))
    upstream = scene.gateway.state.routes["m"].targets[0].client
    upstream.waiting = asyncio.Event()
    expected = Expected(surface)
    expected.request(499, "client_gone")
    expected.attempt("cancelled", source="none")
    expected.add("tidegate_client_disconnects_total", "upstream")
    moved = await moved_by(
        scene,
        surface.request(),
        leave_when=lambda: upstream.sent,
    )
    tokens = estimated_input(scene)
    expected.waste("disconnect", tokens, tokens / 1e6)
    assert_moves(moved, expected)


def partial(expected: Expected, scene: Scene, delivered: bytes, cause: str) -> None:
    """Tokens of a stream whose provider told nothing: estimated, and all of them wasted."""
    tokens_in, tokens_out = estimated_input(scene), float(round(len(delivered) / 180))
    expected.add("tidegate_tokens_total", "p0", "m-up", "input", by=tokens_in)
    if tokens_out:
        expected.add("tidegate_tokens_total", "p0", "m-up", "output", by=tokens_out)
    cost_usd = (tokens_in + 2 * tokens_out) / 1e6
    expected.add("tidegate_cost_usd_total", "p0", "m-up", by=cost_usd)
    expected.waste(cause, tokens_in + tokens_out, cost_usd)


@streams
async def test_a_client_that_leaves_in_the_middle_of_a_stream(surface: Surface) -> None:
    """It had its 200; phase `answer`, partial usage, all of it waste of cause `disconnect`."""
    scene = make_scene(FakeAnswer(pieces=[FIRST, SECOND, asyncio.Event()]))
    exchange = surface.request()
    expected = Expected(surface)
    expected.request(200, "client_gone")
    expected.attempt("cancelled", source="partial")
    expected.add("tidegate_client_disconnects_total", "answer")
    expected.pieces(2)
    moved = await moved_by(scene, exchange, leave_when=lambda: b'"ho"' in exchange.sent)
    partial(expected, scene, exchange.sent, "disconnect")
    assert_moves(moved, expected)


#: How a stream may end too early: its last pieces, the outcome there, that of the request.
CUT_STREAMS = {
    "hangs up": ([fault("truncated", answered=True)], "cut", "stream_cut"),
    "falls silent": ([fault("idle", answered=True)], "timeout", "stream_cut"),
    "ends unfinished": ([], "cut", "stream_cut"),
    "tells an error": ([STREAM_ERROR], "error_event", "upstream_error"),
}


@streams
@pytest.mark.parametrize("how", CUT_STREAMS)
async def test_a_stream_that_ends_too_early(surface: Surface, how: str) -> None:
    """Status 200, and yet no success: outcome and waste say so."""
    end, attempt, outcome = CUT_STREAMS[how]
    scene = make_scene(FakeAnswer(pieces=[FIRST, SECOND, *end]))
    expected = Expected(surface)
    expected.request(200, outcome)
    expected.attempt(attempt, source="partial")
    expected.overhead()
    # The provider's error event is a piece as others are, and so is what a translation writes
    # at the end of a body that stopped in the middle; else the last event is ours alone.
    is_piece = STREAM_ERROR in end or (not end and surface.translated)
    expected.pieces(3 if is_piece else 2)
    exchange = surface.request()
    moved = await moved_by(scene, exchange)
    answer_end = None if is_piece else exchange.sent.rindex(b"\n\n", 0, -2) + 2
    partial(expected, scene, exchange.sent[:answer_end], "cut")
    assert_moves(moved, expected)


@streams
async def test_a_stream_that_begins_with_an_error_was_none(surface: Surface) -> None:
    """Nothing was delivered: an error as any other, and no time to a first token."""
    expected = Expected(surface)
    expected.request(502, "upstream_error")
    expected.attempt("error_event", source="none")
    expected.overhead()
    moved = await moved_by(
        make_scene(FakeAnswer(pieces=[STREAM_ERROR])),
        surface.request(),
    )
    assert_moves(moved, expected)


@each_surface
async def test_an_answer_without_usage_or_price_says_so(surface: Surface) -> None:
    """Usage is estimated and named as such; no rate of tokens is made up; unpriced is counted."""
    answer = (
        FakeAnswer(pieces=[FIRST, LAST + DONE])
        if surface.stream
        else FakeAnswer(body=b'{"choices":[{"message":{"content":"yo"}}]}')
    )
    scene = make_scene(answer)
    target = scene.gateway.state.routes["m"].targets[0]
    target.price = None
    moved = await moved_by(scene, surface.request())
    assert moved["tidegate_usage_source_total"] == {("estimated",): 1.0}
    assert moved["tidegate_unpriced_requests_total"] == {("p0", "m-up"): 1.0}
    assert moved["tidegate_tokens_total"]["p0", "m-up", "input"] == estimated_input(scene)
    for name in ("tidegate_cost_usd_total", "tidegate_output_tokens_per_second"):
        assert name not in moved


@pytest.mark.parametrize(
    ("method", "path", "endpoint", "status", "outcome", "allowed"),
    [
        ("GET", "/v1/models", "models", 200, "ok", True),
        ("GET", "/v1/models/m", "models", 200, "ok", True),
        ("GET", "/v1/models/nope", "models", 404, "model_not_found", False),
        ("GET", "/v1/nothing", "unknown", 404, "not_found", False),
        ("PUT", "/v1/models", "unknown", 405, "method_not_allowed", False),
    ],
)
async def test_endpoints_without_a_provider(
    method: str, path: str, endpoint: str, status: int, outcome: str, allowed: bool
) -> None:
    """They move the request's families and no other; an unknown path is `unknown`."""
    expected = Expected(Surface(endpoint, path))
    expected.request(status, outcome, allowed=allowed, model=None)
    moved = await moved_by(make_scene(), FakeExchange(method=method, path=path))
    assert_moves(moved, expected)


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/api/v1/health", "/metrics"])
async def test_probes_and_scrapes_move_nothing(path: str) -> None:
    """They would drown the figures of real requests."""
    assert await moved_by(make_scene(), FakeExchange(method="GET", path=path)) == {}


async def test_shadow_and_near_are_told_apart() -> None:
    """A shadow limit that would refuse, and one that is 80 % used, are decisions of their own."""
    shadow = LimitSnapshot("trial", "key", "requests", 1, MINUTE_NS, 1, "shadow")
    near = LimitSnapshot("small", "key", "requests", 2, MINUTE_NS, 2)
    scene = Scene({"m": [FakeUpstream(FakeAnswer(body=ANSWER))]}, limits=(shadow, near))
    await scene.run(SURFACES[0].request())
    moved = await moved_by(scene, SURFACES[0].request())
    assert moved["tidegate_rate_limit_decisions_total"] == {
        ("trial", "shadow"): 1.0, ("small", "allowed"): 1.0, ("small", "near"): 1.0,
    }  # fmt: skip
