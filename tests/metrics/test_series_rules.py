"""Series: closed sets, caps, the index that all processes share, and what a kill leaves behind."""

from __future__ import annotations

import asyncio
import gc
import os
import random
import select
import signal
import struct
import time
from collections.abc import Callable

import pytest

from tidegate.memory import FIRST_WORKER_SLOT, INDEX_LOCK, InstanceWord, Segment, SlotWord
from tidegate.metrics.families import rate_limits, requests, upstream, usage
from tidegate.metrics.families.process import CPU
from tidegate.metrics.families.python import GC_COLLECTIONS
from tidegate.metrics.families.series import SERIES_DROPPED
from tidegate.metrics.families.workers import WORKER_CPU
from tidegate.metrics.index import SeriesIndex
from tidegate.metrics.page import MetricsPage
from tidegate.metrics.registry import Registry
from tidegate.metrics.runtime import GarbageCounters, bury, read_process, reaping

SLOT = FIRST_WORKER_SLOT


def fork(action: Callable[[], object]) -> int:
    """Run *action* in a forked process that shares the segment; return its pid."""
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            action()
            status = 0
        finally:
            os._exit(status)
    return pid


def total(segment: Segment, registry: Registry, name: str, *labels: str) -> float:
    """Sum one series' first cell over all slots."""
    first = registry.places_of(registry.families[name])[labels]
    return sum(segment.cells(slot)[first] for slot in range(segment.slots))


def test_a_value_outside_its_closed_set_is_other(segment: Segment) -> None:
    """An unknown reason, an overlong name and half a character never become labels."""
    registry = Registry(segment, SLOT)
    attempts = registry.counter(upstream.UPSTREAM_REQUESTS)
    attempts.labels("acme", "m", "invented by somebody").inc()
    attempts.labels("acme", "m", "other").inc()
    attempts.labels("acme", "m" * 201, "ok").inc()
    attempts.labels("acme", "\ud800", "ok").inc()
    assert set(registry.places_of(upstream.UPSTREAM_REQUESTS)) == {
        ("acme", "m", "other"),
        ("acme", "other", "ok"),
    }
    assert total(segment, registry, attempts.family.name, "acme", "m", "other") == 2.0
    assert total(segment, registry, attempts.family.name, "acme", "other", "ok") == 2.0


def test_refused_values_take_no_memory(segment: Segment) -> None:
    """A hundred thousand different bad values leave one series and one remembered name."""
    registry = Registry(segment, SLOT, max_series_per_family=5)
    costs = registry.counter(usage.COST)
    before = segment.words[InstanceWord.INDEX_LENGTH]
    for number in range(20_000):
        costs.labels("acme", f"model-{number}").inc()
    assert len(registry.places_of(usage.COST)) == 6
    assert len(costs._known) == 6
    assert segment.words[InstanceWord.INDEX_LENGTH] - before < 1_000
    assert total(segment, registry, usage.COST.name, "other", "other") == 19_995.0
    assert total(segment, registry, SERIES_DROPPED.name, usage.COST.name) == 19_995.0


def test_the_cap_of_the_instance_spares_closed_families(segment: Segment) -> None:
    """Beyond the total every open family counts in `other`; closed ones and old series go on."""
    registry = Registry(segment, SLOT, max_total=3)
    costs = registry.counter(usage.COST)
    for number in range(3):
        costs.labels("acme", f"m{number}").inc()
    registry.counter(requests.REQUESTS).labels("chat", "200").inc()
    registry.counter(rate_limits.DECISIONS).labels("per-key", "allowed").inc()
    assert set(registry.places_of(requests.REQUESTS)) == {("other", "other")}
    assert set(registry.places_of(rate_limits.DECISIONS)) == {("other", "other")}
    costs.labels("acme", "m1").inc()
    assert total(segment, registry, usage.COST.name, "acme", "m1") == 2.0
    registry.counter(usage.USAGE_SOURCE).labels("provider").inc()
    assert total(segment, registry, usage.USAGE_SOURCE.name, "provider") == 1.0


def test_a_full_index_breaks_nothing(segment: Segment) -> None:
    """With caps that are far too high the list fills up; series then land in `other`."""
    registry = Registry(segment, SLOT, max_series_per_family=10**9, max_total=10**9)
    durations = registry.histogram(upstream.UPSTREAM_DURATION)
    for number in range(17_000):
        durations.labels("acme", f"m{number}").observe(1.0)
    first = registry.places_of(upstream.UPSTREAM_DURATION)
    assert 14_000 < len(first) < 17_000
    assert ("other", "other") in first
    registry.counter(usage.COST).labels("acme", "m").inc()
    assert total(segment, registry, usage.COST.name, "other", "other") == 1.0
    assert len(Registry(segment, SLOT + 1).places_of(upstream.UPSTREAM_DURATION)) == len(first)


def test_counters_never_fall(segment: Segment) -> None:
    """Negative, infinite and undefined amounts, as a lying upstream may cause, are left out."""
    registry = Registry(segment, SLOT)
    tokens = registry.counter(usage.TOKENS).labels("acme", "m", "input")
    durations = registry.histogram(upstream.UPSTREAM_DURATION).labels("acme", "m")
    tokens.inc(5)
    for amount in (-1.0, 0.0, float("inf"), float("-inf"), float("nan"), 1e300):
        tokens.inc(amount)
    for value in (-0.001, float("inf"), float("nan")):
        durations.observe(value)
    assert tokens.value == 5.0
    assert not any(durations._cells[durations._first : durations._sum + 1])


def test_misuse_is_an_error(segment: Segment) -> None:
    """A wrong number of labels, a wrong kind and an undeclared family show at once."""
    registry = Registry(segment, SLOT)
    with pytest.raises(ValueError, match="has labels"):
        registry.counter(usage.COST).labels("acme")
    with pytest.raises(ValueError, match="is a counter"):
        registry.gauge(usage.COST)
    with pytest.raises(ValueError, match="not declared"):
        registry.counter(type(usage.COST)("tidegate_made_up_total", "counter", "Made up."))


def test_a_taken_index_does_not_hold_the_loop(segment: Segment) -> None:
    """While another process sits on the lock, series count apart; nothing of it is lost."""
    registry = Registry(segment, SLOT)
    ready, done = os.pipe(), os.pipe()

    def sit_on_the_lock() -> None:
        segment.try_lock(INDEX_LOCK)
        os.write(ready[1], b"x")
        os.read(done[0], 1)

    pid = fork(sit_on_the_lock)
    os.read(ready[0], 1)
    began = time.thread_time()
    cost = registry.counter(usage.COST).labels("acme", "m")
    cost.inc(2)
    durations = registry.histogram(upstream.UPSTREAM_DURATION).labels("acme", "m")
    durations.observe(0.3)
    registry.catch_up()
    assert time.thread_time() - began < 0.05
    assert registry.places_of(usage.COST) == {}
    os.write(done[1], b"x")
    os.waitpid(pid, 0)
    registry.catch_up()
    cost.inc(3)
    durations.observe(0.3)
    assert total(segment, registry, usage.COST.name, "acme", "m") == 5.0
    first = registry.places_of(upstream.UPSTREAM_DURATION)["acme", "m"]
    assert sum(segment.cells(SLOT)[first : first + 16]) == 2.0
    assert segment.cells(SLOT)[first + 16] == 0.6
    for end in (*ready, *done):
        os.close(end)


class Deadly:
    """Stands for a view of the segment and may kill its process before, in or after a store."""

    def __init__(self, view: memoryview, chance: random.Random) -> None:
        self._view = view
        self._chance = chance

    def __len__(self) -> int:
        return len(self._view)

    def __getitem__(self, key):
        return self._view[key]

    def __setitem__(self, key, value) -> None:
        fate = self._chance.random()
        if fate < 0.004:
            os.kill(os.getpid(), signal.SIGKILL)
        if isinstance(key, slice) and fate < 0.008:
            half = len(value) // 2
            self._view[key.start : key.start + half] = value[:half]
            os.kill(os.getpid(), signal.SIGKILL)
        self._view[key] = value
        if fate > 0.996:
            os.kill(os.getpid(), signal.SIGKILL)


class DeadlySegment:
    """A segment whose every store into words and index may be the process's last."""

    def __init__(self, segment: Segment, seed: int) -> None:
        chance = random.Random(seed)
        self._segment = segment
        self.words = Deadly(segment.words, chance)
        self.index = Deadly(segment.index, chance)

    def __getattr__(self, name: str) -> object:
        return getattr(self._segment, name)


def test_racing_processes_agree_on_the_series_though_killed(segment: Segment) -> None:
    """Four processes make the same 1,500 series in any order and die at any store of it.

    Afterwards each series is there once, no cells are shared, and all checksums are right.
    """
    wanted = [("acme", f"model-{number}") for number in range(1_500)]
    Registry(segment, 0)

    def make_all(seed: int) -> None:
        deadly = DeadlySegment(segment, seed)
        registry = Registry(deadly, SLOT + seed % 4)
        order = wanted[:]
        random.Random(seed).shuffle(order)
        durations = registry.histogram(upstream.UPSTREAM_DURATION)
        for labels in order:
            durations.labels(*labels)

    running = {fork_with_seed(make_all, seed) for seed in range(4)}
    next_seed, kills = 4, 0
    while running:
        pid, status = os.wait()
        running.discard(pid)
        if os.WIFSIGNALED(status):
            kills += 1
            running.add(fork_with_seed(make_all, next_seed))
            next_seed += 1
        else:
            assert os.WEXITSTATUS(status) == 0
    index = SeriesIndex(segment)
    index.catch_up()
    assert kills > 10
    made = [
        record.labels
        for record in index.records
        if record.family == upstream.UPSTREAM_DURATION.name
    ]
    assert sorted(made) == sorted(wanted)
    keys = [(record.family, record.labels) for record in index.records]
    assert len(set(keys)) == len(keys)
    ends = 0
    for record in index.records:
        assert record.first >= ends
        ends = record.first + record.cells


def fork_with_seed(action: Callable[[int], object], seed: int) -> int:
    """Fork *action* with its seed."""
    return fork(lambda: action(seed))


def test_counts_equal_the_observer_through_kills(segment: Segment) -> None:
    """Writers on four slots are killed and replaced 150 times; the page never falls.

    Each writer tells an observer after every count, so a kill may leave one count in doubt.
    """
    supervisor = Registry(segment, 0)
    page = MetricsPage(segment, supervisor)

    def write(slot: int, out: int) -> None:
        registry = Registry(segment, slot)
        allowed = registry.counter(rate_limits.ALLOWED).series
        in_flight = registry.gauge(requests.REQUESTS_IN_FLIGHT).series
        durations = registry.histogram(requests.REQUEST_DURATION).labels("chat", "true")
        while True:
            in_flight.inc()
            durations.observe(0.02)
            allowed.inc()
            os.write(out, b"x")
            in_flight.dec()

    chance = random.Random(7)
    kills = in_doubt = acked = 0
    writers: dict[int, tuple[int, int]] = {}
    counted = dict.fromkeys(segment.worker_slots, 0.0)
    first = supervisor.places_of(rate_limits.ALLOWED)[()]
    last_page = 0.0

    def start(slot: int) -> None:
        segment.claim(slot)
        out, inlet = os.pipe()
        pid = fork(lambda: write(slot, inlet))
        os.close(inlet)
        segment.set(slot, SlotWord.PID, pid)
        writers[slot] = (pid, out)

    for slot in segment.worker_slots:
        start(slot)
    while kills < 150:
        # Let somebody count, so that a kill meets a writer at work.
        ready, _, _ = select.select([out for _, out in writers.values()], [], [], 10)
        assert ready
        slot = chance.choice(list(writers))
        pid, out = writers.pop(slot)
        time.sleep(chance.random() * 0.004)
        os.kill(pid, signal.SIGKILL)
        with reaping(segment):
            bury(supervisor, slot, os.wait4(pid, 0)[2])
        seen = 0
        while data := os.read(out, 65536):
            seen += len(data)
        os.close(out)
        acked += seen
        grown = segment.cells(slot)[first] - counted[slot]
        counted[slot] += grown
        assert grown - seen in (0.0, 1.0)
        in_doubt += int(grown - seen)
        kills += 1
        in_flight = supervisor.places_of(requests.REQUESTS_IN_FLIGHT)[()]
        assert segment.cells(slot)[in_flight] == 0.0
        start(slot)
        if kills % 10 == 0:
            _, body = asyncio.run(page.render(None, None))
            shown = float(body.split(b"\nrate_limit_allowed_total ")[1].split(b"\n")[0])
            assert shown >= last_page
            last_page = shown
    for slot, (pid, out) in writers.items():
        os.kill(pid, signal.SIGKILL)
        with reaping(segment):
            bury(supervisor, slot, os.wait4(pid, 0)[2])
        while data := os.read(out, 65536):
            acked += len(data)
        os.close(out)
        in_doubt += 1
    assert acked > 1_000
    assert acked <= total(segment, supervisor, rate_limits.ALLOWED.name) <= acked + in_doubt
    supervisor.catch_up()
    buckets = supervisor.places_of(requests.REQUEST_DURATION)["chat", "true"]
    observed = sum(
        sum(segment.cells(slot)[buckets : buckets + 16]) for slot in segment.worker_slots
    )
    assert acked <= observed <= acked + kills + 4


async def test_cpu_of_the_dead_stays_in_the_sum(segment: Segment) -> None:
    """A process burns CPU and is killed; no scrape during its end shows less than one before."""
    supervisor = Registry(segment, 0)
    page = MetricsPage(segment, supervisor)

    async def shown() -> tuple[float, float]:
        _, body = await page.render(None, None)
        lines = dict(
            line.rsplit(b" ", 1) for line in body.splitlines() if not line.startswith(b"#")
        )
        worker = lines.get(b'tidegate_worker_cpu_seconds_total{worker="2"}', b"0")
        return float(lines[b"process_cpu_seconds_total"]), float(worker)

    def burn() -> None:
        while True:
            pass

    segment.claim(SLOT)
    pid = fork(burn)
    segment.set(SLOT, SlotWord.PID, pid)
    deadline = time.monotonic() + 20
    while (await shown())[1] < 0.2:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.02)
    before = await shown()
    os.kill(pid, signal.SIGKILL)
    zombie = await shown()
    with reaping(segment):
        _, _, used = os.wait4(pid, 0)  # noqa: ASYNC222 (it was killed)
        # A page asked for right now waits until the figures have been moved.
        scrape = asyncio.create_task(shown())
        await asyncio.sleep(0.02)
        assert not scrape.done()
        bury(supervisor, SLOT, used)
    meanwhile = await scrape
    after = await shown()
    for earlier, later in ((before, zombie), (zombie, meanwhile), (meanwhile, after)):
        assert later >= earlier
    assert after[1] >= 0.2
    assert supervisor.counter(CPU).series.value == supervisor.counter(WORKER_CPU).labels("2").value


async def test_a_supervisor_that_stands_still_does_not_stop_the_page(segment: Segment) -> None:
    """Frozen or dead in the middle of a burial: the page comes all the same, a little later."""
    page = MetricsPage(segment, Registry(segment, SLOT))
    segment.words[InstanceWord.REAPS] |= 1
    _, body = await asyncio.wait_for(page.render(None, None), 5)
    assert b"\nprocess_cpu_seconds_total " in body


def test_a_program_with_brackets_in_its_name_is_read_right() -> None:
    """`/proc` puts the name in brackets, unescaped, before the numbers."""
    with open("/proc/self/comm") as file:
        name = file.read()
    try:
        with open("/proc/self/comm", "w") as file:
            file.write("a) R 1 (b")
        reading = read_process(os.getpid())
    finally:
        with open("/proc/self/comm", "w") as file:
            file.write(name)
    assert reading is not None
    assert reading.threads >= 1
    assert 10e6 < reading.resident_bytes < reading.virtual_bytes
    assert reading.open_fds >= 3
    assert read_process(2**22 + 1) is None


def test_gc_figures_go_on_where_the_predecessor_ended(segment: Segment) -> None:
    """A new process in a slot adds to what stands there, though its own statistics begin anew."""
    ran_before = Registry(segment, SLOT).counter(GC_COLLECTIONS).labels("2")
    ran_before.inc(1_000_000)
    counters = GarbageCounters(Registry(segment, SLOT))
    counters.store()
    first = ran_before.value
    counters.store()
    assert ran_before.value == first > 1_000_000
    gc.collect()
    counters.store()
    assert ran_before.value >= first + 1


def test_a_damaged_record_is_not_read(segment: Segment) -> None:
    """Bytes that do not match their checksum end the reading there, and stop nobody."""
    registry = Registry(segment, SLOT)
    length = segment.words[InstanceWord.INDEX_LENGTH]
    registry.counter(usage.COST).labels("acme", "m").inc()
    segment.index[length + 20 : length + 21] = b"\xff"
    other = Registry(segment, SLOT + 1)
    assert other.places_of(usage.COST) == {}
    other.counter(usage.COST).labels("acme", "n").inc()
    assert struct.unpack_from("=I", segment.index, length)[0] > 0
    asyncio.run(MetricsPage(segment, other).render(None, None))
