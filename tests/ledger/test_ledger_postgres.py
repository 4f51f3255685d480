"""The same promises on a real PostgreSQL server."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.ledger.ledger_scene import (
    DIED_MS,
    NOW_MS,
    Scene,
    open_attempt,
    progress_attempt,
    settle_attempt,
)
from tests.ledger.test_ledger_fold import Crash, FaultyStore, _write_a_story
from tests.postgres_server import PostgresServer

from tidegate.errors import ConfigError
from tidegate.ledger.fold import Folder
from tidegate.ledger.store import AttemptRow, FoldBatch, RowsDiffer, StoreDown
from tidegate.ledger.verify import verify
from tidegate.stores.ledger_postgres import PostgresLedger
from tidegate.stores.postgres_link import PostgresLink
from tidegate.stores.schema import SCHEMA_VERSION, metadata

pytestmark = pytest.mark.external


@pytest.fixture
def server(postgres_server: PostgresServer) -> PostgresServer:
    """The server that all tests share."""
    return postgres_server


class PostgresScene(Scene):
    """Journals of one host, whose rows go to the server."""

    def __init__(self, data_dir: Path, dsn: str) -> None:
        self.data_dir = data_dir
        self.journals = data_dir / "journal"
        self.link = PostgresLink(dsn)
        self.ledger = PostgresLedger(self.link)
        self.store = self.ledger  # type: ignore[assignment]

    def execute(self, statement: str) -> None:
        """Run *statement*."""
        self.ledger._run(lambda connection: connection.execute(statement))

    def query(self, statement: str, *values: object) -> list[Any]:
        """Return the rows of *statement*."""
        return self.ledger._fetch(statement, *values)


@pytest.fixture
def scene(tmp_path: Path, server: PostgresServer) -> Iterator[PostgresScene]:
    """A host with an empty database."""
    scene = PostgresScene(tmp_path, server.dsn)
    scene.query("SELECT 1")
    for table in metadata.tables:
        scene.ledger._run(
            lambda connection, table=table: connection.execute(f"DELETE FROM {table}")
        )
    yield scene
    scene.link.close()


def test_the_migrations_lead_to_the_schema(scene: PostgresScene) -> None:
    """Every table and column, with its type; the version is the newest."""
    assert scene.query("SELECT version_num FROM alembic_version") == [(SCHEMA_VERSION,)]
    found = {
        (table, column): (kind, nullable)
        for table, column, kind, nullable in scene.query(
            "SELECT table_name, column_name, data_type, is_nullable "
            "FROM information_schema.columns WHERE table_schema = 'public'"
        )
    }
    kinds = {
        "BIGINT": "bigint",
        "INTEGER": "integer",
        "TEXT": "text",
        "BOOLEAN": "boolean",
        "BLOB": "bytea",
    }
    for table in metadata.tables.values():
        for column in table.columns:
            kind, nullable = found[table.name, column.name]
            name = str(column.type).partition("(")[0]
            assert kind == kinds.get(name, "character varying"), (table.name, column.name)
            assert (nullable == "YES") == column.nullable
    indexes = {row[0] for row in scene.query("SELECT indexname FROM pg_indexes")}
    assert {"ix_ledger_attempts_open", "ix_ledger_attempts_opened"} <= indexes


def test_a_newer_schema_is_refused(scene: PostgresScene, server: PostgresServer) -> None:
    """An old release must not write to what it does not understand."""
    change = "UPDATE alembic_version SET version_num = "
    scene.execute(f"{change}'9999'")
    other = PostgresLink(server.dsn)
    with pytest.raises(ConfigError, match="9999"):
        PostgresLedger(other).count_rows()
    other.close()
    scene.execute(f"{change}'{SCHEMA_VERSION}'")


def test_rows_arrive_whole_merged_and_late(scene: PostgresScene) -> None:
    """Every column as it was recorded; open rows, progress, deaths, rollups as in SQLite."""
    journal, dead = scene.journal(2), scene.journal(3)
    folder = scene.folder()
    open_attempt(journal, "req_1:1", stream=True, target_model="ä\x00b")
    settle_attempt(journal, "req_1:1", cost_nano_usd=None, ttft_ms=None)
    open_attempt(journal, "req_2:1", estimate_nano_usd=None)
    open_attempt(dead, "req_3:1")
    folder.tick()
    progress_attempt(dead, "req_3:1")
    progress_attempt(journal, "req_2:1")
    folder.tick()
    assert scene.rows()["req_2:1"].usage_source == "partial"
    settle_attempt(journal, "req_2:1", cost_nano_usd=(1 << 46) - 1)
    dead.close()
    folder.tick()
    rows = scene.rows()
    assert rows["req_1:1"] == AttemptRow(
        "req_1:1", 1, NOW_MS, "key_a", "chat_completions", "fast", "acme", "ä\ufffdb", True, 1000,
        5_000_000, "genai-prices 1", folder.instance, rows["req_1:1"].writer, NOW_MS + 1200, "ok",
        200, 100, 10, 0, 50, 5, "provider", None, None, 1200, 2048,
    )  # fmt: skip
    assert rows["req_2:1"].cost_nano_usd == (1 << 46) - 1
    assert (rows["req_3:1"].outcome, rows["req_3:1"].output_tokens) == ("interrupted", 20)
    assert scene.rollups() == scene.sums_of_rows()
    assert verify(scene.journals, scene.ledger).problems == []
    assert scene.ledger.count_rows() == (3, 0)
    (day,) = scene.ledger.usage("day", 0, 1 << 62)
    assert day[1].attempts == 3
    for by, names in (("provider", ["acme"]), ("target", ["acme/acme-large", "acme/ä\ufffdb"])):
        found = dict(scene.ledger.usage(by, 0, NOW_MS + 1))
        assert (sorted(found), sum(sums.attempts for sums in found.values())) == (names, 3)
        assert scene.ledger.usage(by, NOW_MS + 1, 1 << 62) == []
    assert scene.ledger.sums_by_provider(folder.instance, 0)["acme"].settled == 3
    journal.close()
    folder.close()


def test_a_batch_that_does_not_fit_changes_nothing(scene: PostgresScene) -> None:
    """A row that exists, an end for a row that is not open."""
    journal = scene.journal()
    open_attempt(journal, "req_1:1")
    settle_attempt(journal, "req_1:1")
    scene.fold()
    before = (scene.rows(), scene.rollups())
    row = list(before[0]["req_1:1"])
    for batch in (
        FoldBatch(
            inserts={tuple(row[3:14]): [row[:3] + row[14:]]}, rollups={(0, "k", "m"): [1] * 12}
        ),
        FoldBatch(settles=[(*row[14:], "req_1:1")], rollups={(0, "k", "m"): [1] * 12}),
    ):
        with pytest.raises(RowsDiffer):
            scene.ledger.commit("x", batch)
    assert (scene.rows(), scene.rollups()) == before
    scene.execute("DELETE FROM ledger_positions")
    assert scene.fold().store_failures == 0
    assert (scene.rows(), scene.rollups()) == before
    journal.close()


@pytest.mark.parametrize("how", ["before", "after"])
@pytest.mark.parametrize("error", [StoreDown, Crash])
def test_a_crash_at_any_call_changes_nothing_in_the_end(
    tmp_path: Path, scene: PostgresScene, server: PostgresServer, how: str, error: type[Exception]
) -> None:
    """Sixteen hosts, one after the other, each of which fails once at another call."""
    outcomes = []
    for fail_at in range(1, 17):
        folder_path = tmp_path / f"host{fail_at}"
        folder_path.mkdir()
        host = PostgresScene(folder_path, server.dsn)
        for table in ("ledger_attempts", "ledger_rollups", "ledger_positions"):
            host.execute(f"DELETE FROM {table}")
        alive = _write_a_story(host)
        store = FaultyStore(host, fail_at, how, error)
        folder = Folder(host.journals, store, batch_records=9, wall_ms=lambda: DIED_MS)
        try:
            folder.tick()
        except Crash:
            folder.abandon()
        else:
            folder._retry_at_s = 0.0
            folder.close()
        host.fold()
        outcomes.append({key: row.outcome for key, row in host.rows().items()})
        assert host.rollups() == host.sums_of_rows()
        alive.close()
        host.link.close()
    assert len(outcomes[0]) == 24
    assert all(found == outcomes[0] for found in outcomes)


def test_a_server_that_goes_away_loses_nothing(
    scene: PostgresScene, server: PostgresServer
) -> None:
    """Journals grow meanwhile; afterwards all rows are there, once."""
    journal = scene.journal()
    folder = scene.folder()
    open_attempt(journal, "req_00:1")
    folder.tick()
    server.stop()
    try:
        for number in range(1, 30):
            open_attempt(journal, f"req_{number:02d}:1")
            settle_attempt(journal, f"req_{number:02d}:1")
        settle_attempt(journal, "req_00:1")
        folder.tick()
        assert folder.store_failures == 1
        assert folder.backlog_bytes > 0
        assert folder.lag_s > 0
    finally:
        server.start()
    folder._retry_at_s = 0.0
    folder.tick()
    assert folder.last_error is None
    assert {row.outcome for row in scene.rows().values()} == {"ok"}
    assert len(scene.rows()) == 30
    assert scene.rollups() == scene.sums_of_rows()
    journal.close()
    folder.close()


def test_two_hosts_fold_into_one_database_at_once(
    tmp_path: Path, scene: PostgresScene, server: PostgresServer
) -> None:
    """Each settles only its own dead; the sums of both are in the same rollups."""
    failures: list[BaseException] = []

    def be_a_host(name: str) -> None:
        try:
            folder_path = tmp_path / name
            folder_path.mkdir()
            host = PostgresScene(folder_path, server.dsn)
            dead, alive = host.journal(2), host.journal(3)
            folder = host.folder(batch_records=50)
            for number in range(300):
                for journal, who in ((dead, "d"), (alive, "a")):
                    attempt_id = f"req_{name}{who}{number:03d}:1"
                    open_attempt(journal, attempt_id, key_id=f"key_{number % 5}")
                    if number % 10:
                        settle_attempt(journal, attempt_id)
                if number % 20 == 0:
                    folder.tick()
            dead.close()
            folder.tick()
            folder.tick()
            assert folder.store_failures == 0
            alive.close()
            folder.abandon()
            host.link.close()
        except BaseException as error:
            failures.append(error)

    hosts = [threading.Thread(target=be_a_host, args=(name,)) for name in ("x", "y")]
    for host in hosts:
        host.start()
    for host in hosts:
        host.join(40)
    assert not failures
    rows = scene.rows()
    assert len(rows) == 1200
    open_rows = {key[4:6] for key, row in rows.items() if row.outcome is None}
    assert open_rows == {"xa", "ya"}
    assert [row.outcome for row in rows.values()].count("interrupted") == 60
    assert scene.rollups() == scene.sums_of_rows()
