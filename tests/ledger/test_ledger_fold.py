"""The fold: rows are what the journals say, exactly once, whatever fails on the way."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.ledger.ledger_scene import (
    DIED_MS,
    NOW_MS,
    Scene,
    open_attempt,
    progress_attempt,
    settle_attempt,
)

from tidegate.ledger.fold import Folder, Retention
from tidegate.ledger.journal import Journal
from tidegate.ledger.store import AttemptRow, FoldBatch, FoldState, StoreDown
from tidegate.stores.database import DATABASE_FILE


def test_an_attempt_becomes_one_row_with_all_that_was_recorded(scene: Scene) -> None:
    """Open and settle of one batch are one insert; every field arrives."""
    journal = scene.journal(slot=4, incarnation=9)
    open_attempt(journal, "req_1:2", stream=True)
    settle_attempt(journal, "req_1:2")
    folder = scene.folder()
    folder.tick()
    (row,) = scene.rows().values()
    assert row == AttemptRow(
        attempt_id="req_1:2",
        ordinal=2,
        opened_at_ms=NOW_MS,
        key_id="key_a",
        endpoint="chat_completions",
        model="fast",
        provider="acme",
        target_model="acme-large",
        stream=True,
        estimate_tokens=1000,
        estimate_nano_usd=5_000_000,
        price_version="genai-prices 1",
        instance=folder.instance,
        writer=row.writer,
        settled_at_ms=NOW_MS + 1200,
        outcome="ok",
        status=200,
        input_tokens=100,
        cached_input_tokens=10,
        cache_write_tokens=0,
        output_tokens=50,
        reasoning_tokens=5,
        usage_source="provider",
        cost_nano_usd=123_456,
        ttft_ms=300,
        duration_ms=1200,
        delivered_bytes=2048,
    )
    assert row.writer.startswith("4.9.")
    assert scene.rollups() == scene.sums_of_rows()
    assert (folder.batches, folder.backlog_bytes, folder.lag_s) == (1, 0, 0.0)
    journal.close()
    folder.close()


def test_a_settle_of_a_later_batch_completes_the_open_row(scene: Scene) -> None:
    """Most answers take longer than a batch: the result is the same row."""
    journal = scene.journal()
    folder = scene.folder()
    open_attempt(journal, "req_1:1")
    folder.tick()
    assert scene.rows()["req_1:1"].outcome is None
    assert (folder.open_attempts, scene.rollups()) == (1, scene.sums_of_rows())
    settle_attempt(journal, "req_1:1")
    folder.tick()
    late = scene.rows()["req_1:1"]
    assert (folder.open_attempts, scene.rollups()) == (0, scene.sums_of_rows())
    open_attempt(journal, "req_2:1")
    settle_attempt(journal, "req_2:1")
    folder.tick()
    assert scene.rows()["req_2:1"] == late._replace(attempt_id="req_2:1")
    journal.close()
    folder.close()


def test_a_second_end_of_an_attempt_changes_nothing(scene: Scene) -> None:
    """Settled once: in the same batch, in a later one, and for an attempt nobody opened."""
    journal = scene.journal()
    folder = scene.folder()
    open_attempt(journal, "req_1:1")
    settle_attempt(journal, "req_1:1")
    settle_attempt(journal, "req_1:1", outcome="cut", cost_nano_usd=1)
    folder.tick()
    before = scene.rows()
    settle_attempt(journal, "req_1:1", outcome="cut", cost_nano_usd=1)
    settle_attempt(journal, "req_never:1")
    progress_attempt(journal, "req_1:1")
    open_attempt(journal, "req_2:1")
    folder.tick()
    open_attempt(journal, "req_2:1", model="other")
    folder.tick()
    rows = scene.rows()
    assert rows["req_1:1"] == before["req_1:1"]
    assert (rows["req_2:1"].model, len(rows)) == ("fast", 2)
    assert (folder.orphans, folder.repeated) == (4, 1)
    assert scene.rollups() == scene.sums_of_rows()
    journal.close()
    folder.close()


def test_what_a_dead_worker_left_open_is_settled_as_interrupted(scene: Scene) -> None:
    """With what its last progress record said was delivered; the others of its time are kept."""
    dead, alive = scene.journal(2), scene.journal(3)
    folder = scene.folder()
    for journal, name in ((dead, "d"), (alive, "a")):
        open_attempt(journal, f"req_{name}1:1")
        open_attempt(journal, f"req_{name}2:1", estimate_nano_usd=None, price_version="")
        open_attempt(journal, f"req_{name}3:1")
        settle_attempt(journal, f"req_{name}3:1")
    folder.tick()
    progress_attempt(dead, "req_d1:1", output_tokens=10)
    folder.tick()
    progress_attempt(dead, "req_d1:1", output_tokens=20)
    progress_attempt(dead, "req_d3:1")
    dead.close()
    folder.tick()
    rows = scene.rows()
    first, second = rows["req_d1:1"], rows["req_d2:1"]
    assert (first.outcome, first.settled_at_ms) == ("interrupted", DIED_MS)
    assert (first.output_tokens, first.usage_source, first.cost_nano_usd) == (20, "partial", 60_000)
    assert (first.delivered_bytes, first.duration_ms, first.ttft_ms) == (800, 700, 300)
    assert (second.outcome, second.usage_source, second.cost_nano_usd) == (
        "interrupted",
        "none",
        None,
    )
    assert rows["req_d3:1"].outcome == "ok"
    assert [rows[f"req_a{n}:1"].outcome for n in (1, 2, 3)] == [None, None, "ok"]
    assert folder.interrupted == 2
    assert scene.rollups() == scene.sums_of_rows()
    alive.close()
    folder.close()


def test_an_attempt_opened_and_lost_within_one_batch_is_interrupted_too(scene: Scene) -> None:
    """A priced model with nothing delivered costs nothing, and is not called unpriced."""
    journal = scene.journal()
    open_attempt(journal, "req_1:1")
    journal.close()
    scene.fold()
    row = scene.rows()["req_1:1"]
    assert (row.outcome, row.cost_nano_usd, row.usage_source) == ("interrupted", 0, "none")
    assert scene.rollups() == scene.sums_of_rows()


def test_a_restart_finds_what_was_open_before_it(scene: Scene) -> None:
    """Even when the dead writer's file has been deleted since, by hand."""
    first, second = scene.journal(2), scene.journal(3)
    open_attempt(first, "req_1:1")
    open_attempt(second, "req_2:1")
    scene.fold()
    assert {row.outcome for row in scene.rows().values()} == {None}
    path = second.path
    assert path is not None
    first.close()
    second.close()
    path.unlink()
    scene.fold()
    assert {row.outcome for row in scene.rows().values()} == {"interrupted"}
    assert scene.query("SELECT count(*) FROM ledger_positions") == [(0,)]
    assert scene.rollups() == scene.sums_of_rows()


def test_folded_files_of_the_dead_are_deleted_and_forgotten(scene: Scene) -> None:
    """Also the ones that a living writer has rotated away; its present one stays."""
    journal = scene.journal(max_file_bytes=1500)
    folder = scene.folder()
    for number in range(40):
        open_attempt(journal, f"req_{number:03d}:1")
    folder.tick()
    assert list(scene.journals.glob("*.journal")) == [journal.path]
    assert (len(scene.rows()), folder.open_attempts, folder.interrupted) == (40, 40, 0)
    for number in range(40):
        settle_attempt(journal, f"req_{number:03d}:1")
    journal.close()
    folder.tick()
    assert not list(scene.journals.glob("*.journal"))
    assert {row.outcome for row in scene.rows().values()} == {"ok"}
    assert scene.query("SELECT count(*) FROM ledger_positions") == [(0,)]
    folder.close()


def test_a_torn_tail_is_waited_for_while_its_writer_lives(scene: Scene) -> None:
    """A reader sees records half written; of a dead writer they are the end of the file."""
    journal = scene.journal()
    folder = scene.folder()
    open_attempt(journal, "req_1:1")
    assert journal.path is not None
    path = journal.path
    whole = path.read_bytes()
    open_attempt(journal, "req_2:1")
    both = path.read_bytes()
    for cut in range(len(whole), len(both)):
        os.truncate(path, cut)
        folder.tick()
        assert list(scene.rows()) == ["req_1:1"]
        assert folder.backlog_bytes == cut - len(whole)
    with path.open("r+b") as file:
        file.write(both)
    folder.tick()
    assert list(scene.rows()) == ["req_1:1", "req_2:1"]
    with path.open("ab") as file:
        file.write(both[len(whole) : -7])
    journal.close()
    folder.tick()
    assert {row.outcome for row in scene.rows().values()} == {"interrupted"}
    assert not path.exists()
    assert folder.damaged_files == 0
    folder.close()


def test_a_damaged_file_is_set_aside_not_deleted(scene: Scene) -> None:
    """More behind the last good record than a kill can tear: a person should see it."""
    journal = scene.journal()
    for number in range(100):
        open_attempt(journal, f"req_{number:03d}:1")
    path = journal.path
    assert path is not None
    journal.close()
    data = bytearray(path.read_bytes())
    data[400] ^= 1
    path.write_bytes(data)
    (scene.journals / "7.1.00000000000000aa.1.journal").write_bytes(b"no header")
    folder = scene.fold()
    assert folder.damaged_files == 2
    assert len(list(scene.journals.glob("*.damaged"))) == 2
    assert 0 < len(scene.rows()) < 5
    assert scene.rollups() == scene.sums_of_rows()


def test_a_journal_shorter_than_its_position_is_only_an_end(scene: Scene) -> None:
    """After a power loss the database may know more than the journal still holds."""
    journal = scene.journal()
    open_attempt(journal, "req_1:1")
    settle_attempt(journal, "req_1:1")
    open_attempt(journal, "req_2:1")
    scene.fold()
    assert journal.path is not None
    os.truncate(journal.path, 60)
    journal.close()
    scene.fold()
    assert [row.outcome for row in scene.rows().values()] == ["ok", "interrupted"]
    assert not list(scene.journals.glob("*.journal"))


def test_only_one_process_folds_a_directory(scene: Scene) -> None:
    """A second one would count everything twice, or fight over rows."""
    folder = scene.folder()
    with pytest.raises(BlockingIOError):
        scene.folder()
    folder.close()
    scene.folder().close()


def test_lost_positions_make_no_row_twice(scene: Scene) -> None:
    """A database restored from a backup that has the rows and not how far they go."""
    journal = scene.journal()
    for number in range(30):
        open_attempt(journal, f"req_{number:03d}:1")
        if number % 3:
            settle_attempt(journal, f"req_{number:03d}:1")
    scene.fold()
    rows, rollups = scene.rows(), scene.rollups()
    with sqlite3.connect(scene.data_dir / DATABASE_FILE) as connection:
        connection.execute("DELETE FROM ledger_positions")
    connection.close()
    folder = scene.folder(batch_records=7)
    folder.tick()
    assert (scene.rows(), scene.rollups()) == (rows, rollups)
    for number in range(0, 30, 3):
        settle_attempt(journal, f"req_{number:03d}:1")
    open_attempt(journal, "req_new:1")
    folder.tick()
    assert len(scene.rows()) == 31
    assert scene.rollups() == scene.sums_of_rows()
    assert folder.store_failures == 0
    journal.close()
    folder.close()


def test_a_client_cannot_stop_the_fold_by_a_name(scene: Scene) -> None:
    """A zero byte, which PostgreSQL takes in no text, becomes a replacement character."""
    journal = scene.journal()
    open_attempt(journal, "req_1:1", target_model="a\x00b")
    scene.fold()
    assert scene.rows()["req_1:1"].target_model == "a\ufffdb"
    journal.close()


def test_rows_go_when_their_time_is_over_and_rollups_stay(scene: Scene) -> None:
    """In whole hours; what is still open stays; the mark says from where rows are complete."""
    hour = 3_600_000
    journal = scene.journal()
    old = DIED_MS - 48 * hour
    open_attempt(journal, "req_1:1", at_ms=old)
    settle_attempt(journal, "req_1:1")
    open_attempt(journal, "req_2:1", at_ms=old)
    open_attempt(journal, "req_3:1", at_ms=DIED_MS - hour)
    settle_attempt(journal, "req_3:1")
    open_attempt(journal, "req_4:1", at_ms=DIED_MS - 30 * 24 * hour)
    settle_attempt(journal, "req_4:1")
    before = None
    folder = scene.folder(retention=Retention(rows_days=1, rollups_days=7))
    folder.tick()
    assert sorted(scene.rows()) == ["req_2:1", "req_3:1"]
    before = scene.rollups()
    assert len(before) == 2
    assert sum(sums.attempts for sums in before.values()) == 3
    ((mark,),) = scene.query("SELECT value FROM ledger_state WHERE name = 'rows_from_ms'")
    assert mark % hour == 0
    assert old < mark <= DIED_MS - 24 * hour
    journal.close()
    folder.close()


def test_a_journal_grows_while_the_database_is_down_and_is_folded_after(scene: Scene) -> None:
    """Nothing is lost, nothing is held in memory, and the figures say what goes on."""
    journal = scene.journal()
    folder = scene.folder()
    folder.tick()
    database = scene.data_dir / DATABASE_FILE
    scene.store.close()
    away = database.rename(scene.data_dir / "away.db")
    for number in range(20):
        open_attempt(journal, f"req_{number:02d}:1")
        settle_attempt(journal, f"req_{number:02d}:1")
    folder.tick()
    assert folder.store_failures == 1
    assert folder.last_error is not None
    assert folder.backlog_bytes > 3000
    away.rename(database)
    folder._retry_at_s = 0.0  # the time it would wait
    folder.tick()
    assert folder.last_error is None
    assert (folder.backlog_bytes, folder.lag_s, len(scene.rows())) == (0, 0.0, 20)
    assert scene.rollups() == scene.sums_of_rows()
    journal.close()
    folder.close()


class Crash(Exception):
    """Stands for the end of the process."""


class FaultyStore:
    """Fails at its nth call: before it, inside it, or after it (the answer is lost)."""

    def __init__(self, scene: Scene, fail_at: int, how: str, error: type[Exception]) -> None:
        self.scene = scene
        self.left = fail_at
        self.how = how
        self.error = error
        self.calls = 0

    def _call(self, run: Callable[[], Any]) -> Any:
        self.calls += 1
        self.left -= 1
        if self.left != 0:
            return run()
        if self.how == "after":
            run()
        raise self.error("injected")

    def load(self, instance: str) -> FoldState:
        return self._call(lambda: self.scene.store.load(instance))

    def find(self, attempt_ids: Sequence[str]) -> dict[str, AttemptRow]:
        return self._call(lambda: self.scene.store.find(attempt_ids))

    def commit(self, instance: str, batch: FoldBatch) -> None:
        self._call(lambda: self.scene.store.commit(instance, batch))

    def prune(self, rows_before_ms: int, rollups_before_ms: int, max_rows: int) -> int:
        return self._call(
            lambda: self.scene.store.prune(rows_before_ms, rollups_before_ms, max_rows)
        )

    def close(self) -> None:
        self.scene.store.close()


def _write_a_story(scene: Scene) -> Journal:
    """Two writers, one of which dies; rotation; merged, late and missing settles; progress."""
    dead, alive = scene.journal(2, max_file_bytes=1200), scene.journal(3)
    for number in range(12):
        for journal, name in ((dead, "d"), (alive, "a")):
            open_attempt(journal, f"req_{name}{number:02d}:1", key_id=f"key_{number % 3}")
            if number % 2:
                progress_attempt(journal, f"req_{name}{number:02d}:1")
            if number > 2:
                settle_attempt(journal, f"req_{name}{number - 3:02d}:1")
    dead.close()
    return alive


@pytest.mark.parametrize("how", ["before", "after"])
@pytest.mark.parametrize("error", [StoreDown, Crash])
def test_a_crash_at_any_call_of_the_database_changes_nothing_in_the_end(
    tmp_path: Path, how: str, error: type[Exception]
) -> None:
    """Every call fails once, with and without its effect; a dying fold or a lost database."""
    results = []
    for fail_at in range(40):
        folder_path = tmp_path / f"{fail_at}"
        folder_path.mkdir()
        scene = Scene(folder_path)
        alive = _write_a_story(scene)
        store = FaultyStore(scene, fail_at, how, error)
        folder = Folder(scene.journals, store, batch_records=5, wall_ms=lambda: DIED_MS)
        try:
            folder.tick()
        except Crash:
            folder.abandon()  # as the end of its process does
        else:
            folder._retry_at_s = 0.0
            folder.close()
        scene.fold()
        rows = {
            key: row._replace(instance="", writer=row.writer[:3])
            for key, row in scene.rows().items()
        }
        results.append(rows)
        assert scene.rollups() == scene.sums_of_rows()
        alive.close()
        scene.store.close()
        if 0 < fail_at > store.calls:
            break
    else:
        raise AssertionError("more calls than were tried")
    assert len(results) > 8
    assert len(results[0]) == 24
    assert [row.outcome for row in results[0].values()].count("interrupted") == 3
    assert all(rows == results[0] for rows in results)


steps = st.lists(
    st.tuples(
        st.sampled_from(["open", "settle", "progress", "tick", "die", "crash", "down"]),
        st.integers(0, 2),
        st.integers(0, 5),
    ),
    max_size=40,
)


@given(steps)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_rows_and_rollups_follow_any_history(history: list[tuple[str, int, int]]) -> None:
    """A model in memory, three writers, deaths, crashes of the fold and of the database."""
    with TemporaryDirectory() as folder_path:
        scene = Scene(Path(folder_path))
        writers: dict[int, tuple[Journal, set[str]]] = {}
        expected: dict[str, str | None] = {}
        folder = scene.folder(batch_records=3)
        for number, (what, slot, pick) in enumerate(history):
            if what == "tick":
                folder.tick()
                continue
            if what in ("crash", "down"):
                store = FaultyStore(scene, pick + 1, "after" if slot else "before", Crash)
                if what == "down":
                    store.error = StoreDown
                folder._store = store
                try:
                    folder.tick()
                except Crash:
                    folder.abandon()
                    folder = scene.folder(batch_records=3)
                folder._store = scene.store
                folder._retry_at_s = 0.0
                continue
            if slot not in writers:
                writers[slot] = (scene.journal(slot + 2, max_file_bytes=700), set())
            journal, running = writers[slot]
            chosen = sorted(running)[pick % len(running)] if running else None
            if what == "open":
                attempt_id = f"req_{number:03d}:{1 + pick % 2}"
                open_attempt(journal, attempt_id, at_ms=NOW_MS + 3_600_000 * (pick % 3))
                running.add(attempt_id)
                expected[attempt_id] = None
            elif what == "progress" and chosen:
                progress_attempt(journal, chosen)
            elif what == "settle" and chosen:
                cost = None if pick == 5 else pick * 1000
                settle_attempt(journal, chosen, cost_nano_usd=cost)
                running.discard(chosen)
                expected[chosen] = "ok"
            elif what == "die":
                journal.close()
                expected |= dict.fromkeys(running, "interrupted")
                del writers[slot]
        for _ in range(20):
            folder.tick()
        assert {key: row.outcome for key, row in scene.rows().items()} == expected
        assert scene.rollups() == scene.sums_of_rows()
        assert folder.backlog_bytes == 0
        for journal, _ in writers.values():
            journal.close()
        folder.close()
        scene.store.close()
