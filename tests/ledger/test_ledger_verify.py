"""`verify` sees every disagreement, and none where there is none."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
from tests.ledger.ledger_scene import (
    NOW_MS,
    Scene,
    open_attempt,
    progress_attempt,
    settle_attempt,
)

from tidegate.ledger.verify import Report, compare_page, verify
from tidegate.stores.database import DATABASE_FILE


def change(scene: Scene, statement: str) -> None:
    """Run *statement* behind everybody's back."""
    connection = sqlite3.connect(scene.data_dir / DATABASE_FILE)
    connection.execute(statement)
    connection.commit()
    connection.close()


@pytest.fixture
def whole(scene: Scene) -> Scene:
    """Twenty attempts of a living writer, folded; two open; three records not folded yet."""
    journal = scene.journal()
    for number in range(20):
        open_attempt(journal, f"req_{number:02d}:1", key_id=f"key_{number % 2}")
        progress_attempt(journal, f"req_{number:02d}:1")
        if number > 1:
            settle_attempt(journal, f"req_{number:02d}:1")
    scene.fold()
    settle_attempt(journal, "req_00:1")
    open_attempt(journal, "req_20:1")
    settle_attempt(journal, "req_20:1")
    scene.keep = journal  # type: ignore[attr-defined]
    return scene


def test_a_whole_ledger_has_no_problem(whole: Scene) -> None:
    """Records that are not folded yet are told, and are none."""
    report = verify(whole.journals, whole.store)
    assert report.problems == []
    assert (report.files, report.records, report.waiting_records) == (1, 61, 3)
    assert (report.rows, report.open_rows, report.rollups) == (20, 2, 2)


def test_an_empty_directory_is_whole(scene: Scene) -> None:
    """A gateway that has never been asked anything."""
    assert verify(scene.journals, scene.store) == Report()


@pytest.mark.parametrize(
    ("statement", "words"),
    [
        ("DELETE FROM ledger_attempts WHERE attempt_id = 'req_05:1'", "no row"),
        ("UPDATE ledger_attempts SET cost_nano_usd = 1 WHERE attempt_id = 'req_05:1'", "its end"),
        ("UPDATE ledger_attempts SET model = 'x' WHERE attempt_id = 'req_05:1'", "its opening"),
        (
            "UPDATE ledger_attempts SET outcome = NULL WHERE attempt_id = 'req_05:1'",
            "its row is open",
        ),
        ("UPDATE ledger_rollups SET output_tokens = output_tokens + 1", "output_tokens is"),
        ("UPDATE ledger_rollups SET requests = 0 WHERE key_id = 'key_1'", "requests is 0"),
        ("DELETE FROM ledger_rollups WHERE key_id = 'key_1'", "key key_1"),
        ("INSERT INTO ledger_rollups VALUES (0,'k','m',1,0,0,0,0,0,0,0,0,0,0,0)", "key k model m"),
    ],
)
def test_each_disagreement_is_named(whole: Scene, statement: str, words: str) -> None:
    """A row that is missing, doubled in a sum, or changed by hand."""
    change(whole, statement)
    report = verify(whole.journals, whole.store)
    assert any(words in problem for problem in report.problems), report.problems


def test_a_damaged_journal_is_a_problem(whole: Scene) -> None:
    """Its records behind the damage are in no row."""
    (whole.journals / "2.1.00000000000000aa.1.damaged").write_bytes(b"x")
    assert "damaged" in verify(whole.journals, whole.store).problems[0]


def test_rows_deleted_for_their_age_are_not_missed(scene: Scene) -> None:
    """Nor are their rollups called wrong."""
    journal = scene.journal()
    open_attempt(journal, "req_1:1", at_ms=NOW_MS - 90_000_000)
    settle_attempt(journal, "req_1:1")
    open_attempt(journal, "req_2:1")
    settle_attempt(journal, "req_2:1")
    scene.fold()
    hour_ms = NOW_MS - NOW_MS % 3_600_000
    assert scene.store.prune(hour_ms, 0, 100) == 1
    report = verify(scene.journals, scene.store)
    assert (report.problems, report.rows, report.rollups) == ([], 1, 1)
    journal.close()


PAGE = """
# TYPE tidegate_upstream_requests_total counter
tidegate_upstream_requests_total{{provider="acme",model="large",outcome="ok"}} {ok}.0
tidegate_upstream_requests_total{{provider="acme",model="large",outcome="cut"}} 1.0
tidegate_tokens_total{{provider="acme",model="large",type="input"}} 300.0
tidegate_tokens_total{{provider="acme",model="large",type="cached_input"}} 30.0
tidegate_tokens_total{{provider="acme",model="large",type="output"}} 150.0
tidegate_tokens_total{{provider="acme",model="large",type="reasoning"}} 15.0
tidegate_cost_usd_total{{provider="acme",model="large"}} {usd}
tidegate_worker_restarts_total{{reason="signal"}} {deaths}.0
process_start_time_seconds {start}
"""
START_S = NOW_MS / 1000 - 10


def page(ok: int = 2, usd: str = "0.000370368", deaths: int = 0) -> str:
    """Return a page that fits three attempts, or does not."""
    return PAGE.format(ok=ok, usd=usd, deaths=deaths, start=START_S)


@pytest.fixture
def three(scene: Scene) -> Scene:
    """Three ended attempts since the start, one before it, one interrupted, one open."""
    journal, dead = scene.journal(2), scene.journal(3)
    for number in range(3):
        open_attempt(journal, f"req_{number}:1")
        settle_attempt(journal, f"req_{number}:1", outcome="ok" if number else "cut")
    open_attempt(journal, "req_old:1", at_ms=NOW_MS - 60_000)
    settle_attempt(journal, "req_old:1")
    open_attempt(journal, "req_open:1")
    open_attempt(dead, "req_dead:1")
    dead.close()
    folder = scene.fold()
    scene.instance = folder.instance  # type: ignore[attr-defined]
    journal.close()
    return scene


def compared(scene: Scene, text: str) -> Report:
    """Compare *text* once."""
    report = Report()
    instance = scene.instance  # type: ignore[attr-defined]
    compare_page(report, instance, scene.store, lambda: text, quiet_s=0.0)
    return report


def test_the_page_agrees_with_the_rows_since_the_start(three: Scene) -> None:
    """Rows of an earlier start, of dead workers and of what still runs are not on it."""
    report = compared(three, page())
    assert (report.problems, report.page_attempts) == ([], 3)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (page(ok=3), "4 attempts at provider acme, rows say 3"),
        (page(ok=1), "2 attempts at provider acme, rows say 3"),
        (page(usd="0.5"), "page: 0.500000000 USD"),
        (page().replace(" 150.0", " 151.0"), "151 output tokens"),
        (page(ok=5, deaths=1), "and 1 deaths"),
        (page().replace("acme", "other"), "3 attempts at provider other, rows say 0"),
    ],
)
def test_a_page_that_differs_is_told(three: Scene, text: str, words: str) -> None:
    """Attempts, tokens of each kind, money."""
    assert any(words in problem for problem in compared(three, text).problems)


def test_each_death_of_a_worker_may_have_taken_one_count_with_it(three: Scene) -> None:
    """It may have come between the two counts of an attempt."""
    assert compared(three, page(ok=1, usd="0.1", deaths=1)).problems == []


def test_the_page_is_read_again_while_the_rows_follow(three: Scene) -> None:
    """A row comes within a second of its attempt's end, as everything is running."""
    texts = iter([page(ok=9), page(ok=8), page(), page(ok=7)])
    report = Report()
    instance = three.instance  # type: ignore[attr-defined]
    compare_page(report, instance, three.store, lambda: next(texts), quiet_s=30.0)
    assert report.problems == []
    assert next(texts) == page(ok=7)
    assert Path(three.journals).exists()
