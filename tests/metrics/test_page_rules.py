"""The page: two formats, all slots, one render for many scrapers."""

from __future__ import annotations

import asyncio
import gzip
import math
import shutil
import statistics
import subprocess
import time

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from prometheus_client.openmetrics.parser import (
    text_string_to_metric_families as parse_openmetrics,
)
from prometheus_client.parser import text_string_to_metric_families as parse_text

from tidegate.memory import FIRST_WORKER_SLOT, Segment, SlotState, SlotWord
from tidegate.metrics.families import declared, rate_limits, requests, streams, upstream, usage
from tidegate.metrics.families.ledger import LEDGER_FOLD_LAG
from tidegate.metrics.page import MetricsPage
from tidegate.metrics.registry import Registry

OPENMETRICS = b"application/openmetrics-text"
Key = tuple[str, tuple[tuple[str, str], ...]]


def samples_of(body: bytes, *, openmetrics: bool = False) -> dict[Key, float]:
    """Parse a page into `(sample name, sorted labels) → value`."""
    parse = parse_openmetrics if openmetrics else parse_text
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in parse(body.decode())
        for sample in family.samples
    }


def with_traffic(segment: Segment) -> list[Registry]:
    """Fill four workers' slots with something of every kind."""
    registries = [Registry(segment, slot) for slot in segment.worker_slots]
    for number, registry in enumerate(registries, 1):
        registry.counter(rate_limits.ALLOWED).series.inc(1523.0 if number == 1 else 0.0)
        registry.counter(rate_limits.BLOCKED).series.inc(number)
        registry.counter(requests.REQUESTS).labels("chat_completions", "200").inc(number)
        registry.counter(usage.COST).labels("acme", "acme-large").inc(0.125)
        registry.gauge(requests.REQUESTS_IN_FLIGHT).series.set(number)
        registry.gauge(LEDGER_FOLD_LAG).series.set(number / 4)
        ttft = registry.histogram(streams.TIME_TO_FIRST_TOKEN).labels("acme", 'odd "na\\me"\n%d')
        for value in (0.01, 0.011, 0.3, 1e9):
            ttft.observe(value)
    return registries


async def test_both_formats_say_the_same_and_their_parsers_understand_it(segment: Segment) -> None:
    """The client library's two parsers read the same samples from the two formats."""
    page = MetricsPage(segment, with_traffic(segment)[0])
    _, text = await page.render(None, None)
    _, openmetrics = await page.render(OPENMETRICS, None)
    plain, other = samples_of(text), samples_of(openmetrics, openmetrics=True)
    assert openmetrics.endswith(b"# EOF\n")
    assert plain.keys() == other.keys()
    moving = ("process_", "python_", "tidegate_worker_")
    for key, value in plain.items():
        if not key[0].startswith(moving):
            assert other[key] == value, key


async def test_numbers_are_the_sums_of_all_slots(segment: Segment) -> None:
    """Counters, gauges and histograms of four workers become one; `max` gauges their greatest."""
    page = MetricsPage(segment, with_traffic(segment)[2])
    _, body = await page.render(None, None)
    found = samples_of(body)
    assert found["rate_limit_allowed_total", ()] == 1523.0
    assert found["rate_limit_blocked_total", ()] == 10.0
    assert found["tidegate_requests_in_flight", ()] == 10.0
    assert found["tidegate_ledger_fold_lag_seconds", ()] == 1.0
    target = (("model", "acme-large"), ("provider", "acme"))
    assert found["tidegate_cost_usd_total", target] == 0.5
    name = "tidegate_time_to_first_token_seconds"
    odd = (("model", 'odd "na\\me"\n%d'), ("provider", "acme"))
    assert found[f"{name}_count", odd] == 16.0
    assert found[f"{name}_sum", odd] == pytest.approx(4 * (0.01 + 0.011 + 0.3 + 1e9))
    buckets = {
        bound: found[f"{name}_bucket", (("le", bound), *odd)]
        for bound in ("0.01", "0.025", "0.25", "0.5", "60.0", "+Inf")
    }
    # A value equal to a bound is in its bucket.
    assert buckets == {
        "0.01": 4.0, "0.025": 8.0, "0.25": 8.0, "0.5": 12.0, "60.0": 12.0, "+Inf": 16.0,
    }  # fmt: skip


async def test_the_seeds_lines_are_there_as_floats_from_the_first_scrape(segment: Segment) -> None:
    """HELP, TYPE and `0.0` before any request; `1523.0` after 1,523."""
    registry = Registry(segment, FIRST_WORKER_SLOT)
    page = MetricsPage(segment, registry)
    headers, body = await page.render(b"*/*", None)
    assert body.startswith(
        b"# HELP rate_limit_allowed_total Total number of requests allowed by rate limiter\n"
        b"# TYPE rate_limit_allowed_total counter\n"
        b"rate_limit_allowed_total 0.0\n"
        b"# HELP rate_limit_blocked_total Total number of requests blocked by rate limiter\n"
        b"# TYPE rate_limit_blocked_total counter\n"
        b"rate_limit_blocked_total 0.0\n"
    )
    assert headers == (
        b"content-type: text/plain; version=0.0.4; charset=utf-8\r\n"
        b"vary: Accept, Accept-Encoding\r\n"
    )
    registry.counter(rate_limits.ALLOWED).series.inc(1523)
    _, body = await page.render(b"*/*", None)
    assert b"\nrate_limit_allowed_total 1523.0\n" in body


async def test_every_declared_family_shows_help_and_type_at_once(segment: Segment) -> None:
    """A scraper learns all names before anything has happened, in both formats."""
    page = MetricsPage(segment, Registry(segment, FIRST_WORKER_SLOT))
    _, text = await page.render(None, None)
    _, openmetrics = await page.render(OPENMETRICS, None)
    for family in declared():
        assert f"# HELP {family.name} {family.help}\n".encode() in text
        assert f"# TYPE {family.name} {family.kind}\n".encode() in text
        name = family.name.removesuffix("_total")
        assert f"# TYPE {name} {family.kind}\n".encode() in openmetrics
    assert b"_created" not in text + openmetrics


async def test_gzip_is_the_same_page(segment: Segment) -> None:
    """Unpacked it is what a scraper without gzip gets."""
    page = MetricsPage(segment, with_traffic(segment)[0])
    _, plain = await page.render(None, None)
    headers, packed = await page.render(None, b"gzip")
    assert b"\r\ncontent-encoding: gzip\r\n" in headers
    assert len(packed) < len(plain) / 4
    assert samples_of(gzip.decompress(packed)).keys() == samples_of(plain).keys()


async def test_scrapers_that_arrive_together_share_a_render(segment: Segment) -> None:
    """A hundred scrapes at once cost one render; those that come meanwhile cost one more."""
    page = MetricsPage(segment, with_traffic(segment)[0])
    first = [asyncio.create_task(page.render(None, None)) for _ in range(50)]
    await asyncio.sleep(0)
    await asyncio.sleep(0)  # the render has begun now
    later = [asyncio.create_task(page.render(None, None)) for _ in range(50)]
    bodies = [body for _, body in await asyncio.gather(*first, *later)]
    assert len({id(body) for body in bodies}) <= 2


async def test_a_scrape_sees_everything_from_before_it(segment: Segment) -> None:
    """Also when it arrives in the middle of another's render, which may not have seen it."""
    registry = with_traffic(segment)[0]
    page = MetricsPage(segment, registry)
    allowed = registry.counter(rate_limits.ALLOWED).series
    for wait in range(6):
        running = asyncio.create_task(page.render(None, None))
        for _ in range(wait):
            await asyncio.sleep(0)
        allowed.inc()
        _, body = await page.render(None, None)
        assert samples_of(body)["rate_limit_allowed_total", ()] == 1524.0 + wait
        await running


async def test_a_scraper_that_leaves_harms_no_other(segment: Segment) -> None:
    """The first of several is cancelled; the others get their page, and so does the next one."""
    page = MetricsPage(segment, with_traffic(segment)[0])
    tasks = [asyncio.create_task(page.render(None, b"gzip")) for _ in range(3)]
    await asyncio.sleep(0)
    tasks[0].cancel()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert isinstance(results[0], asyncio.CancelledError)
    assert gzip.decompress(results[1][1]).startswith(b"# HELP rate_limit_allowed_total")
    assert (await page.render(None, None))[1].startswith(b"# HELP")


async def test_a_worker_is_shown_by_its_slot(segment: Segment) -> None:
    """Only slots that had an owner appear; ready, in-flight, connections and figures are theirs."""
    registries = with_traffic(segment)
    segment.claim(3)
    segment.set(3, SlotWord.PID, segment.get(0, SlotWord.PID))
    segment.set(3, SlotWord.STATE, SlotState.READY)
    segment.set(3, SlotWord.CONNECTIONS, 12)
    segment.set(3, SlotWord.GENERATION, 5)
    _, body = await MetricsPage(segment, registries[0]).render(None, None)
    found = samples_of(body)
    of_worker = {
        name: value for (name, labels), value in found.items() if labels == (("worker", "3"),)
    }
    assert of_worker["tidegate_worker_up"] == 1.0
    assert of_worker["tidegate_worker_connections"] == 12.0
    assert of_worker["tidegate_worker_requests_in_flight"] == 2.0
    assert of_worker["tidegate_worker_config_generation"] == 5.0
    assert of_worker["tidegate_worker_resident_memory_bytes"] > 1e6
    assert 3 <= of_worker["tidegate_worker_open_fds"] <= of_worker["tidegate_worker_max_fds"]
    assert {dict(labels).get("worker") for _, labels in found} == {None, "3"}


text_values = st.lists(st.text(max_size=30), min_size=1, max_size=5, unique=True)


@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None
)
@given(names=text_values)
def test_any_label_value_survives_both_formats(segment: Segment, names: list[str]) -> None:
    """Quotes, backslashes, line breaks, percent signs and any alphabet come out as they went in."""
    registry = Registry(segment, FIRST_WORKER_SLOT)
    for name in names:
        registry.histogram(streams.INTER_TOKEN).labels(name, "m").observe(0.1)
        registry.counter(usage.COST).labels(name, "m").inc()
    page = MetricsPage(segment, registry)
    _, body = asyncio.run(page.render(None, None))
    _, openmetrics = asyncio.run(page.render(OPENMETRICS, None))
    for found in (samples_of(body), samples_of(openmetrics, openmetrics=True)):
        for name in names:
            labels = (("model", "m"), ("provider", name))
            assert found["tidegate_cost_usd_total", labels] >= 1.0
            assert found["tidegate_inter_token_seconds_count", labels] >= 1.0


async def test_a_large_page_is_quick_and_never_holds_the_loop(segment: Segment) -> None:
    """2,000 histogram children in four slots: CPU per render and between two turns is bounded.

    Quiet figures are 20 ms when every child has changed, 1.5 ms when none has, and 1.5 ms
    between turns; the bounds leave room for a slow machine. CPU time, and the median of several
    renders, because neighbours and the collector of the test runner's heap count as well.
    """
    registries = [Registry(segment, slot) for slot in segment.worker_slots]
    children = [
        registry.histogram(upstream.UPSTREAM_DURATION).labels(f"provider-{i % 20}", f"model-{i}")
        for registry in registries
        for i in range(2_000)
    ]
    page = MetricsPage(segment, registries[0])
    turns: list[float] = []

    async def count_turns() -> None:
        last = time.thread_time()
        while True:
            await asyncio.sleep(0)
            now = time.thread_time()
            turns.append(now - last)
            last = now

    used: list[float] = []
    stalls: list[float] = []
    counting = asyncio.create_task(count_turns())
    for changed in (True, True, True, False, False):
        if changed:
            for number, child in enumerate(children):
                child.observe(number % 7)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        turns.clear()
        began = time.process_time()
        _, body = await page.render(None, None)
        used.append(time.process_time() - began)
        stalls.append(max(turns))
    counting.cancel()
    assert body.count(b"\n") > 34_000
    assert statistics.median(stalls) < 0.005
    assert min(used[1:3]) < 0.060
    assert min(used[3:]) < 0.010


async def test_a_page_of_20_000_series_costs_50_ms(segment: Segment) -> None:
    """As Prometheus asks for it: OpenMetrics, gzip, exemplars, and every number has changed.

    A third of the series are histograms. Quiet figures are 20 ms and 1.6 ms between turns.
    """
    caps = {"max_series_per_family": 10**6, "max_total": 10**6}
    registries = [Registry(segment, slot, **caps) for slot in segment.worker_slots]
    histograms = [
        registry.histogram(upstream.UPSTREAM_DURATION).labels(f"provider-{i % 20}", f"model-{i}")
        for registry in registries
        for i in range(400)
    ]
    kinds = ("input", "output", "cached_input", "cache_write", "reasoning")
    counters = [
        registry.counter(usage.TOKENS).labels(f"provider-{i % 20}", f"model-{i // 5}", kinds[i % 5])
        for registry in registries
        for i in range(13_000)
    ]
    page = MetricsPage(segment, registries[0])
    turns: list[float] = []

    async def count_turns() -> None:
        last = time.thread_time()
        while True:
            await asyncio.sleep(0)
            now = time.thread_time()
            turns.append(now - last)
            last = now

    used: list[float] = []
    stalls: list[float] = []
    counting = asyncio.create_task(count_turns())
    for _ in range(5):
        for number, child in enumerate(histograms):
            child.observe(number % 7)
            child.exemplify(number % 7, time.monotonic(), "request_id", f"req_{number}")
        for counter in counters:
            counter.inc(1.5)
        await asyncio.sleep(0)
        turns.clear()
        began = time.process_time()
        headers, packed = await page.render(OPENMETRICS, b"gzip")
        used.append(time.process_time() - began)
        stalls.append(max(turns))
    counting.cancel()
    body = gzip.decompress(packed)
    assert body.count(b"\n") - body.count(b"\n#") > 20_000
    assert body.count(b' # {request_id="') >= 400
    assert b"openmetrics" in headers
    assert statistics.median(stalls) < 0.005
    assert min(used[1:]) < 0.050


async def test_values_that_are_no_whole_numbers_are_exact(segment: Segment) -> None:
    """Every float comes back from the page as the same float."""
    registry = Registry(segment, FIRST_WORKER_SLOT)
    gauge = registry.gauge(LEDGER_FOLD_LAG).series
    page = MetricsPage(segment, registry)
    for value in (0.1, 1e-9, 1e15, 1e22, 123456789.125, 2.0**60, math.pi, math.inf):
        gauge.set(value)
        for accept in (None, OPENMETRICS):
            _, body = await page.render(accept, None)
            found = samples_of(body, openmetrics=accept is not None)
            assert found["tidegate_ledger_fold_lag_seconds", ()] == value


@pytest.mark.external
async def test_promtool_finds_nothing_to_say(segment: Segment) -> None:
    """`promtool check metrics` accepts the page and has no advice about it."""
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is missing: apt-get install prometheus")
    _, body = await MetricsPage(segment, with_traffic(segment)[0]).render(None, None)
    checked = await asyncio.to_thread(
        subprocess.run,
        [promtool, "check", "metrics"],
        input=body,
        capture_output=True,
        timeout=30,
        check=False,
    )
    assert (checked.returncode, checked.stdout + checked.stderr) == (0, b"")
