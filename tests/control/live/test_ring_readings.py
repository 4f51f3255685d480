"""What alert rules are told: growth, values and maxima over windows of the ring."""

from __future__ import annotations

import pytest

from tidegate.control.alerts.readings import Readings
from tidegate.control.live.ring import COARSE
from tidegate.control.live.ring_readings import RingReadings

ATTEMPTS = "tidegate_upstream_requests_total"
TTFT = "tidegate_time_to_first_token_seconds"


def readings(stand) -> Readings:
    return RingReadings(stand.ring, float(stand.now_s))


async def test_growth_is_that_of_the_window_by_the_labels_asked_for(stand) -> None:
    """Summed over the others; matched by a value or by a set of values."""
    stand.count(ATTEMPTS, "acme", "a", "ok", by=100)
    await stand.second(10)
    stand.count(ATTEMPTS, "acme", "a", "ok", by=3)
    stand.count(ATTEMPTS, "acme", "b", "timeout", by=2)
    stand.count(ATTEMPTS, "spare", "b", "http_5xx", by=1)
    await stand.second(5)
    asked = readings(stand)
    assert asked.increase(ATTEMPTS, 10.0) == {(): 6.0}
    assert asked.increase(ATTEMPTS, 3.0) == {(): 0.0}
    assert asked.increase(ATTEMPTS, 10.0, by=("provider",)) == {("acme",): 5.0, ("spare",): 1.0}
    failed = {"outcome": frozenset({"timeout", "http_5xx"})}
    assert asked.increase(ATTEMPTS, 10.0, failed, ("model",)) == {("b",): 3.0}
    assert asked.increase(ATTEMPTS, 10.0, {"provider": "acme", "outcome": "ok"}) == {(): 3.0}


async def test_nothing_read_is_no_data_and_not_zero(stand) -> None:
    """An unknown family, labels that nobody has, an empty ring."""
    assert readings(stand).increase("rate_limit_allowed_total", 60.0) == {}
    assert readings(stand).value("tidegate_requests_in_flight") == {}
    await stand.second(2)
    asked = readings(stand)
    assert asked.increase("rate_limit_allowed_total", 60.0) == {(): 0.0}
    assert asked.increase("tidegate_no_such_total", 60.0) == {}
    assert asked.increase(ATTEMPTS, 60.0, {"provider": "nobody"}) == {}


async def test_a_life_that_began_inside_the_window_grew_from_zero(stand) -> None:
    """Before and after a restart are added up; nothing is taken away."""
    stand.count("rate_limit_blocked_total", by=1_000)
    await stand.second(2)
    stand.count("rate_limit_blocked_total", by=5)
    await stand.second(2)
    stand.segment.close()
    stand.ring.close()
    stand.now_s += 10
    stand.start_instance()
    stand.count("rate_limit_blocked_total", by=7)
    stand.start_control()
    await stand.second(2)
    assert readings(stand).increase("rate_limit_blocked_total", 14.0) == {(): 12.0}


async def test_histograms_have_counts_sums_and_cumulative_buckets(stand) -> None:
    """A bucket is found by its bound as a number."""
    await stand.second()
    for value in (0.2, 0.6, 3.0, 100.0):
        stand.observe(TTFT, value, "acme", "a")
    await stand.second()
    asked = readings(stand)
    assert asked.increase(f"{TTFT}_count", 5.0) == {(): 4.0}
    assert asked.increase(f"{TTFT}_sum", 5.0)[()] == pytest.approx(103.8)
    for bound, count in (("0.1", 0.0), ("1", 2.0), ("1.0", 2.0), ("5.0", 3.0), ("+Inf", 4.0)):
        assert asked.increase(f"{TTFT}_bucket", 5.0, {"le": bound}) == {(): count}, bound
    assert asked.increase(f"{TTFT}_bucket", 5.0, {"le": "1", "provider": "x"}) == {}


async def test_gauges_are_summed_now_and_at_their_highest(stand) -> None:
    """The maximum is of the sums, over readings of the window alone."""
    gauge = stand.worker.gauge(stand.family("tidegate_requests_in_flight")).series
    other = stand.other_worker.gauge(stand.family("tidegate_requests_in_flight")).series
    gauge.set(9.0)
    await stand.second()
    gauge.set(2.0)
    other.set(3.0)
    await stand.second()
    other.set(0.0)
    await stand.second()
    asked = readings(stand)
    assert asked.value("tidegate_requests_in_flight") == {(): 2.0}
    assert asked.maximum("tidegate_requests_in_flight", 10.0) == {(): 9.0}
    assert asked.maximum("tidegate_requests_in_flight", 1.0) == {(): 5.0}


async def test_long_windows_are_read_by_the_minute_and_clipped(stand) -> None:
    """With the newest second at their end; a window beyond what there is takes what there is."""
    for _ in range(5):
        stand.count("rate_limit_allowed_total", by=10)
        await stand.second(COARSE.step_s)
    stand.count("rate_limit_allowed_total", by=1)
    await stand.second()
    asked = readings(stand)
    first_minute = 10.0  # what the oldest reading of a minute had counted already
    grown = asked.increase("rate_limit_allowed_total", 6 * 3600.0)[()]
    assert grown == 51.0 or grown == 51.0 - first_minute
