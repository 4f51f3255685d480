"""Figures of the live view: what a line shows for what has been counted."""

from __future__ import annotations

import pytest

from tidegate.control.live.history import MOST_LABELS
from tidegate.control.live.measures import GROUPINGS, MEASURES
from tidegate.control.live.ring import COARSE, FINE
from tidegate.metrics.families import declared


async def test_a_rate_is_what_was_counted_in_the_second_by_all_workers(stand) -> None:
    """Refused requests and failed ones are among the requests."""
    await stand.second()
    for _ in range(6):
        stand.count("tidegate_requests_total", "chat_completions", "200")
    stand.count("tidegate_requests_total", "chat_completions", "429")
    stand.other_worker.counter(stand.family("tidegate_requests_total")).labels(
        "embeddings", "502"
    ).inc()
    await stand.second()
    assert stand.latest("total", "requests") == 8.0
    assert stand.latest("total", "errors") == 1.0
    assert stand.latest("total", "success_ratio") == 0.875
    await stand.second()
    assert stand.latest("total", "requests") == 0.0
    assert stand.latest("total", "success_ratio") is None


async def test_quantiles_are_those_of_the_second_alone(stand) -> None:
    """Interpolated inside a bucket, over all endpoints; none without an observation."""
    await stand.second()
    name = "tidegate_request_duration_seconds"
    stand.observe(name, 0.02, "chat_completions", "true", times=50)
    stand.observe(name, 0.03, "embeddings", "false", times=50)
    await stand.second()
    # Buckets up to 0.025 and 0.05 s hold fifty each.
    assert stand.latest("total", "latency_p50_s") == pytest.approx(0.025)
    assert stand.latest("total", "latency_p95_s") == pytest.approx(0.0475)
    await stand.second()
    assert stand.latest("total", "latency_p50_s") is None
    stand.observe(name, 1e6, "embeddings", "false")
    await stand.second()
    assert stand.latest("total", "latency_p95_s") == 600.0  # the last bound: more is not known


async def test_providers_and_models_have_lines_of_their_own(stand) -> None:
    """Of both sides of a pair, with cost by the hour."""
    await stand.second()
    stand.count("tidegate_upstream_requests_total", "acme", "large", "ok", by=3)
    stand.count("tidegate_upstream_requests_total", "acme", "small", "http_5xx", by=2)
    stand.count("tidegate_upstream_requests_total", "spare", "small", "cancelled")
    stand.count("tidegate_cost_usd_total", "acme", "large", by=0.01)
    await stand.second()
    assert stand.latest("provider", "requests", "acme") == 5.0
    assert stand.latest("provider", "errors", "acme") == 2.0
    assert stand.latest("provider", "errors", "spare") is None
    assert stand.latest("model", "requests", "small") == 3.0
    assert stand.latest("provider", "cost_usd", "acme") == pytest.approx(36.0)
    assert stand.latest("total", "upstream_errors") == 2.0


async def test_usage_by_key_comes_from_the_ledgers_sums(stand) -> None:
    """And goes on over a restart of the control process."""
    await stand.second()
    sums = [2, 3, 3, 3, 0, 0, 100, 0, 0, 50, 0, 2_000_000_000]
    stand.tally.add({(0, "key_a", "fast"): sums, (0, "key_a", "slow"): sums})
    await stand.second()
    assert stand.latest("key", "requests", "key_a") == 4.0
    assert stand.latest("key", "tokens_input", "key_a") == 200.0
    assert stand.latest("key", "tokens_output", "key_a") == 100.0
    assert stand.latest("key", "cost_usd", "key_a") == pytest.approx(4.0 * 3600)


async def test_a_restart_of_control_loses_no_reading_and_shows_no_jump(stand) -> None:
    """The history is worked out anew from the file; counters go on."""
    for _ in range(5):
        stand.count("rate_limit_allowed_total", by=10)
        await stand.second()
    before = stand.values("total", "allowed")
    stand.ring.close()
    stand.start_control()
    await stand.history.load()
    assert stand.values("total", "allowed") == before
    stand.count("rate_limit_allowed_total", by=7)
    await stand.second()
    assert stand.latest("total", "allowed") == 7.0


async def test_a_restart_of_the_instance_begins_at_zero_without_a_jump(stand) -> None:
    """What was counted before is not taken from what is counted now, and never below zero."""
    stand.count("rate_limit_allowed_total", by=1_000)
    await stand.second(3)
    stand.segment.close()
    stand.ring.close()
    stand.now_s += 120
    stand.start_instance()
    stand.count("rate_limit_allowed_total", by=4)
    stand.start_control()
    await stand.history.load()
    await stand.second()
    assert stand.latest("total", "allowed") is None  # nobody knows since when
    stand.count("rate_limit_allowed_total", by=2)
    await stand.second()
    values = stand.values("total", "allowed")
    assert values[-1] == 2.0
    assert values[-100:-3] == [None] * 97


async def test_what_was_not_read_is_a_gap_unless_it_was_a_moment(stand) -> None:
    """A reading two seconds late tells of both; after a minute nothing is made up."""
    await stand.second(2)
    stand.now_s += 1
    stand.count("rate_limit_allowed_total", by=8)
    await stand.second()
    assert stand.values("total", "allowed")[-2:] == [4.0, 4.0]
    stand.now_s += 60
    stand.count("rate_limit_allowed_total", by=60)
    await stand.second()
    values = stand.values("total", "allowed")
    assert values[-1] is None
    assert values[-61:-1] == [None] * 60
    assert values[-62] == 4.0


async def test_the_busiest_fifty_have_lines_and_the_rest_is_other(stand) -> None:
    """Together they are the total, quantiles of `other` included."""
    await stand.second()
    for number in range(60):
        model = f"m{number:02d}"
        stand.count("tidegate_upstream_requests_total", "acme", model, "ok", by=number + 1)
        stand.observe("tidegate_upstream_duration_seconds", 0.3, "acme", model)
    await stand.second()
    stand.history.choose_again()
    for number in range(60):
        stand.count("tidegate_upstream_requests_total", "acme", f"m{number:02d}", "ok", by=2)
        stand.observe("tidegate_upstream_duration_seconds", 0.3, "acme", f"m{number:02d}")
    await stand.second()
    lines = {
        key.label: value
        for key, value in stand.history.latest.items()
        if (key.by, key.name) == ("model", "requests")
    }
    assert len(lines) == MOST_LABELS
    assert sum(lines.values()) == 120.0
    assert lines["other"] == 22.0
    assert "m59" in lines
    assert "m05" not in lines
    latency = stand.latest("model", "latency_p50_s", "other")
    assert latency is not None
    assert 0.25 <= latency <= 0.5


async def test_a_range_has_all_its_places_oldest_first(stand) -> None:
    """900 seconds or 1,440 minutes; the newest reading is the last value."""
    for value in (3, 5):
        stand.count("rate_limit_blocked_total", by=value)
        await stand.second()
    values = stand.values("total", "blocked")
    assert len(values) == FINE.frames
    assert values[-1] == 5.0
    assert values[0] is None
    await stand.second(130)
    minutes = stand.values("total", "blocked", tier=COARSE)
    assert len(minutes) == COARSE.frames
    assert minutes[-1] == 0.0


async def test_idle_labels_are_left_out(stand) -> None:
    """A provider that did nothing in the range has no line; totals always have."""
    stand.worker.counter(stand.family("tidegate_upstream_requests_total")).labels("idle", "m", "ok")
    await stand.second(3)
    assert stand.values("provider", "requests", "idle") == []
    assert stand.values("total", "requests") != []


def test_every_measure_reads_a_family_that_exists() -> None:
    """A renamed family would leave a chart empty for ever."""
    names = {family.name for family in declared()}
    for by in GROUPINGS:
        for measure in MEASURES[by]:
            for place in measure.places:
                assert place.family in names or place.family.startswith("live_"), measure.name


async def test_series_beyond_the_columns_are_counted_in_other(
    stand, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The totals stay exact however many names there are."""
    from tidegate.control.live import ring as ring_module

    await stand.second()
    monkeypatch.setattr(ring_module, "MAX_COLUMNS", stand.ring.columns + 20)
    for number in range(200):
        stand.count("tidegate_upstream_requests_total", f"p{number}", "m", "ok")
    await stand.second()
    assert stand.sampler.dropped > 100
    stand.count("tidegate_upstream_requests_total", "p199", "m", "ok", by=5)
    await stand.second()
    total = sum(
        value
        for key, value in stand.history.latest.items()
        if (key.by, key.name) == ("provider", "requests")
    )
    assert total == 5.0
