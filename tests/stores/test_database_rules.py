"""The database file: private, durable, brought up to date once, never half."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import textwrap
from contextlib import closing
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine, text

from tidegate.errors import ConfigError
from tidegate.stores.database import open_database
from tidegate.stores.migrations.upgrade import migrations, upgrade
from tidegate.stores.protocols import StoreError
from tidegate.stores.schema import SCHEMA_VERSION, metadata


def run_python(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run *code* in an interpreter of its own."""
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(code), *arguments],
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )


def schema_of(path: Path) -> list[tuple[str, str, str]]:
    """Return every table's columns and indices as SQLite tells them, sorted."""
    with closing(sqlite3.connect(path)) as connection:
        tables = [
            row[0]
            for row in connection.execute("SELECT name FROM sqlite_master WHERE type='table'")
        ]
        found = []
        for table in tables:
            if table == "alembic_version":
                continue
            for row in connection.execute(f"PRAGMA table_info({table})"):
                found.append((table, "column", repr(row[1:])))
            for row in connection.execute(f"PRAGMA index_list({table})"):
                columns = [r[2] for r in connection.execute(f"PRAGMA index_info({row[1]})")]
                found.append((table, "index", repr((row[2], row[3], row[4], columns))))
        return sorted(found)


def test_migrating_from_nothing_equals_the_schema(tmp_path: Path) -> None:
    """Fresh files take a short way; both ways must lead to the same tables."""
    open_database(tmp_path).close()
    engine = create_engine(f"sqlite:///{tmp_path / 'migrated.db'}")
    with engine.begin() as connection:
        upgrade(connection, None)
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []
    engine.dispose()
    assert schema_of(tmp_path / "migrated.db") == schema_of(tmp_path / "tidegate.db")


def test_the_newest_migration_is_the_schema_version() -> None:
    """Otherwise a start would migrate for ever, or never."""
    assert ScriptDirectory.from_config(migrations()).get_heads() == [SCHEMA_VERSION]


def test_opening_makes_a_private_durable_file(tmp_path: Path) -> None:
    """Mode 0600 whatever the umask, WAL, every commit synced, write lock taken at BEGIN."""
    before = os.umask(0)
    try:
        database = open_database(tmp_path)
        with database.write() as connection:
            pragma = {
                name: connection.exec_driver_sql(f"PRAGMA {name}").scalar()
                for name in ("journal_mode", "synchronous", "busy_timeout", "foreign_keys")
            }
            other = sqlite3.connect(tmp_path / "tidegate.db", timeout=0)
            with closing(other), pytest.raises(sqlite3.OperationalError, match="locked"):
                other.execute("BEGIN IMMEDIATE")
        database.close()
    finally:
        os.umask(before)
    assert pragma == {
        "journal_mode": "wal",
        "synchronous": 2,
        "busy_timeout": 10_000,
        "foreign_keys": 1,
    }
    modes = {os.stat(tmp_path / name).st_mode & 0o777 for name in os.listdir(tmp_path)}
    assert modes == {0o600}


def test_a_current_file_is_opened_without_alembic(tmp_path: Path) -> None:
    """Loading it would cost each start more than all the rest of opening."""
    code = """
        import sys
        from pathlib import Path
        from tidegate.stores.database import open_database
        for _ in range(2):
            open_database(Path(sys.argv[1])).close()
        assert "alembic" not in sys.modules
    """
    result = run_python(code, str(tmp_path))
    assert result.returncode == 0, result.stderr


def test_an_older_file_is_migrated_at_open(tmp_path: Path) -> None:
    """A file with only alembic's own table is one before the first version."""
    with closing(sqlite3.connect(tmp_path / "tidegate.db")) as connection:
        connection.execute("CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL)")
        connection.commit()
    database = open_database(tmp_path)
    with database.read() as connection:
        assert connection.execute(text("SELECT version_num FROM alembic_version")).scalars().all() \
            == [SCHEMA_VERSION]  # fmt: skip
        assert connection.execute(text("SELECT count(*) FROM keys")).scalar() == 0
    database.close()


def test_a_newer_file_is_refused_and_left_alone(tmp_path: Path) -> None:
    """An old release must not write to what it does not understand."""
    open_database(tmp_path).close()
    with closing(sqlite3.connect(tmp_path / "tidegate.db")) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
        connection.commit()
    with pytest.raises(ConfigError, match=r"9999.*newer tidegate"):
        open_database(tmp_path)


def test_a_file_that_is_no_database_is_told(tmp_path: Path) -> None:
    """By its path, and it is not overwritten."""
    path = tmp_path / "tidegate.db"
    path.write_bytes(b"hello, this is no database at all" * 100)
    with pytest.raises(ConfigError, match=r"tidegate\.db: file is not a database"):
        open_database(tmp_path)
    assert path.read_bytes().startswith(b"hello")


def test_a_missing_folder_is_told(tmp_path: Path) -> None:
    """As a configuration problem, not as a traceback."""
    with pytest.raises(ConfigError, match="No such file or directory"):
        open_database(tmp_path / "nowhere")


def test_errors_in_use_hold_no_values(tmp_path: Path) -> None:
    """A statement's parameters may be names of customers."""
    database = open_database(tmp_path)
    with pytest.raises(StoreError) as caught, database.write() as connection:
        connection.execute(text("INSERT INTO nowhere VALUES (:v)"), {"v": "private"})
    database.close()
    assert "private" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_an_exception_rolls_the_transaction_back(tmp_path: Path) -> None:
    """All of a block, or nothing of it."""
    database = open_database(tmp_path)

    def write_half() -> None:
        with database.write() as connection:
            connection.execute(text("INSERT INTO revisions VALUES ('x', 1)"))
            raise RuntimeError

    with pytest.raises(RuntimeError):
        write_half()
    with database.read() as connection:
        assert connection.execute(text("SELECT count(*) FROM revisions")).scalar() == 0
    database.close()


def test_a_kill_inside_a_migration_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    """Tables and version appear together; the next open goes on as if nothing had been."""
    code = """
        import os, signal, sys
        from pathlib import Path
        import alembic.op
        import sqlalchemy as sa
        real = alembic.op.create_index
        def die(*args, **kwargs):
            real(*args, **kwargs)
            os.kill(os.getpid(), signal.SIGKILL)
        alembic.op.create_index = die
        import sqlite3
        path = Path(sys.argv[1]) / "tidegate.db"
        sqlite3.connect(path).execute("CREATE TABLE alembic_version (version_num VARCHAR(32))")
        from tidegate.stores.database import open_database
        open_database(path.parent)
    """
    assert run_python(code.replace("-W", ""), str(tmp_path)).returncode == -signal.SIGKILL
    with closing(sqlite3.connect(tmp_path / "tidegate.db")) as connection:
        tables = [row[0] for row in connection.execute("SELECT name FROM sqlite_master")]
    assert tables == ["alembic_version"]
    database = open_database(tmp_path)
    with database.read() as connection:
        assert connection.execute(text("SELECT count(*) FROM keys")).scalar() == 0
        assert connection.execute(text("PRAGMA integrity_check")).scalar() == "ok"
    database.close()


def test_processes_that_open_at_once_all_get_in(tmp_path: Path) -> None:
    """Gateway and commands on a fresh folder: one makes the schema, nobody fails."""
    code = textwrap.dedent(
        """
        import sys
        from pathlib import Path
        from tidegate.stores.database import open_database
        from tidegate.stores.keys import KeyStore
        sys.stdin.read(1)
        store = KeyStore(open_database(Path(sys.argv[1])), bytes(32))
        for number in range(10):
            store.create(f"{sys.argv[2]}-{number}", now_ms=1)
        made = store.create_first("first", now_ms=1)
        assert made is None
        """
    )
    children = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(tmp_path), str(number)],
            stdin=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        )
        for number in range(4)
    ]
    for child in children:
        assert child.stdin is not None
        child.stdin.write("x")
        child.stdin.flush()
    outcomes = [child.communicate(timeout=50)[1] for child in children]
    assert [child.returncode for child in children] == [0, 0, 0, 0], outcomes
    database = open_database(tmp_path)
    with database.read() as connection:
        assert connection.execute(text("SELECT count(*) FROM keys")).scalar() == 40
        assert connection.execute(text("SELECT value FROM revisions")).scalar() == 40
    database.close()
