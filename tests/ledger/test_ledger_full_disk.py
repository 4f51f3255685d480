"""A real file system without room: a tmpfs of two megabytes."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.ledger.ledger_scene import open_attempt, settle_attempt

from tidegate.ledger import reserve
from tidegate.ledger.journal import Journal, JournalFull
from tidegate.ledger.merge import Merge
from tidegate.ledger.reading import Records
from tidegate.ledger.store import Row, whole_row
from tidegate.ledger.tail import JournalFile, WriterTail, journal_paths


@pytest.fixture
def small_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Mount a tmpfs of 2 MiB, of which 512 KiB will be the reserve."""
    if os.geteuid() != 0:
        pytest.skip("mounting needs root")
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(place)],
        check=False,
        capture_output=True,
    )
    if mounted.returncode:
        pytest.skip("mounting is not allowed here")
    monkeypatch.setattr(reserve, "RESERVE_BYTES", 512 * 1024)
    try:
        yield place
    finally:
        subprocess.run(["umount", str(place)], check=True)


def read_all(directory: Path) -> Merge:
    """Fold all files in memory."""
    merge = Merge("instance", {})
    tails: dict[str, WriterTail] = {}
    for path, header in journal_paths(directory):
        tails.setdefault(header.writer, WriterTail(header.writer)).add(
            JournalFile(path, header.number)
        )
    for tail in tails.values():
        for file in tail.files:
            file.ended = False
            records = Records()
            file.read(1 << 30, records)
            merge.add(tail.name, records)
        tail.close()
    return merge


def rows_of(merge: Merge) -> list[Row]:
    """Return all new rows of the batch, whole."""
    inserts = merge.finish().inserts
    return [whole_row(alike, own) for alike, group in inserts.items() for own in group]


def test_a_full_disk_stops_new_attempts_and_loses_no_end_of_a_running_one(
    small_disk: Path,
) -> None:
    """Opened until there is no room; then all of them settle, from the reserve."""
    journal = Journal(small_disk, 2, 1, policy="stop")
    opened: list[str] = []
    running: list[str] = []
    with pytest.raises(JournalFull):  # noqa: PT012 (the last call is the one that raises)
        for number in range(100_000):
            attempt_id = f"req_{number:06d}:1"
            open_attempt(journal, attempt_id)
            opened.append(attempt_id)
            running.append(attempt_id)
            if len(running) > 1000:
                settle_attempt(journal, running.pop(0))
    assert len(opened) > 3000
    for attempt_id in running:
        settle_attempt(journal, attempt_id)
    assert (journal.pending, journal.lost_settles) == (0, 0)
    assert not (small_disk / "reserve").exists()
    journal.close()
    merge = read_all(small_disk)
    rows = rows_of(merge)
    assert [row[0] for row in rows] == opened
    assert {row[15] for row in rows} == {"ok"}
    assert merge.orphans == 0


def test_room_that_comes_back_is_used_again(small_disk: Path) -> None:
    """After something else was deleted, the reserve is there again and attempts are taken."""
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(1 << 20))
    journal = Journal(small_disk, 2, 1, policy="serve")
    number = 0
    while open_attempt(journal, f"req_{number:06d}:1"):
        number += 1
    assert journal.full == "the disk is full"
    for done in range(number):
        settle_attempt(journal, f"req_{done:06d}:1")
    ballast.unlink()
    journal._retry_at_s = 0.0  # the quarter of a second it would wait
    assert open_attempt(journal, "req_new:1")
    assert journal.full is None
    assert (small_disk / "reserve").exists()
    journal.close()
    rows = rows_of(read_all(small_disk))
    assert len(rows) == number + 1
    assert [row[15] for row in rows].count("ok") == number
