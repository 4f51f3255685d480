"""A real gateway of two workers: every family's sum is what the clients have seen."""

from __future__ import annotations

import asyncio
import random
import re
import socket
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from tests.fakes.openai_upstream import KEY, OpenAIUpstream
from tests.free_ports import free_port
from tests.metrics.plain_client import Answer, PlainClient, request
from tests.running import RunningGateway, counters

pytestmark = pytest.mark.process

SECRET, LIMITED = "tg-sums-0123456789abcdef0123", "tg-limited-0123456789abcdef"
TOTAL = 5_000
LIMIT = 40
PRICED = ("good", "recovers", "spare", "slow", "cuts")
INPUT_USD, OUTPUT_USD = 1e-6, 2e-6

CONFIG = """
providers:
  fake: {{kind: openai-compatible, base_url: "{url}", api_key: "env:FAKE_KEY"}}
  gone: {{kind: openai-compatible, base_url: "http://127.0.0.1:{closed}/v1", api_key: "env:FAKE_KEY"}}
  late: {{kind: openai-compatible, base_url: "http://127.0.0.1:{silent}/v1", api_key: "env:FAKE_KEY",
          first_byte_timeout: 100ms}}
  mute: {{kind: openai-compatible, base_url: "http://127.0.0.1:{silent}/v1", api_key: "env:FAKE_KEY"}}
routing: {{retries: 0}}
models:
  good: {{targets: [{{provider: fake, model: good}}]}}
  fails: {{targets: [{{provider: fake, model: fails}}]}}
  limited: {{targets: [{{provider: fake, model: limited}}]}}
  resets: {{targets: [{{provider: fake, model: resets}}]}}
  cuts: {{targets: [{{provider: fake, model: cuts}}]}}
  slow: {{targets: [{{provider: fake, model: slow}}]}}
  recovers: {{targets: [{{provider: fake, model: recovers}}], retries: 1}}
  spare: {{targets: [{{provider: fake, model: spare}}]}}
  gone: {{targets: [{{provider: gone, model: x}}]}}
  late: {{targets: [{{provider: late, model: x}}]}}
  mute: {{targets: [{{provider: mute, model: x}}]}}
  falls: {{targets: [{{provider: fake, model: fails}}], fallbacks: [spare]}}
limits:
  few: {{per: key, requests: {limit}, window: 1h}}
  trial: {{per: key, requests: 1, window: 1h, mode: shadow}}
keys:
  ci: {{secret: "env:CI_KEY", team: build}}
  tight: {{secret: "env:TIGHT_KEY", limits: [few, trial]}}
metrics: {{identity_labels: [key, team]}}
ledger: {{prices: "{prices}"}}
"""  # noqa: E501 (a line of YAML each)
PRICES = "prices:\n" + "".join(
    f"  - {{provider: fake, model: {name}, input: 1, output: 2}}\n" for name in PRICED
)


@dataclass
class Seen:
    """The clients' own log, in the words of the page."""

    requests: Counter[tuple[str, int]] = field(default_factory=Counter)
    outcomes: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    attempts: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    first_tokens: Counter[str] = field(default_factory=Counter)
    whole: Counter[str] = field(default_factory=Counter)
    auth: Counter[str] = field(default_factory=Counter)
    disconnects: Counter[str] = field(default_factory=Counter)
    key_classes: Counter[tuple[str, str]] = field(default_factory=Counter)
    input_tokens: Counter[str] = field(default_factory=Counter)
    output_tokens: Counter[str] = field(default_factory=Counter)
    edge: Counter[str] = field(default_factory=Counter)
    blocked: int = 0
    wrong: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Kind:
    """One kind of request, and what it has to come to.

    Attributes:
        attempts: `(provider, model, outcome)` of each attempt.
        answered_by: Model whose whole answer the client got.
        tokens: `(input, output)` of that answer.
        streamed_by: Model whose first event the client got.
    """

    data: bytes
    endpoint: str
    status: int
    outcome: str
    stream: bool = False
    attempts: tuple[tuple[str, str, str], ...] = ()
    answered_by: str = ""
    tokens: tuple[int, int] = (11, 4)
    streamed_by: str = ""
    contains: bytes = b""
    leave_after: bytes | None = None
    auth: str = ""
    phase: str = ""
    key: str = "ci"
    edge: str = ""

    def note(self, seen: Seen, answer: Answer) -> None:
        """Write one answer into the log; a wrong one is a failure of the gateway."""
        status, outcome = self.status, self.outcome
        attempts, answered_by, streamed_by = self.attempts, self.answered_by, self.streamed_by
        if self.key == "tight" and answer.status == 429:
            status, outcome, attempts, answered_by, streamed_by = (
                429, "rate_limit_exceeded", (), "", "",
            )  # fmt: skip
            seen.blocked += 1
        elif self.contains not in answer.body:
            seen.wrong.append(f"{self.endpoint} {self.outcome}: {answer.body[:200]!r}")
        if answer.status != (0 if status == 499 else status):
            seen.wrong.append(f"{self.endpoint} {self.outcome}: status {answer.status}")
        stream = "true" if self.stream else "false"
        seen.requests[self.endpoint, status] += 1
        seen.outcomes[self.endpoint, stream, outcome] += 1
        seen.attempts.update(attempts)
        if answered_by:
            seen.whole[answered_by] += 1
            seen.input_tokens[answered_by] += self.tokens[0]
            seen.output_tokens[answered_by] += self.tokens[1]
        if streamed_by:
            seen.first_tokens[streamed_by] += 1
        if self.auth:
            seen.auth[self.auth] += 1
        if self.edge:
            seen.edge[self.edge] += 1
        elif self.phase:
            seen.disconnects[self.phase] += 1
        if not self.auth and not self.edge and self.endpoint != "unknown":
            seen.key_classes[self.key, f"{status // 100}xx"] += 1


def chat(model: str, *, key: str | None = SECRET, **more: object) -> bytes:
    messages = [{"role": "user", "content": "hi"}]
    return request("/v1/chat/completions", {"model": model, "messages": messages, **more}, key=key)


def fake(model: str, outcome: str = "ok") -> tuple[str, str, str]:
    return "fake", model, outcome


CHAT = "chat_completions"
GOOD = (fake("good"),)
UPSTREAM_502 = (CHAT, 502, "upstream_error")
DONE = b"data: [DONE]\n\n"


def kinds() -> Iterator[tuple[int, Kind]]:
    """Yield how many of each kind; the first fills up to the total."""
    yield 0, Kind(chat("good"), CHAT, 200, "ok", attempts=GOOD, answered_by="good")
    yield (
        700,
        Kind(
            chat("good", stream=True), CHAT, 200, "ok", stream=True, attempts=GOOD,
            answered_by="good", streamed_by="good", contains=DONE,
        ),
    )  # fmt: skip
    text = {"model": "good", "prompt": "hi"}
    yield (
        300,
        Kind(
            request("/v1/completions", text, key=SECRET), "completions", 200, "ok",
            attempts=GOOD, answered_by="good",
        ),
    )  # fmt: skip
    yield (
        100,
        Kind(
            request("/v1/completions", {**text, "stream": True}, key=SECRET), "completions", 200,
            "ok", stream=True, attempts=GOOD, answered_by="good", streamed_by="good", contains=DONE,
        ),
    )  # fmt: skip
    yield (
        300,
        Kind(
            request("/v1/embeddings", {"model": "good", "input": "hi"}, key=SECRET), "embeddings",
            200, "ok", attempts=GOOD, answered_by="good", tokens=(5, 0),
        ),
    )  # fmt: skip
    seed = {"model": "good", "messages": [{"role": "user", "content": "hi"}]}
    yield (
        300,
        Kind(
            request("/api/v1/chat", seed, key=SECRET), "seed_chat", 200, "ok",
            attempts=GOOD, answered_by="good",
        ),
    )  # fmt: skip
    yield 100, Kind(request("/v1/models", key=SECRET, method="GET"), "models", 200, "ok")
    # Refusals of ours
    yield (
        LIMIT + 120,
        Kind(
            chat("good", key=LIMITED), CHAT, 200, "ok",
            attempts=GOOD, answered_by="good", key="tight",
        ),
    )  # fmt: skip
    yield 150, Kind(chat("nobody"), CHAT, 404, "model_not_found")
    yield 80, Kind(chat("good")[:-1] + b"!", CHAT, 400, "invalid_request")
    yield 8, Kind(chat("good", key=None), CHAT, 401, "invalid_api_key", auth="missing")
    yield 8, Kind(chat("good", key="tg-guess"), CHAT, 401, "invalid_api_key", auth="unknown")
    yield 40, Kind(request("/v1/nothing", b"{}", key=SECRET), "unknown", 404, "not_found")
    yield (
        40,
        Kind(
            request("/v1/models", b"{}", key=SECRET, method="PUT"), "unknown", 405,
            "method_not_allowed",
        ),
    )  # fmt: skip
    two_hosts = request("/v1/models", key=SECRET, method="GET", more="host: other\r\n")
    yield 30, Kind(two_hosts, "edge", 400, "invalid_request", edge="header_repeated")
    # Failures of providers
    yield 100, Kind(chat("fails"), *UPSTREAM_502, attempts=(fake("fails", "http_5xx"),))
    limited = (fake("limited", "http_429"),)
    yield 80, Kind(chat("limited"), CHAT, 429, "upstream_refused", attempts=limited)
    yield 40, Kind(chat("resets"), *UPSTREAM_502, attempts=(fake("resets", "cut"),))
    yield 40, Kind(chat("gone"), *UPSTREAM_502, attempts=(("gone", "x", "connect"),))
    late = (("late", "x", "timeout"),)
    yield 20, Kind(chat("late"), CHAT, 504, "upstream_timeout", attempts=late)
    yield (
        40,
        Kind(
            chat("cuts", stream=True), CHAT, 200, "stream_cut", stream=True,
            attempts=(fake("cuts", "cut"),), streamed_by="cuts", contains=b"upstream_error",
        ),
    )  # fmt: skip
    falls = (fake("fails", "http_5xx"), fake("spare"))
    yield 60, Kind(chat("falls"), CHAT, 200, "ok", attempts=falls, answered_by="spare")
    recovers = (fake("recovers", "http_5xx"), fake("recovers"))
    yield 8, Kind(chat("recovers"), CHAT, 200, "ok", attempts=recovers, answered_by="recovers")
    # Clients that leave
    yield (
        30,
        Kind(
            chat("slow", stream=True), CHAT, 200, "client_gone", stream=True,
            attempts=(fake("slow", "cancelled"),), streamed_by="slow", leave_after=b"one ",
            phase="answer",
        ),
    )  # fmt: skip
    yield (
        30,
        Kind(
            chat("mute"), CHAT, 499, "client_gone", attempts=(("mute", "x", "cancelled"),),
            leave_after=b"", phase="upstream",
        ),
    )  # fmt: skip


def schedule() -> tuple[list[Kind], list[Kind]]:
    """Return all requests in a random order, and those that must go one after the other."""
    counts = list(kinds())
    rest = TOTAL - sum(count for count, _ in counts)
    counts[0] = (rest, counts[0][1])
    requests = [kind for count, kind in counts for _ in range(count)]
    alone = [kind for kind in requests if kind.answered_by == "recovers"]
    others = [kind for kind in requests if kind.answered_by != "recovers"]
    random.Random(5).shuffle(others)
    return others, alone


async def send_all(port: int) -> Seen:
    """Send everything over twelve connections."""
    others, alone = schedule()
    seen = Seen()
    work = iter(others)

    async def serve_one(client: PlainClient, kind: Kind) -> None:
        if kind.leave_after is not None:
            answer = await client.leave_after(kind.data, kind.leave_after)
        else:
            answer = await client.send(kind.data)
        if kind.edge:
            await client.close()
        kind.note(seen, answer)

    async def run(kinds: Iterator[Kind]) -> None:
        client = PlainClient(port)
        for kind in kinds:
            await serve_one(client, kind)
        await client.close()

    runs: list[Awaitable[None]] = [run(work) for _ in range(12)]
    await asyncio.gather(*runs, run(iter(alone)))
    return seen


def check_sums(total: Callable[..., float], seen: Seen) -> None:
    """Compare every family that counts requests, attempts, tokens or money with the log."""
    requests = sum(seen.requests.values())
    assert requests == TOTAL
    for (endpoint, status), count in seen.requests.items():
        labels = {"endpoint": endpoint, "status": str(status)}
        assert total("tidegate_requests_total", **labels) == count, labels
    assert total("tidegate_requests_total") == TOTAL
    assert total("tidegate_request_outcomes_total") == TOTAL
    for (endpoint, stream, outcome), count in seen.outcomes.items():
        labels = {"endpoint": endpoint, "stream": stream, "outcome": outcome}
        assert total("tidegate_request_outcomes_total", **labels) == count, labels
    at_edge = sum(seen.edge.values())
    assert total("tidegate_edge_refusals_total") == at_edge
    assert total("tidegate_request_duration_seconds_count") == TOTAL - at_edge
    assert total("tidegate_requests_in_flight") == 1.0  # the scrape itself

    refused_early = at_edge + sum(
        count
        for (_, _, outcome), count in seen.outcomes.items()
        if outcome in ("invalid_api_key", "model_not_found", "not_found", "method_not_allowed")
    )
    refused_early += seen.outcomes[CHAT, "false", "invalid_request"]
    assert total("rate_limit_blocked_total") == seen.blocked > 0
    assert total("rate_limit_allowed_total") == TOTAL - refused_early - seen.blocked
    decisions = "tidegate_rate_limit_decisions_total"
    assert total(decisions, limit="few", decision="blocked") == seen.blocked
    assert total(decisions, limit="few", decision="allowed") == LIMIT
    # The last fifth; the one at its edge depends on how much has come back meanwhile.
    assert total(decisions, limit="few", decision="near") - LIMIT / 5 in (0, 1)
    assert total(decisions, limit="trial", decision="shadow") == LIMIT + seen.blocked - 1

    attempts = sum(seen.attempts.values())
    for (provider, model, outcome), count in seen.attempts.items():
        labels = {"provider": provider, "model": model, "outcome": outcome}
        assert total("tidegate_upstream_requests_total", **labels) == count, labels
    assert total("tidegate_upstream_requests_total") == attempts
    assert total("tidegate_upstream_duration_seconds_count") == attempts
    assert total("tidegate_ledger_records_total", record="open") == attempts
    assert total("tidegate_ledger_records_total", record="settle") == attempts
    assert total("tidegate_ledger_lost_records_total") == 0
    gone = sum(seen.disconnects.values())
    with_attempt = (
        TOTAL
        - refused_early
        - seen.blocked
        - sum(count for (endpoint, _), count in seen.requests.items() if endpoint == "models")
    )
    assert total("tidegate_overhead_seconds_count") == with_attempt - gone
    assert total("tidegate_upstream_retries_total") == seen.whole["recovers"]
    assert total("tidegate_fallbacks_total", model="spare") == seen.whole["spare"]
    for model in ("good", "cuts", "slow"):
        count = total("tidegate_time_to_first_token_seconds_count", model=model)
        assert count == seen.first_tokens[model], model
    for phase, count in seen.disconnects.items():
        assert total("tidegate_client_disconnects_total", phase=phase) == count
    for reason, count in seen.auth.items():
        assert total("tidegate_auth_failures_total", reason=reason) == count


def check_usage(total: Callable[..., float], seen: Seen) -> None:
    """Tokens and money: exact where the provider told, and waste is what nobody got whole."""
    tokens, cost = "tidegate_tokens_total", "tidegate_cost_usd_total"
    for model in ("good", "recovers", "spare"):
        used_in, used_out = seen.input_tokens[model], seen.output_tokens[model]
        assert total(tokens, model=model, type="input") == used_in
        assert total(tokens, model=model, type="output") == used_out
        usd = used_in * INPUT_USD + used_out * OUTPUT_USD
        assert total(cost, model=model) == pytest.approx(usd)
        assert total("tidegate_wasted_tokens_total", model=model) == 0
    sources = "tidegate_usage_source_total"
    assert total(sources, source="provider") == sum(seen.whole.values())
    # Who left before the first token had the provider read the input all the same.
    unheard = sum(count for place, count in seen.attempts.items() if place[0] == "mute")
    unfinished = seen.first_tokens["cuts"] + seen.first_tokens["slow"] + unheard
    assert total(sources, source="partial") == unfinished
    assert total(sources) == sum(seen.attempts.values())
    rated = sum(seen.whole.values()) - seen.requests["embeddings", 200]
    assert total("tidegate_output_tokens_per_second_count") == rated
    for model, cause in (("cuts", "cut"), ("slow", "disconnect")):
        used = total(tokens, model=model)
        assert used > 0
        assert total("tidegate_wasted_tokens_total", model=model, cause=cause) == used
        assert total("tidegate_wasted_tokens_total", model=model) == used
        usd = total(cost, model=model)
        assert total("tidegate_wasted_cost_usd_total", model=model) == pytest.approx(usd)
    assert total(tokens, provider="late") == 0
    assert total("tidegate_wasted_tokens_total", provider="late", cause="cut") > 0
    left = total("tidegate_wasted_tokens_total", provider="mute", cause="disconnect")
    assert left == total(tokens, provider="mute", type="input") > 0
    for model in ("fails", "limited"):
        assert total("tidegate_wasted_tokens_total", model=model) == 0
    assert total("tidegate_wasted_tokens_total", model="resets", cause="cut") > 0
    for (key, status_class), count in seen.key_classes.items():
        labels = {"key": key, "status_class": status_class}
        assert total("tidegate_key_requests_total", **labels) == count, labels
    assert total("tidegate_key_tokens_total") == total(tokens)
    assert total("tidegate_key_tokens_total", team="build", key="ci") > 0
    assert total("tidegate_key_cost_usd_total") == pytest.approx(total(cost))


def settled_page(gateway: RunningGateway, wanted: int) -> str:
    """Wait until the clients that left are counted, and the ledger has been folded."""
    deadline = time.monotonic() + 10
    while True:
        page = gateway.page()
        total = counters(page)
        opened = total("tidegate_ledger_records_total")
        if (
            total("tidegate_requests_total") >= wanted
            and total("tidegate_ledger_open_attempts") == 0
            and total("tidegate_ledger_folded_records_total") >= opened
        ):
            return page
        assert time.monotonic() < deadline, "the page never came to rest"
        time.sleep(0.05)


def test_five_thousand_requests_are_the_sums_of_the_page(tmp_path: Path) -> None:
    """All endpoints and outcomes at once, two workers; then every counter is the clients' log."""
    prices = tmp_path / "prices.yaml"
    prices.write_text(PRICES)
    with socket.socket() as silent, OpenAIUpstream() as upstream:
        silent.bind(("127.0.0.1", 0))
        silent.listen(256)  # connections are taken by the kernel, and nobody ever reads them
        config = CONFIG.format(
            url=upstream.url,
            closed=free_port(),
            silent=silent.getsockname()[1],
            limit=LIMIT,
            prices=prices,
        )
        environment = {"CI_KEY": SECRET, "TIGHT_KEY": LIMITED, "FAKE_KEY": KEY}
        with RunningGateway(tmp_path, config, workers=2, environment=environment) as gateway:
            seen = asyncio.run(send_all(gateway.port))
            assert seen.wrong == []
            page = settled_page(gateway, TOTAL)
    total = counters(page)
    check_sums(total, seen)
    check_usage(total, seen)
    assert re.search(r"^tidegate_config_last_reload_successful 1.0$", page, re.MULTILINE)
