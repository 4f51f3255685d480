"""The shared memory of an instance."""

from __future__ import annotations

import errno
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import tidegate
from tidegate.memory import (
    CELLS_PER_SLOT,
    CONTROL_SLOT,
    INDEX_LOCK,
    LIMITER_ENTRIES,
    LIMITER_ENTRY_WORDS,
    LIMITER_LOCK,
    SUPERVISOR_SLOT,
    InstanceWord,
    Segment,
    SlotState,
    SlotWord,
)

SRC = str(Path(tidegate.__file__).parents[1])


@pytest.fixture
def segment() -> Iterator[Segment]:
    """One with four worker slots."""
    made = Segment.create(worker_slots=4)
    yield made
    made.close()


def run_child(segment: Segment, code: str) -> str:
    """Run *code* in a fresh interpreter that inherits the segment as descriptor `fd`."""
    prelude = "import os\nfrom tidegate.memory import *\n"
    done = subprocess.run(
        [sys.executable, "-c", f"{prelude}fd = {segment.fd}\n{code}"],
        pass_fds=[segment.fd],
        env={**os.environ, "PYTHONPATH": SRC},
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    return done.stdout.strip()


def forked(action: Callable[[], int]) -> int:
    """Run *action* in a forked child and return its exit status."""
    pid = os.fork()
    if pid == 0:
        status = 99
        try:
            status = action()
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def test_attaching_needs_only_the_descriptor(segment: Segment) -> None:
    """What one process stores in any region, another one reads, and the other way round."""
    segment.cells(3)[7] = 1.5
    segment.words[InstanceWord.GENERATION] = 42
    segment.index[0:3] = b"abc"
    segment.limiter[-1] = -9
    said = run_child(
        segment,
        "s = Segment.attach(fd)\n"
        "print(s.slots, s.cells(3)[7], s.words[InstanceWord.GENERATION], bytes(s.index[:3]),"
        " s.limiter[-1], s.key.hex())\n"
        "s.cells(5)[262143] = 2.5\n",
    )
    assert said == f"6 1.5 42 b'abc' -9 {segment.key.hex()}"
    assert segment.cells(5)[CELLS_PER_SLOT - 1] == 2.5


def test_a_new_segment_is_zero_and_its_regions_do_not_overlap(segment: Segment) -> None:
    """Filling one region to its ends leaves all others as they were."""
    assert not any(segment.limiter)
    assert not any(segment.cells(CONTROL_SLOT))
    for slot in range(segment.slots):
        cells = segment.cells(slot)
        cells[0] = cells[CELLS_PER_SLOT - 1] = 100.0 + slot
    segment.limiter[0] = segment.limiter[LIMITER_ENTRIES * LIMITER_ENTRY_WORDS - 1] = 7
    segment.index[0] = segment.index[len(segment.index) - 1] = 9
    for slot in range(segment.slots):
        for word in SlotWord:
            segment.set(slot, word, 1000 * slot + word)
    for slot in range(segment.slots):
        cells = segment.cells(slot)
        assert cells[0] == cells[CELLS_PER_SLOT - 1] == 100.0 + slot
        assert [segment.get(slot, word) for word in SlotWord] == [
            1000 * slot + word for word in SlotWord
        ]
    assert segment.limiter[0] == segment.limiter[-1] == 7
    assert segment.words[InstanceWord.STARTED_AT_NS] > 0


def test_nobody_can_shrink_or_grow_it(segment: Segment) -> None:
    """A shorter file would end its readers in SIGBUS; the seals refuse it."""
    for size in (0, segment.size - 4096, segment.size + 4096):
        with pytest.raises(PermissionError):
            os.ftruncate(segment.fd, size)


def test_all_of_it_is_allocated_at_the_start(segment: Segment) -> None:
    """No later store can find the machine out of memory."""
    assert os.fstat(segment.fd).st_blocks * 512 >= segment.size


def test_no_room_is_an_error_that_leaves_nothing_behind() -> None:
    """The descriptor is closed again when the memory cannot be had."""

    def action() -> int:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))
        before = len(os.listdir("/proc/self/fd"))
        try:
            Segment.create(worker_slots=4)
        except OSError as error:
            return (
                0
                if error.errno == errno.EFBIG and before == len(os.listdir("/proc/self/fd"))
                else 1
            )
        return 2

    assert forked(action) == 0


def test_a_process_is_charged_for_what_it_touches_only(segment: Segment) -> None:
    """Attaching maps 20 MB and makes the process less than 1 MB larger."""
    grown_kb = run_child(
        segment,
        "def resident():\n"
        "    line = [l for l in open('/proc/self/status') if l.startswith('VmRSS')][0]\n"
        "    return int(line.split()[1])\n"
        "before = resident()\n"
        "s = Segment.attach(fd)\n"
        "s.cells(2)[0] = 1.0\n"
        "print(resident() - before)\n",
    )
    assert int(grown_kb) < 1024


def test_without_memfd_a_file_without_a_name_serves(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is allocated and shared in the same way, and no directory shows it."""

    def refused(name: str, flags: int) -> int:
        raise OSError(errno.ENOSYS, "no such call")

    monkeypatch.setattr(os, "memfd_create", refused)
    segment = Segment.create(worker_slots=1)
    assert os.readlink(f"/proc/self/fd/{segment.fd}").endswith("(deleted)")
    assert os.fstat(segment.fd).st_blocks * 512 >= segment.size
    assert run_child(segment, "s = Segment.attach(fd); s.cells(2)[5] = 4.0; print(s.slots)") == "3"
    assert segment.cells(2)[5] == 4.0
    segment.close()


@pytest.mark.parametrize(
    ("head", "reason"),
    [
        (b"", "too short"),
        (b"x" * 4096, "not a shared memory segment"),
        (b"tidegate" + (99).to_bytes(4, "little") + bytes(4084), "layout 99"),
        (b"tidegate" + (1).to_bytes(4, "little") + b"\xff" * 4084, "slots"),
        (b"tidegate" + (1).to_bytes(4, "little") + (6).to_bytes(4, "little") + bytes(4080), "long"),
    ],
)
def test_what_is_not_our_segment_is_refused(tmp_path: Path, head: bytes, reason: str) -> None:
    """A wrong descriptor is an error that says so, never a crash at the first touch."""
    path = tmp_path / "file"
    path.write_bytes(head)
    with open(path, "r+b") as file, pytest.raises(ValueError, match=reason):
        Segment.attach(file.fileno())


def test_a_lock_excludes_other_processes_and_not_the_other_lock(segment: Segment) -> None:
    """Each lock byte has one holder; trying never waits."""

    def tries(byte: int) -> int:
        return forked(lambda: int(segment.try_lock(byte)))

    assert segment.try_lock(INDEX_LOCK)
    assert tries(INDEX_LOCK) == 0
    assert tries(LIMITER_LOCK) == 1
    segment.unlock(INDEX_LOCK)
    assert tries(INDEX_LOCK) == 1


def test_a_lock_is_free_again_when_its_holder_is_killed(segment: Segment) -> None:
    """A holder's kill -9 stops nobody else."""

    def die_holding() -> int:
        segment.try_lock(LIMITER_LOCK)
        os.kill(os.getpid(), signal.SIGKILL)
        return 0

    for _ in range(20):
        assert forked(die_holding) == -signal.SIGKILL
        assert segment.try_lock(LIMITER_LOCK)
        segment.unlock(LIMITER_LOCK)


def test_a_slot_has_one_owner_until_it_is_released(segment: Segment) -> None:
    """Claiming counts incarnations; a slot in use is not given out, the least used one is."""
    assert segment.get(SUPERVISOR_SLOT, SlotWord.PID) == os.getpid()
    assert [segment.claim(slot) for slot in segment.worker_slots] == [1, 1, 1, 1]
    assert segment.free_worker_slot() is None
    with pytest.raises(ValueError, match="has an owner"):
        segment.claim(3)
    segment.set(3, SlotWord.PID, 1234)
    segment.set(3, SlotWord.CONNECTIONS, 17)
    segment.release(3)
    assert segment.get(3, SlotWord.PID) == segment.get(3, SlotWord.CONNECTIONS) == 0
    assert segment.get(3, SlotWord.STATE) == SlotState.FREE
    assert segment.free_worker_slot() == 3
    assert segment.claim(3) == 2
    segment.release(3)
    segment.release(5)
    assert segment.free_worker_slot() == 5
