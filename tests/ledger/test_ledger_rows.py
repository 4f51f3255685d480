"""How many rows at once reach SQLite: each whole, in its own columns, or none of a batch."""

from __future__ import annotations

import pytest
from tests.ledger.ledger_scene import NOW_MS, Scene, open_attempt, settle_attempt

from tidegate.ledger.journal import Journal
from tidegate.ledger.store import (
    ALIKE_AT,
    SETTLE_AT,
    AlikeColumns,
    AttemptRow,
    FoldBatch,
    RowsDiffer,
)
from tidegate.stores import ledger

KEYS, MODELS = 7, 3
HOUR_MS = 3_600_000


def write_attempts(journals: list[Journal], first: int, count: int) -> None:
    """Write attempts of which each has figures of its own; every fifth is still open."""
    for number in range(first, first + count):
        journal = journals[number % len(journals)]
        open_attempt(
            journal,
            f"req_{number:05d}:1",
            at_ms=NOW_MS + (number % 2) * HOUR_MS + number,
            key_id=f"key_{number % KEYS}",
            model=f"model-{number % MODELS}",
            target_model=f"target-{number % MODELS}",
            stream=number % 4 == 0,
            estimate_nano_usd=None if number % 11 else number,
        )
        if number % 5:
            settle_attempt(
                journal, f"req_{number:05d}:1", output_tokens=number, delivered_bytes=3 * number
            )


def assert_all_there(scene: Scene, count: int) -> None:
    """Check each of the rows that `write_attempts` has written from 0 on."""
    rows = scene.rows()
    assert len(rows) == count
    for number in range(count):
        row = rows[f"req_{number:05d}:1"]
        assert row.opened_at_ms == NOW_MS + (number % 2) * HOUR_MS + number
        assert (row.key_id, row.model) == (f"key_{number % KEYS}", f"model-{number % MODELS}")
        assert (row.target_model, row.stream) == (f"target-{number % MODELS}", number % 4 == 0)
        assert row.estimate_nano_usd == (None if number % 11 else number)
        assert row.writer.startswith(f"{2 + number % 3}.1.")
        if number % 5:
            assert (row.outcome, row.output_tokens) == ("ok", number)
            assert row.delivered_bytes == 3 * number
        else:
            assert (row.outcome, row.output_tokens, row.usage_source) == (None, 0, "none")
    assert scene.rollups() == scene.sums_of_rows()


@pytest.mark.parametrize("batch_records", [90, 4000])
@pytest.mark.parametrize("most_alike", [2000, 50])
def test_each_row_has_what_is_its_own_and_what_others_have_too(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, batch_records: int, most_alike: int
) -> None:
    """Three writers, two hours, all keys and models mixed; also where more are alike than fit."""
    monkeypatch.setattr(ledger, "_MAX_ALIKE", most_alike)
    journals = [scene.journal(slot) for slot in (2, 3, 4)]
    folder = scene.folder(batch_records=batch_records)
    for first in (0, 400, 403, 800):
        write_attempts(journals, first, {0: 400, 400: 3, 403: 397, 800: 101}[first])
        folder.tick()
    assert_all_there(scene, 901)
    assert folder.store_failures == 0
    for journal in journals:
        journal.close()
    folder.close()


def test_what_is_alike_is_learned_anew_by_another_connection(scene: Scene) -> None:
    """A connection that is lost takes with it what it knew of the rows before."""
    journals = [scene.journal(slot) for slot in (2, 3, 4)]
    folder = scene.folder()
    write_attempts(journals, 0, 200)
    folder.tick()
    scene.store.close()
    write_attempts(journals, 200, 200)
    folder.tick()
    assert_all_there(scene, 400)
    for journal in journals:
        journal.close()
    folder.close()


def row_of(number: int, model: str = "fast") -> AttemptRow:
    """Return a settled row."""
    alike = ("key_a", "chat_completions", model, "acme", "large", False, 0, None, "p", "i", "2.1.a")
    end = (NOW_MS + 5, "ok", 200, 1, 0, 0, 2, 0, "provider", 3, None, 5, 7)
    return AttemptRow(f"req_{number:03d}:1", 1, NOW_MS, *alike, *end)


def batch_of(rows: list[AttemptRow]) -> FoldBatch:
    """Return a batch that inserts *rows*."""
    batch = FoldBatch(rollups={(0, "key_a", "fast"): [1] * 12})
    for row in rows:
        alike = AlikeColumns(*row[ALIKE_AT:SETTLE_AT])
        batch.inserts.setdefault(alike, []).append([*row[:ALIKE_AT], *row[SETTLE_AT:]])
    return batch


@pytest.mark.parametrize("again", [0, 49, 60, 118])
def test_a_row_that_exists_undoes_the_whole_batch(scene: Scene, again: int) -> None:
    """Whether it is among the rows that are inserted together or among the rest."""
    scene.store.commit("i", batch_of([row_of(again)]))
    before = (scene.rows(), scene.rollups())
    rows = [row_of(number, "slow" if number % 2 else "fast") for number in range(119)]
    with pytest.raises(RowsDiffer):
        scene.store.commit("i", batch_of(rows))
    assert (scene.rows(), scene.rollups()) == before
    rows.pop(again)
    scene.store.commit("i", batch_of(rows))
    found = scene.rows()
    assert len(found) == 119
    assert all(found[row.attempt_id] == row for row in rows)
