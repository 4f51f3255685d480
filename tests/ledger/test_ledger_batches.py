"""Beginnings and ends that leave in one write are as safe as those that leave by themselves."""

from __future__ import annotations

import errno
import os
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.ledger.ledger_scene import NOW_MS, Scene

from tidegate.ledger import journal as journal_module
from tidegate.ledger.frames import Openings, open_frame, settle_frame
from tidegate.ledger.journal import Journal, JournalFull
from tidegate.ledger.reading import Records
from tidegate.ledger.records import HEADER_BYTES, Open, Record, Settle, cut, scan

Batch = tuple[list[int], list[int]]


def name_of(number: int) -> str:
    """Return an attempt's id; as long as those of a gateway."""
    return f"req_{number:026d}:1"


def opening(number: int) -> bytes:
    """Return the record of an attempt that begins."""
    return open_frame(
        name_of(number), 1, NOW_MS + number, "key_a", "chat_completions", "fast", "acme",
        "acme-large", False, 0, None, "prices 1",
    )  # fmt: skip


def ending(number: int) -> bytes:
    """Return the record of its end."""
    return settle_frame(
        name_of(number), NOW_MS + 5_000 + number, "ok", 200, number, 0, 0, 7, 0, "provider",
        number * 1_000, None, 5_000, 100,
    )  # fmt: skip


@st.composite
def batches(draw: st.DrawFn) -> list[Batch]:
    """Give turns of a loop: which attempts begin in each, and which of those before it end."""
    turns: list[Batch] = []
    running: list[int] = []
    begun = 0
    for _ in range(draw(st.integers(1, 8))):
        opens = list(range(begun, begun + draw(st.integers(0, 5))))
        begun += len(opens)
        ends = [number for number in running if draw(st.booleans())]
        running = [number for number in running if number not in ends] + opens
        turns.append((opens, ends))
    return turns


def write(journal: Journal, turns: list[Batch]) -> None:
    """Append each turn in one go."""
    for opens, ends in turns:
        if opens or ends:
            assert journal.append([opening(n) for n in opens], [ending(n) for n in ends])


def records_in(directory: Path) -> list[Record]:
    """Return all whole records of all files, in order."""
    files = sorted(directory.glob("*.journal"), key=lambda path: int(path.name.split(".")[3]))
    return [record for path in files for record, _ in scan(path.read_bytes(), HEADER_BYTES).records]


def events(records: list[Record]) -> list[tuple[str, str]]:
    """Return which attempt each record begins or ends."""
    return [(type(record).__name__, record.attempt_id) for record in records]


@contextmanager
def folder() -> Iterator[Path]:
    """A folder for one example."""
    with tempfile.TemporaryDirectory() as path:
        yield Path(path)


@given(batches())
@settings(max_examples=60, deadline=None)
def test_all_of_a_batch_is_on_the_disk_when_the_call_returns(turns: list[Batch]) -> None:
    """Each record once, no attempt's end before its beginning, no turn before the one before."""
    with folder() as directory:
        journal = Journal(directory, 2, 1)
        turn_of: dict[tuple[str, str], int] = {}
        for position, (opens, ends) in enumerate(turns):
            write(journal, [(opens, ends)])
            turn_of |= {("Open", name_of(number)): position for number in opens}
            turn_of |= {("Settle", name_of(number)): position for number in ends}
            found = events(records_in(directory))
            assert Counter(found) == Counter(turn_of.keys())
            assert [turn_of[event] for event in found] == sorted(turn_of[e] for e in found)
        journal.close()


@given(batches())
@settings(max_examples=25, deadline=None)
def test_a_file_that_is_cut_anywhere_holds_a_beginning_of_its_records(turns: list[Batch]) -> None:
    """Never half a record, never one out of its order, whichever reader reads it."""
    with folder() as directory:
        journal = Journal(directory, 2, 1)
        write(journal, turns)
        journal.close()
        (path,) = directory.glob("*.journal")
        data = path.read_bytes()
        whole = events(records_in(directory))
        sizes = []
        for stop in range(HEADER_BYTES, len(data) + 1):
            part = data[:stop]
            found = events([record for record, _ in scan(part, HEADER_BYTES).records])
            assert found == whole[: len(found)]
            sizes.append(len(found))
            payloads, offset, why = cut(part, HEADER_BYTES, 1 << 30)
            assert len(payloads) == len(found)
            assert (why == "end") == (offset == stop)
            together = Records()
            together.add(payloads)
            assert sum(map(len, together.opens.values())) == sum(e[0] == "Open" for e in found)
            assert [("Settle", end[1]) for end in together.ends] == [
                event for event in found if event[0] == "Settle"
            ]
        assert sizes == sorted(sizes)
        assert sizes[-1] == len(whole)


@given(batches())
@settings(max_examples=30, deadline=None)
def test_the_reader_of_many_reads_what_the_reader_of_one_reads(turns: list[Batch]) -> None:
    """Field for field."""
    with folder() as directory:
        journal = Journal(directory, 2, 1)
        write(journal, turns)
        journal.close()
        (path,) = directory.glob("*.journal")
        data = path.read_bytes()
        records = [record for record, _ in scan(data, HEADER_BYTES).records]
        together = Records()
        together.add(cut(data, HEADER_BYTES, 1 << 30)[0])
        opens = [
            Open(*[*head, *alike]) for alike, heads in together.opens.items() for head in heads
        ]
        assert sorted(opens, key=repr) == sorted(
            [record for record in records if isinstance(record, Open)], key=repr
        )
        assert [Settle(*end[1:]) for end in together.ends] == [
            record for record in records if isinstance(record, Settle)
        ]


@given(
    st.text(max_size=120), st.text(max_size=120), st.text(max_size=120),
    st.lists(st.tuples(st.text("abcdef_:0123456789é", min_size=1, max_size=60),
                       st.integers(1 << 33, 1 << 43)), min_size=1, max_size=5),
)  # fmt: skip
@settings(max_examples=200, deadline=None)
def test_a_first_attempt_is_recorded_in_the_same_bytes_as_any_other(
    key_id: str, model: str, price_version: str, attempts: list[tuple[str, int]]
) -> None:
    """What attempts have alike is written once for all, and says the same."""
    alike = (key_id, "chat_completions", model, "acme", "acme-large")
    openings = Openings(*alike, price_version)
    for attempt_id, at_ms in attempts:
        assert openings.frame(attempt_id, at_ms) == open_frame(
            attempt_id, 1, at_ms, *alike, stream=False, price_version=price_version
        )


def test_a_batch_goes_over_to_the_next_file_whole(tmp_path: Path) -> None:
    """Files have an end; what is in them has none."""
    journal = Journal(tmp_path, 2, 1, max_file_bytes=2_000)
    turns: list[Batch] = [
        (list(range(at, at + 5)), list(range(at - 5, at) if at else [])) for at in range(0, 100, 5)
    ]
    write(journal, turns)
    journal.close()
    assert len(list(tmp_path.glob("*.journal"))) > 5
    assert Counter(events(records_in(tmp_path))) == Counter(
        [("Open", name_of(n)) for n in range(100)] + [("Settle", name_of(n)) for n in range(95)]
    )


# A disk that fills up in the middle of a batch


class Disk:
    """Stands where `os.write` stands: takes `room` bytes, then tears a write and is full."""

    def __init__(self) -> None:
        self.room: int | None = None

    def write(self, descriptor: int, data: bytes) -> int:
        """See `os.write`."""
        if self.room is None:
            return os.write(descriptor, data)
        if self.room <= 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        taken = os.write(descriptor, data[: self.room])
        self.room -= taken
        return taken


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    """The disk under every journal of the test."""
    disk = Disk()
    monkeypatch.setattr(journal_module, "_write", disk.write)
    return disk


BATCH = sum(map(len, (opening(2), opening(3), opening(4), ending(0), ending(1))))
ROOMS = (*range(0, BATCH, 37), BATCH)


def fresh(folder: Path, room: int) -> Scene:
    """Return an instance of its own for each room."""
    (folder / str(room)).mkdir()
    return Scene(folder / str(room))


def torn(scene: Scene, disk: Disk, room: int, policy: Any) -> tuple[bool, Journal]:
    """Write a batch of two ends and three beginnings to a disk with *room*; recover after it.

    Returns whether the beginnings were let go, and the journal.
    """
    journal = scene.journal(policy=policy)
    write(journal, [([0, 1], [])])
    disk.room = room
    try:
        let_go = journal.append([opening(n) for n in (2, 3, 4)], [ending(0), ending(1)])
    except JournalFull:
        let_go = False
    disk.room = None
    return let_go, journal


def test_ends_in_a_torn_batch_are_recorded_once_there_is_room(tmp_path: Path, disk: Disk) -> None:
    """Each once in the database, whatever of the batch had reached the disk."""
    for room in ROOMS:
        scene = fresh(tmp_path, room)
        _, journal = torn(scene, disk, room, "stop")
        journal.close()
        scene.fold()
        rows = scene.rows()
        assert [rows[name_of(n)].outcome for n in (0, 1)] == ["ok", "ok"], room
        assert [rows[name_of(n)].cost_nano_usd for n in (0, 1)] == [0, 1_000], room
        assert scene.rollups() == scene.sums_of_rows(), room
        scene.store.close()


def rows_after_tearing(folder: Path, disk: Disk, policy: str) -> dict[int, tuple[bool, int]]:
    """Return for each room whether three beginnings were recorded, and how many rows there are."""
    found = {}
    for room in ROOMS:
        scene = fresh(folder, room)
        was_recorded, journal = torn(scene, disk, room, policy)
        assert journal.unrecorded == (0 if was_recorded or policy == "stop" else 3)
        if was_recorded:
            for number in (2, 3, 4):
                journal.append_settle(ending(number))
        journal.close()
        scene.fold()
        found[room] = (was_recorded, len(scene.rows()))
        scene.store.close()
    assert {was_recorded for was_recorded, _ in found.values()} == {True, False}
    return found


@pytest.mark.parametrize("policy", ["stop", "serve"])
def test_an_attempt_that_a_torn_batch_has_no_room_for_has_no_row(
    tmp_path: Path, disk: Disk, policy: str
) -> None:
    """Refused, it was never made; let go, nobody settles it: a row would be one too many."""
    found = rows_after_tearing(tmp_path, disk, policy)
    wrong = {
        room: rows
        for room, (was_recorded, rows) in found.items()
        if rows != (5 if was_recorded else 2)
    }
    assert wrong == {}


def test_a_batch_of_ends_alone_never_fails(tmp_path: Path, disk: Disk) -> None:
    """They wait in memory while there is no room, and are written before what comes later."""
    journal = Journal(tmp_path, 2, 1)
    write(journal, [(list(range(6)), [])])
    disk.room = 0
    assert journal.append([], [ending(0), ending(1)]) is True
    assert journal.append([], [ending(2)]) is True
    with pytest.raises(JournalFull):
        journal.append([opening(6)], [ending(3)])
    disk.room = None
    assert journal.flush()
    assert journal.append([], [ending(4), ending(5)]) is True
    journal.close()
    found = events(records_in(tmp_path))
    assert [event for event in found if event[0] == "Settle"] == [
        ("Settle", name_of(n)) for n in range(6)
    ]
