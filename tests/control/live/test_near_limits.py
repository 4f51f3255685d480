"""Who is near a limit, as the shared table of the workers tells it."""

from __future__ import annotations

import asyncio
import hashlib
import threading
from collections.abc import Iterator

import pytest

from tidegate.config.snapshot import (
    EdgeSnapshot,
    KeySnapshot,
    LimitSnapshot,
    MetricsSnapshot,
    ModelSnapshot,
    Snapshot,
    TargetSnapshot,
)
from tidegate.control.eventlog import EventLog
from tidegate.control.live import service
from tidegate.control.live.near import MOST_SUBJECTS, NearLimits
from tidegate.limits.concurrency import ConcurrencyTable
from tidegate.limits.limiter import Limiter
from tidegate.limits.rules import Rule
from tidegate.memory import CONTROL_SLOT, FIRST_WORKER_SLOT, LIMITER_LOCK, Segment
from tidegate.metrics.registry import Registry

PEPPER = bytes(range(32))
HOUR_NS = 3600 * 10**9
LIMITS = (
    LimitSnapshot("hourly", "key", "requests", 10, HOUR_NS, 10),
    LimitSnapshot("all", "global", "requests", 100, HOUR_NS, 100),
    LimitSnapshot("a-model", "model", "requests", 20, HOUR_NS, 20),
    LimitSnapshot("running", "key", "concurrency", 4, 10**9, 4),
    LimitSnapshot("guests", "ip", "requests", 2, HOUR_NS, 2),
)


def snapshot() -> Snapshot:
    return Snapshot(
        generation=1,
        edge=EdgeSnapshot(),
        providers=(),
        models=(ModelSnapshot("fast", (TargetSnapshot("acme", "x"),)),),
        limits=LIMITS,
        default_limits=("hourly", "running"),
        metrics=MetricsSnapshot(),
        pepper=PEPPER,
        data_dir="/nowhere",
    )


def key(number: int) -> KeySnapshot:
    return KeySnapshot(f"key_{number}", f"name {number}", bytes(32))


@pytest.fixture
def segment() -> Iterator[Segment]:
    made = Segment.create(worker_slots=4)
    yield made
    made.close()


def limiter_of(segment: Segment, slot: int = FIRST_WORKER_SLOT) -> Limiter:
    """The limiter as a worker makes it."""
    digest = hashlib.blake2b(PEPPER, digest_size=32, person=b"tidegate-limits").digest()
    table = ConcurrencyTable(segment.holds, slot)
    return Limiter(segment.limiter, segment.lock(LIMITER_LOCK), digest, concurrency=table)


def use(limiter: Limiter, name: str, subject: bytes, times: int):
    rule = next(Rule.from_snapshot(limit) for limit in LIMITS if limit.name == name)
    check = limiter.check(rule, subject)
    return [limiter.admit([check]) for _ in range(times)]


def test_subjects_are_named_with_what_they_have_used(segment: Segment) -> None:
    """Of keys, models and all together; fullest first; addresses cannot be named."""
    limiter = limiter_of(segment)
    use(limiter, "hourly", b"key_1", 9)
    use(limiter, "hourly", b"key_2", 1)
    use(limiter, "all", b"", 50)
    use(limiter, "a-model", b"fast", 4)
    use(limiter, "guests", b"127.0.0.1", 2)
    found = NearLimits(segment, snapshot(), [key(1), key(2), key(3)]).subjects()
    rows = [(one.limit, one.per, one.subject, one.remaining) for one in found]
    assert rows == [
        ("hourly", "key", "name 1", 1),
        ("all", "global", "global", 50),
        ("a-model", "model", "fast", 16),
        ("hourly", "key", "name 2", 9),
    ]
    assert found[0].used_ratio == pytest.approx(0.9, abs=0.001)
    assert found[0].full_in_s == pytest.approx(9 * 360, abs=5)


def test_running_requests_are_counted_in_every_worker(segment: Segment) -> None:
    """They have no time at which they end."""
    held = use(limiter_of(segment), "running", b"key_1", 1)
    held += use(limiter_of(segment, FIRST_WORKER_SLOT + 1), "running", b"key_1", 2)
    near = NearLimits(segment, snapshot(), [key(1)])
    (subject,) = near.subjects()
    assert (subject.limit, subject.used_ratio, subject.remaining) == ("running", 0.75, 1)
    assert subject.full_in_s is None
    for decision in held:
        decision.release()
    assert near.subjects() == []


def test_only_the_fullest_hundred_are_told(segment: Segment) -> None:
    """However many keys there are."""
    limiter = limiter_of(segment)
    for number in range(150):
        use(limiter, "hourly", f"key_{number}".encode(), 1 + number % 5)
    found = NearLimits(segment, snapshot(), [key(number) for number in range(150)]).subjects()
    assert len(found) == MOST_SUBJECTS
    assert min(one.used_ratio for one in found) >= 0.19
    assert found[0].used_ratio == pytest.approx(0.5, abs=0.001)


async def test_digests_are_worked_out_once_and_beside_the_loop(
    segment: Segment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those of 100,000 keys take over a second; another table of keys has others."""
    threads: list[int] = []

    class Noted(NearLimits):
        def __init__(self, *given: object) -> None:
            threads.append(threading.get_ident())
            super().__init__(*given)  # type: ignore[arg-type]

    monkeypatch.setattr(service, "NearLimits", Noted)
    live = service.LiveService(
        Registry(segment, CONTROL_SLOT), snapshot(), [key(1)], "http://gateway", EventLog("control")
    )
    limiter = limiter_of(segment)
    use(limiter, "hourly", b"key_1", 5)
    use(limiter, "hourly", b"key_2", 7)
    first, second = await asyncio.gather(live.limits(), live.limits())
    for found in (first, second):
        assert [one.subject for one in found.subjects] == ["name 1"]
    assert len(threads) == 1
    assert threading.get_ident() not in threads
    live.set_keys([key(1), key(2)])
    later = await live.limits()
    assert [one.subject for one in later.subjects] == ["name 2", "name 1"]
    assert len(threads) == 2
