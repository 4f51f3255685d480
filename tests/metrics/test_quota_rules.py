"""Providers' own limits: the value that any worker was told last, for as long as it is recent."""

from __future__ import annotations

import time

import pytest
from tests.pipeline.scene import ANSWER, FakeAnswer, FakeExchange, FakeUpstream, Scene, chat
from tests.running import counters

from tidegate.memory import Segment
from tidegate.metrics.families.quotas import QUOTA_LIMIT, QUOTA_REMAINING
from tidegate.metrics.page import MetricsPage
from tidegate.metrics.registry import Registry
from tidegate.metrics.runtime import LATEST_SHOWN_S

NAME = QUOTA_REMAINING.name


async def page_of(segment: Segment, registry: Registry) -> str:
    _, body = await MetricsPage(segment, registry).render(None, None)
    return body.decode()


async def test_the_page_shows_what_was_told_last_by_any_worker(segment: Segment) -> None:
    """Not a sum, and not what another worker was told before it, however small."""
    first, second = (Registry(segment, slot) for slot in list(segment.worker_slots)[:2])
    now_s = time.monotonic()
    first.latest(QUOTA_REMAINING).labels("acme", "large", "requests").set(3.0, now_s - 5)
    second.latest(QUOTA_REMAINING).labels("acme", "large", "requests").set(59.0, now_s - 1)
    second.latest(QUOTA_LIMIT).labels("acme", "large", "requests").set(60.0, now_s - 1)
    page = await page_of(segment, first)
    labels = '{provider="acme",model="large",kind="requests"}'
    assert f"{NAME}{labels} 59.0\n" in page
    assert f"{QUOTA_LIMIT.name}{labels} 60.0\n" in page
    assert counters(page)("tidegate_metrics_series", family=NAME) == 1.0


async def test_what_was_told_long_ago_is_not_shown(segment: Segment) -> None:
    """A quota that was nearly used up two minutes ago is full again by now."""
    registry = Registry(segment, segment.worker_slots[0])
    series = registry.latest(QUOTA_REMAINING).labels("acme", "large", "tokens")
    series.set(1.0, time.monotonic() - LATEST_SHOWN_S - 1)
    assert f"{NAME}{{" not in await page_of(segment, registry)
    series.set(2.0, time.monotonic())
    assert f"{NAME}{{" in await page_of(segment, registry)


async def test_a_dead_workers_word_is_forgotten(segment: Segment) -> None:
    """Value and time both go with its slot."""
    first, second = (Registry(segment, slot) for slot in list(segment.worker_slots)[:2])
    second.latest(QUOTA_REMAINING).labels("acme", "large", "requests").set(5.0, time.monotonic())
    first.release_gauges(second.slot)
    assert f"{NAME}{{" not in await page_of(segment, first)


@pytest.mark.parametrize(
    ("headers", "told"),
    [
        (
            {"x-ratelimit-remaining-requests": "59", "x-ratelimit-limit-requests": "60",
             "x-ratelimit-remaining-tokens": "149984", "x-ratelimit-limit-tokens": "150000"},
            {"requests": (59.0, 60.0), "tokens": (149_984.0, 150_000.0)},
        ),
        (
            {"anthropic-ratelimit-requests-remaining": "7",
             "anthropic-ratelimit-requests-limit": "8",
             "anthropic-ratelimit-input-tokens-remaining": "1000",
             "anthropic-ratelimit-output-tokens-remaining": "500",
             "anthropic-ratelimit-output-tokens-limit": "600"},
            {"requests": (7.0, 8.0), "input_tokens": (1000.0, 0.0),
             "output_tokens": (500.0, 600.0)},
        ),
        ({"x-ratelimit-remaining-requests": "0"}, {"requests": (0.0, 0.0)}),
        ({"x-ratelimit-remaining-requests": "-1"}, {}),
        ({"x-ratelimit-remaining-requests": "1e9, 2"}, {}),
        ({"x-ratelimit-remaining-requests": "9" * 400}, {}),
        ({"x-ratelimit-remaining-requests": "\xb2"}, {}),
        ({}, {}),
    ],
)  # fmt: skip
@pytest.mark.parametrize("status", [200, 429])
async def test_headers_of_answers_and_refusals_are_read(
    headers: dict[str, str], told: dict[str, tuple[float, float]], status: int
) -> None:
    """OpenAI's and Anthropic's names; plain numbers only, whatever a provider may send."""
    raw = {name.encode(): value.encode("latin-1") for name, value in headers.items()}
    scene = Scene({"m": [FakeUpstream(FakeAnswer(status, ANSWER, headers=raw))]}, retries=0)
    await scene.run(FakeExchange(body=chat()))
    for kind in ("requests", "tokens", "input_tokens", "output_tokens"):
        remaining = scene.meters.quota_remaining.labels("p0", "m-up", kind).value
        limit = scene.meters.quota_limit.labels("p0", "m-up", kind).value
        assert (remaining, limit) == told.get(kind, (0.0, 0.0))


async def test_a_target_is_looked_at_four_times_a_second_at_most() -> None:
    """The second of two answers in the same moment is not read."""
    steps = [
        FakeAnswer(body=ANSWER, headers={b"x-ratelimit-remaining-requests": value})
        for value in (b"10", b"9")
    ]
    scene = Scene({"m": [FakeUpstream(*steps)]})
    await scene.run(FakeExchange(body=chat()))
    meters = scene.gateway.state.routes["m"].targets[0].meters
    assert meters.quota_due_s <= time.monotonic() + 0.25
    meters.quota_due_s = time.monotonic() + 60
    await scene.run(FakeExchange(body=chat()))
    assert scene.meters.quota_remaining.labels("p0", "m-up", "requests").value == 10.0
