"""Limits survive a restart: saved as distances from the clock, restored less what passed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tidegate.control.limiter_snapshot import SNAPSHOT_FILE, LimiterSnapshot
from tidegate.limits.table import LimitTable
from tidegate.memory import LIMITER_LOCK, Segment

SECOND = 1_000_000_000


class Clock:
    """Both clocks of one machine, moved by hand."""

    def __init__(self) -> None:
        self.boot_ns = 1_000 * SECOND
        self.wall_ns = 1_700_000_000 * SECOND


@pytest.fixture
def segments() -> Iterator[list[Segment]]:
    """Two instances, one after the other."""
    made = [Segment.create(worker_slots=1) for _ in range(2)]
    yield made
    for segment in made:
        segment.close()


def make(segment: Segment, folder: Path, clock: Clock) -> LimiterSnapshot:
    return LimiterSnapshot(
        segment, folder, clock_ns=lambda: clock.boot_ns, wall_ns=lambda: clock.wall_ns
    )


def put(segment: Segment, ahead: dict[int, int], now_ns: int) -> None:
    table = LimitTable(segment.limiter)
    for digest, ahead_ns in ahead.items():
        assert table.add(digest, now_ns + ahead_ns, now_ns) >= 0


def look(segment: Segment, now_ns: int) -> dict[int, int]:
    flat = segment.limiter.tolist()
    entries = zip(flat[::2], flat[1::2], strict=True)
    return {digest: tat_ns - now_ns for digest, tat_ns in entries if tat_ns > now_ns}


@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    ahead=st.dictionaries(
        st.integers(-(2**63), 2**63 - 1).filter(bool), st.integers(1, 86_400 * SECOND), max_size=30
    ),
    passed_ns=st.integers(0, 7_200 * SECOND),
    new_boot_ns=st.integers(1, 10**15),
)
def test_a_restart_refills_a_bucket_by_the_time_that_passed_and_no_more(
    tmp_path: Path, segments: list[Segment], ahead: dict[int, int], passed_ns: int, new_boot_ns: int
) -> None:
    """Also over a reboot, where the table's clock begins anew."""
    for segment in segments:
        segment.limiter[:] = memoryview(bytes(len(segment.limiter) * 8)).cast("q")
    clock = Clock()
    put(segments[0], ahead, clock.boot_ns)
    make(segments[0], tmp_path, clock).save()
    clock.boot_ns = new_boot_ns
    clock.wall_ns += passed_ns
    make(segments[1], tmp_path, clock).restore()
    left = {digest: rest - passed_ns for digest, rest in ahead.items() if rest > passed_ns}
    assert look(segments[1], clock.boot_ns) == left


def test_a_wall_clock_set_back_lengthens_no_wait(tmp_path: Path, segments: list[Segment]) -> None:
    """The distance of the save is the most that comes back."""
    clock = Clock()
    put(segments[0], {7: 60 * SECOND}, clock.boot_ns)
    make(segments[0], tmp_path, clock).save()
    clock.wall_ns -= 86_400 * SECOND
    make(segments[1], tmp_path, clock).restore()
    assert look(segments[1], clock.boot_ns) == {7: 60 * SECOND}


@pytest.mark.parametrize("keep", [0, 3, 20, -1])
def test_a_torn_file_means_empty_limits(tmp_path: Path, segments: list[Segment], keep: int) -> None:
    """And so does a missing one."""
    clock = Clock()
    put(segments[0], {7: 60 * SECOND}, clock.boot_ns)
    snapshot = make(segments[0], tmp_path, clock)
    assert make(segments[1], tmp_path, clock).restore() == 0
    snapshot.save()
    path = tmp_path / SNAPSHOT_FILE
    path.write_bytes(path.read_bytes()[:keep])
    assert make(segments[1], tmp_path, clock).restore() == 0
    assert path.stat().st_mode & 0o077 == 0


def test_an_empty_table_is_written_once_only(tmp_path: Path, segments: list[Segment]) -> None:
    """An idle gateway does not touch the disk."""
    snapshot = make(segments[0], tmp_path, Clock())
    snapshot.save()
    (tmp_path / SNAPSHOT_FILE).unlink()
    snapshot.save()
    assert not (tmp_path / SNAPSHOT_FILE).exists()


def test_the_lock_is_given_back(tmp_path: Path, segments: list[Segment]) -> None:
    """A save must not stop the limiter."""
    clock = Clock()
    put(segments[0], {7: 60 * SECOND}, clock.boot_ns)
    snapshot = make(segments[0], tmp_path, clock)
    snapshot.save()
    snapshot.restore()
    locks = Path("/proc/locks").read_text()
    inode = str((Path("/proc/self/fd") / str(segments[0].fd)).stat().st_ino)
    assert not [line for line in locks.splitlines() if f":{inode} " in line]
    assert segments[0].try_lock(LIMITER_LOCK)
    segments[0].unlock(LIMITER_LOCK)
