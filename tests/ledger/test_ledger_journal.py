"""The writer: what it says it recorded is on the disk, whatever the disk does."""

from __future__ import annotations

import errno
import fcntl
import os
from pathlib import Path

import pytest
from tests.ledger.ledger_scene import open_attempt, progress_attempt, settle_attempt

from tidegate.ledger import journal as journal_module
from tidegate.ledger.journal import Journal, JournalFull
from tidegate.ledger.records import (
    HEADER_BYTES,
    MAX_BYTES,
    MAX_COUNT,
    MAX_NANO_USD,
    Open,
    Progress,
    Record,
    Settle,
    decode_header,
    scan,
)
from tidegate.ledger.reserve import RESERVE_BYTES


def files_of(directory: Path) -> list[Path]:
    """Return the journals in the order in which they were begun."""
    return sorted(directory.glob("*.journal"), key=lambda path: int(path.name.split(".")[3]))


def records_of(directory: Path) -> list[Record]:
    """Return all whole records of all files, in order."""
    return [
        record
        for path in files_of(directory)
        for record, _ in scan(path.read_bytes(), HEADER_BYTES).records
    ]


class Disk:
    """Stands where `os.write` stands: takes `room` bytes, then tears a write and is full."""

    def __init__(self) -> None:
        self.room: int | None = None

    def write(self, descriptor: int, data: bytes) -> int:
        if self.room is None:
            return os.write(descriptor, data)
        if self.room <= 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        taken = os.write(descriptor, data[: self.room])
        self.room -= taken
        return taken


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    """Replace the write under every journal of the test."""
    disk = Disk()
    monkeypatch.setattr(journal_module, "_write", disk.write)
    return disk


class Clock:
    """Stands where the module `time` stands in a journal; moves only when told."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def monotonic(self) -> float:
        return self.now_s

    def time_ns(self) -> int:
        return int(self.now_s * 1e9)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Let the test say how late it is."""
    clock = Clock()
    monkeypatch.setattr(journal_module, "time", clock)
    return clock


def test_records_are_on_the_disk_when_the_call_returns(tmp_path: Path) -> None:
    """Another descriptor sees them at once: a kill -9 right after loses nothing."""
    journal = Journal(tmp_path, 3, 7)
    assert open_attempt(journal, "req_1:1", stream=True)
    progress_attempt(journal, "req_1:1")
    settle_attempt(journal, "req_1:1")
    opened, progress, settled = records_of(tmp_path)
    assert isinstance(opened, Open)
    assert isinstance(progress, Progress)
    assert isinstance(settled, Settle)
    assert (opened.attempt_id, opened.stream, opened.target_model) == (
        "req_1:1",
        True,
        "acme-large",
    )
    assert (settled.outcome, settled.cost_nano_usd, settled.delivered_bytes) == ("ok", 123456, 2048)
    (path,) = files_of(tmp_path)
    header = decode_header(path.read_bytes())
    assert header is not None
    assert (header.slot, header.incarnation, header.number) == (3, 7, 1)
    assert path.stat().st_mode & 0o777 == 0o600
    journal.close()


def test_a_writer_holds_its_file_locked_until_it_ends(tmp_path: Path) -> None:
    """By that a reader tells the living from the dead."""
    journal = Journal(tmp_path, 2, 1)
    (path,) = files_of(tmp_path)
    with path.open("rb") as reader:
        with pytest.raises(BlockingIOError):
            fcntl.flock(reader, fcntl.LOCK_SH | fcntl.LOCK_NB)
        journal.close()
        fcntl.flock(reader, fcntl.LOCK_SH | fcntl.LOCK_NB)


def test_two_processes_of_one_slot_and_number_never_share_a_file(tmp_path: Path) -> None:
    """Incarnations count from one again after a restart of the whole instance."""
    first, second = Journal(tmp_path, 2, 1), Journal(tmp_path, 2, 1)
    assert len(files_of(tmp_path)) == 2
    assert first.path != second.path
    first.close()
    second.close()


def test_a_file_is_left_for_the_next_one_at_its_size(tmp_path: Path) -> None:
    """Each file stays within one record of the limit; no record is cut or lost between them."""
    journal = Journal(tmp_path, 2, 1, max_file_bytes=2000)
    for number in range(50):
        open_attempt(journal, f"req_{number:04d}:1")
    journal.close()
    files = files_of(tmp_path)
    assert len(files) == 3
    assert all(path.stat().st_size < 2000 + 300 for path in files)
    ids = [record.attempt_id for record in records_of(tmp_path)]
    assert ids == [f"req_{number:04d}:1" for number in range(50)]
    assert not list(tmp_path.glob("*.new"))


def test_a_torn_file_is_never_appended_to(tmp_path: Path, disk: Disk) -> None:
    """A write that the disk cut short ends its file, and leaves nothing in it.

    The record goes whole into the next.
    """
    journal = Journal(tmp_path, 2, 1)
    open_attempt(journal, "req_1:1")
    disk.room = 50

    def room_again(descriptor: int, data: bytes) -> int:
        written = disk.write(descriptor, data)
        disk.room = None
        return written

    journal_module._write = room_again  # the fixture undoes it
    assert open_attempt(journal, "req_2:1")
    assert open_attempt(journal, "req_3:1")
    assert [record.attempt_id for record in records_of(tmp_path)] == [
        "req_1:1",
        "req_2:1",
        "req_3:1",
    ]
    torn, whole = files_of(tmp_path)
    assert scan(torn.read_bytes(), HEADER_BYTES).why == "end"
    assert scan(whole.read_bytes(), HEADER_BYTES).why == "end"
    assert journal.write_failures == 1
    journal.close()


def test_stop_refuses_what_cannot_be_recorded(tmp_path: Path, disk: Disk) -> None:
    """503 with a time to come back, before anything was sent; nothing is half recorded."""
    journal = Journal(tmp_path, 2, 1, policy="stop")
    open_attempt(journal, "req_1:1")
    disk.room = 0
    for _ in range(3):
        with pytest.raises(JournalFull) as caught:
            open_attempt(journal, "req_2:1")
        assert (caught.value.status, caught.value.code) == (503, "ledger_full")
        assert caught.value.retry_after_s
    assert journal.full == "the disk is full"
    assert [record.attempt_id for record in records_of(tmp_path)] == ["req_1:1"]
    journal.close()


def test_serve_goes_on_without_a_row_and_counts_it(tmp_path: Path, disk: Disk) -> None:
    """The other policy: the caller is told that there is nothing to settle."""
    journal = Journal(tmp_path, 2, 1, policy="serve")
    disk.room = 0
    assert [open_attempt(journal, f"req_{n}:1") for n in range(3)] == [False] * 3
    assert journal.unrecorded == 3
    journal.close()


def test_a_full_disk_is_noticed_as_free_again(tmp_path: Path, disk: Disk, clock: Clock) -> None:
    """Looked at four times a second, not at each request."""
    journal = Journal(tmp_path, 2, 1, policy="serve")
    disk.room = 0
    assert not open_attempt(journal, "req_1:1")
    disk.room = None
    assert not open_attempt(journal, "req_2:1")
    clock.now_s += 0.26
    assert open_attempt(journal, "req_3:1")
    assert journal.full is None
    assert [record.attempt_id for record in records_of(tmp_path)] == ["req_3:1"]
    journal.close()


def test_the_reserve_lets_running_attempts_settle(tmp_path: Path, disk: Disk) -> None:
    """It is given up for settles only; new attempts wait until it is back."""
    journal = Journal(tmp_path, 2, 1, policy="stop")
    reserve = tmp_path / "reserve"
    assert reserve.stat().st_size == reserve.stat().st_blocks * 512 == RESERVE_BYTES
    open_attempt(journal, "req_1:1")
    disk.room = 0
    with pytest.raises(JournalFull):
        open_attempt(journal, "req_2:1")
    assert reserve.exists()

    def room_of_the_reserve(descriptor: int, data: bytes) -> int:
        disk.room = 0 if reserve.exists() else None
        return disk.write(descriptor, data)

    journal_module._write = room_of_the_reserve  # the fixture undoes it
    settle_attempt(journal, "req_1:1")
    assert not reserve.exists()
    assert journal.pending == 0
    assert [type(record) for record in records_of(tmp_path)] == [Open, Settle]
    with pytest.raises(JournalFull):
        open_attempt(journal, "req_3:1")
    journal.close()


def test_settles_wait_in_memory_when_there_is_no_room_at_all(
    tmp_path: Path, disk: Disk, clock: Clock
) -> None:
    """They are written, in order and before anything new, as soon as there is room."""
    journal = Journal(tmp_path, 2, 1, policy="stop")
    for number in range(5):
        open_attempt(journal, f"req_{number}:1")
    disk.room = 0
    for number in range(5):
        settle_attempt(journal, f"req_{number}:1")
    assert journal.pending == 5
    disk.room = None
    clock.now_s += 0.26
    assert open_attempt(journal, "req_9:1")
    assert journal.pending == 0
    assert [(type(r), r.attempt_id) for r in records_of(tmp_path)[5:]] == [
        *((Settle, f"req_{number}:1") for number in range(5)),
        (Open, "req_9:1"),
    ]
    journal.close()


def test_a_writer_without_room_still_shows_that_it_lives(tmp_path: Path, disk: Disk) -> None:
    """Or its open attempts would be settled as interrupted behind its back."""
    journal = Journal(tmp_path, 2, 1, policy="serve")
    disk.room = 30
    assert not open_attempt(journal, "req_1:1")
    with files_of(tmp_path)[0].open("rb") as reader, pytest.raises(BlockingIOError):
        fcntl.flock(reader, fcntl.LOCK_SH | fcntl.LOCK_NB)
    journal.close()


def test_the_cap_holds_over_all_journals_of_the_directory(tmp_path: Path, clock: Clock) -> None:
    """Checked once a mebibyte; settles of what runs are still taken; deletion reopens it."""
    (tmp_path / "9.1.00000000000000aa.1.journal").write_bytes(bytes(3 << 20))
    journal = Journal(tmp_path, 2, 1, cap_bytes=4 << 20)
    opened = 0
    while journal.full is None and opened < 20_000:
        open_attempt(journal, f"req_{opened:06d}:1")
        opened += 1
    with pytest.raises(JournalFull):
        open_attempt(journal, "req_w:1")
    assert journal.path is not None
    assert (1 << 20) <= journal.path.stat().st_size < (1 << 20) + 300
    settle_attempt(journal, "req_000000:1")
    assert journal.pending == 0
    clock.now_s += 0.26
    with pytest.raises(JournalFull):
        open_attempt(journal, "req_x:1")
    (tmp_path / "9.1.00000000000000aa.1.journal").unlink()
    clock.now_s += 0.26
    assert open_attempt(journal, "req_y:1")
    journal.close()


def test_no_upstream_or_client_can_write_a_figure_that_a_database_cannot_hold(
    tmp_path: Path,
) -> None:
    """What is absurd is recorded as the greatest figure of an attempt, or zero, never refused."""
    journal = Journal(tmp_path, 2, 1)
    absurd = 10**30
    open_attempt(journal, "req_1:1", estimate_tokens=absurd, estimate_nano_usd=1 << 63)
    open_attempt(journal, "req_2:1", target_model="x" * 9000)
    open_attempt(journal, "req_3:1", target_model="a\ud800b")
    progress_attempt(journal, "req_1:1", output_tokens=-1, delivered_bytes=absurd)
    settle_attempt(
        journal,
        "req_1:1",
        input_tokens=1 << 40,
        output_tokens=-5,
        cost_nano_usd=absurd,
        delivered_bytes=absurd,
        duration_ms=-1,
    )
    first, second, third, progress, settle = records_of(tmp_path)
    assert isinstance(first, Open)
    assert (first.estimate_tokens, first.estimate_nano_usd) == (MAX_COUNT, MAX_NANO_USD)
    assert isinstance(second, Open)
    assert second.target_model == "x" * 100
    assert isinstance(third, Open)
    assert third.target_model == "a?b"
    assert isinstance(progress, Progress)
    assert (progress.output_tokens, progress.delivered_bytes) == (0, MAX_BYTES)
    assert isinstance(settle, Settle)
    assert (settle.input_tokens, settle.output_tokens) == (MAX_COUNT, 0)
    assert (settle.cost_nano_usd, settle.delivered_bytes) == (MAX_NANO_USD, MAX_BYTES)
    assert settle.duration_ms == 0
    journal.close()
