"""`tidegate usage` and `tidegate ledger verify`, as a person at a shell sees them."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer
from tests.ledger.ledger_scene import NOW_MS, Scene, open_attempt, settle_attempt
from typer.testing import CliRunner, Result

from tidegate.cli.ledger import ledger
from tidegate.cli.usage import usage
from tidegate.stores.database import DATABASE_FILE, open_database
from tidegate.stores.keys import KeyStore

HOUR_MS = 3_600_000

app = typer.Typer(rich_markup_mode=None)
app.command()(usage)
app.add_typer(ledger)


def run(*arguments: str) -> Result:
    """Run a command."""
    return CliRunner().invoke(app, arguments, catch_exceptions=False)


@pytest.fixture
def filled(tmp_path: Path) -> Iterator[Scene]:
    """Two keys, two models, two days; one model without a price."""
    scene = Scene(tmp_path)
    database = open_database(tmp_path)
    key_id = KeyStore(database, b"p" * 32).create("ci", now_ms=NOW_MS).record.id
    database.close()
    journal = scene.journal()
    for number, (key, model, at_ms, cost) in enumerate(
        [
            (key_id, "fast", NOW_MS, 1_500_000_000),
            (key_id, "slow", NOW_MS, 123),
            ("cfg_build", "fast", NOW_MS + 30 * HOUR_MS, 1_000),
            ("", "free", NOW_MS + 30 * HOUR_MS, None),
        ]
    ):
        open_attempt(journal, f"req_{number}:1", key_id=key, model=model, at_ms=at_ms)
        settle_attempt(journal, f"req_{number}:1", cost_nano_usd=cost)
    open_attempt(journal, "req_0:2", key_id=key_id, model="fast")
    settle_attempt(journal, "req_0:2", outcome="cut", cost_nano_usd=0)
    scene.fold()
    yield scene
    journal.close()
    scene.store.close()


def table(result: Result) -> list[list[str]]:
    """Return the cells of a printed table."""
    assert result.exit_code == 0, result.output
    return [line.split() for line in result.stdout.splitlines()]


def test_usage_by_key_shows_names_and_a_total(filled: Scene) -> None:
    """Keys of the database by name, those of the file by theirs; money with six decimals."""
    rows = table(run("usage", "--since", "all", "--data-dir", str(filled.data_dir)))
    assert rows[0][:3] == ["KEY", "REQUESTS", "ATTEMPTS"]
    by_name = {" ".join(row[:-8]): row[-8:] for row in rows[1:]}
    assert by_name["ci"] == ["2", "3", "2", "300", "30", "150", "1.500000", "0"]
    assert by_name["build"][-2:] == ["0.000001", "0"]
    assert by_name["(no key)"][-2:] == ["0.000000", "1"]
    assert by_name["total"] == ["4", "5", "4", "500", "50", "250", "1.500001", "1"]


def test_usage_by_model_and_by_day(filled: Scene) -> None:
    """The same rollups, grouped otherwise; days are UTC."""
    folder = str(filled.data_dir)
    rows = table(run("usage", "--by", "model", "--since", "all", "--data-dir", folder))
    assert [row[0] for row in rows] == ["MODEL", "fast", "free", "slow", "total"]
    rows = table(run("usage", "--by", "day", "--since", "all", "--data-dir", folder))
    assert [row[0] for row in rows] == ["DAY", "2027-01-15", "2027-01-16", "total"]
    rows = table(run("usage", "--by", "hour", "--since", "all", "--data-dir", folder))
    assert [row[0] for row in rows[1:-1]] == ["2027-01-15T08:00Z", "2027-01-16T14:00Z"]


def test_usage_by_provider_and_by_target_is_that_of_the_rows(filled: Scene) -> None:
    """Models that clients named as `provider/model` are apart by target, one line by model."""
    journal = filled.journal(3)
    for number, (provider, model) in enumerate((("other", "a"), ("other", "b"), ("acme", "a"))):
        attempt = f"req_1{number}:1"
        open_attempt(journal, attempt, provider=provider, target_model=model, model=f"{provider}/*")
        settle_attempt(journal, attempt, cost_nano_usd=1_000_000_000)
    filled.fold()
    journal.close()
    folder = str(filled.data_dir)

    def by(what: str) -> dict[str, str]:
        rows = table(run("usage", "--by", what, "--since", "all", "--data-dir", folder))
        assert rows[0][0] == what.upper()
        return {row[0]: row[-2] for row in rows[1:]}

    assert by("model")["other/*"] == "2.000000"
    providers, targets = by("provider"), by("target")
    assert providers["other"] == "2.000000"
    assert (targets["other/a"], targets["other/b"], targets["acme/a"]) == ("1.000000",) * 3
    assert providers["total"] == targets["total"] == by("model")["total"] == "4.500001"


def test_usage_by_target_says_which_rows_are_gone(filled: Scene) -> None:
    """A sum over deleted rows is no sum of that time; rollups still have it."""
    while filled.store.prune(NOW_MS + 24 * HOUR_MS, 0, 100):
        pass
    folder = str(filled.data_dir)
    result = run("usage", "--by", "target", "--since", "all", "--data-dir", folder)
    assert "rows before 2027-01-16T08:00Z are no longer kept" in result.stderr
    assert table(result)[-1][1] == "2"
    whole = run("usage", "--by", "model", "--since", "all", "--data-dir", folder)
    assert (whole.stderr, table(whole)[-1][1]) == ("", "4")
    late = run("usage", "--by", "provider", "--since", "2027-01-16T14:00", "--data-dir", folder)
    assert late.stderr == ""


def test_usage_of_a_time(filled: Scene) -> None:
    """From a moment on, up to another one."""
    folder = str(filled.data_dir)
    late = table(run("usage", "--since", "2027-01-16", "--data-dir", folder))
    assert late[-1][:2] == ["total", "2"]
    early = table(run("usage", "--since", "all", "--until", "2027-01-16", "--data-dir", folder))
    assert early[-1][:2] == ["total", "2"]
    nothing = run("usage", "--since", "2027-02-01", "--data-dir", folder)
    assert (nothing.exit_code, nothing.stdout) == (0, "")
    wrong = run("usage", "--since", "yesterday", "--data-dir", folder)
    assert wrong.exit_code == 1
    assert "--since" in wrong.stderr


def test_usage_for_machines(filled: Scene) -> None:
    """Whole numbers, the exact amount, ids beside names."""
    result = run("usage", "--since", "all", "--json", "--data-dir", str(filled.data_dir))
    found = {entry["name"]: entry for entry in json.loads(result.stdout)}
    assert found["ci"]["key"].startswith("key_")
    assert found["ci"]["cost_nano_usd"] == 1_500_000_123
    assert found["ci"]["cost_usd"] == "1.500000123"
    assert (found["ci"]["requests"], found["ci"]["attempts"]) == (2, 3)


def test_verify_says_that_all_agree(filled: Scene) -> None:
    """Exit 0, and what was compared."""
    result = run("ledger", "verify", "--data-dir", str(filled.data_dir))
    assert result.exit_code == 0
    assert result.stdout.splitlines()[-1] == "all agree"
    assert "rows: 5, 0 open" in result.stdout


def test_verify_names_what_differs_and_fails(filled: Scene) -> None:
    """Exit 1, a line for each difference; the same for machines."""
    with sqlite3.connect(filled.data_dir / DATABASE_FILE) as connection:
        connection.execute("UPDATE ledger_rollups SET cost_nano_usd = 0 WHERE model = 'slow'")
    connection.close()
    folder = str(filled.data_dir)
    result = run("ledger", "verify", "--data-dir", folder)
    assert result.exit_code == 1
    assert "cost_nano_usd is 0, rows say 123" in result.stdout
    result = run("ledger", "verify", "--json", "--data-dir", folder)
    assert result.exit_code == 1
    assert len(json.loads(result.stdout)["problems"]) == 1


def test_a_folder_without_a_database_is_told(tmp_path: Path) -> None:
    """It is not made by looking at it."""
    for command in (["usage"], ["ledger", "verify"]):
        result = run(*command, "--data-dir", str(tmp_path / "nowhere"))
        assert result.exit_code == 2
        assert "is it the right folder?" in result.stderr
    assert not (tmp_path / "nowhere").exists()
