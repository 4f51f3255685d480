"""The database file: opened, brought up to date, and its transactions."""

from __future__ import annotations

import fcntl
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Connection, create_engine, event
from sqlalchemy.engine import URL, Engine
from sqlalchemy.exc import DatabaseError, IntegrityError

from tidegate.errors import ConfigError
from tidegate.stores.protocols import Connection as AnyConnection
from tidegate.stores.protocols import ConstraintViolated, StoreError
from tidegate.stores.schema import SCHEMA_VERSION, metadata

DATABASE_FILE: Final = "tidegate.db"
LOCK_FILE: Final = "tidegate.db.lock"
BUSY_S: Final = 10.0
"""How long a transaction waits for another process's one."""


class SqliteDatabase:
    """A `Database` in one SQLite file in WAL mode, every commit on disk before it returns.

    Safe for several processes; one object belongs to one and must not cross a fork.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    @contextmanager
    def read(self) -> Iterator[AnyConnection]:
        """See `Database.read`.

        Raises:
            StoreError: As `write`.
        """
        with _told(), self._engine.begin() as connection:
            yield connection

    @contextmanager
    def write(self) -> Iterator[AnyConnection]:
        """See `Database.write`.

        Raises:
            StoreError: The file cannot be used now (disk full, locked for long, damaged).
            ConstraintViolated: A statement in the block would break a rule of a table.
        """
        with _write(self._engine) as connection:
            yield connection

    def close(self) -> None:
        """Close every connection."""
        self._engine.dispose()


@contextmanager
def _write(engine: Engine) -> Iterator[Connection]:
    with _told(), engine.connect() as connection:
        connection.execution_options(tidegate_write=True)
        with connection.begin():
            yield connection


@contextmanager
def _told() -> Iterator[None]:
    """Turn the driver's errors into ours, which never hold a statement or its values."""
    try:
        yield
    except IntegrityError:
        raise ConstraintViolated("a rule of a table") from None
    except DatabaseError as error:
        raise StoreError(str(error.orig)) from None


def open_database(data_dir: Path) -> SqliteDatabase:
    """Open `data_dir/tidegate.db`, made and brought to the current schema if needed.

    Any number of processes may do so at once: one migrates, the others wait for it. A
    migration is one transaction, so a crash leaves the file as it was.

    Raises:
        ConfigError: The file cannot be used, or was written by a newer version.
    """
    path = data_dir / DATABASE_FILE
    engine = _engine(path)
    try:
        with _locked(data_dir / LOCK_FILE):
            _make_file(path)
            _bring_up_to_date(engine)
    except (OSError, sqlite3.Error, DatabaseError, StoreError) as error:
        engine.dispose()
        reason = f"cannot use {path}: {_reason(error)}"
        raise ConfigError([("stores.database", reason)]) from error
    except ConfigError:
        engine.dispose()
        raise
    return SqliteDatabase(engine)


def _make_file(path: Path) -> None:
    """Make the file if it is missing, and put it into WAL mode, which it then stays in."""
    # SQLite itself would make it readable for others where the umask lets it.
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
    with closing(sqlite3.connect(path, timeout=BUSY_S, isolation_level=None)) as connection:
        mode = connection.execute("PRAGMA journal_mode = WAL").fetchone()[0]
    if mode != "wal":
        raise sqlite3.OperationalError("its file system has no shared memory (network drive?)")


def _engine(path: Path) -> Engine:
    engine = create_engine(
        URL.create("sqlite", database=str(path)),
        connect_args={"timeout": BUSY_S, "isolation_level": None, "check_same_thread": False},
        pool_size=4,
        max_overflow=4,
    )

    @event.listens_for(engine, "connect")
    def set_up(connection: Any, _record: Any) -> None:
        cursor = connection.cursor()
        for pragma in (
            f"busy_timeout = {int(BUSY_S * 1000)}",
            "synchronous = FULL",
            "foreign_keys = ON",
            "trusted_schema = OFF",
        ):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        # IMMEDIATE takes the write lock now: a transaction that first reads and then
        # writes would otherwise fail at once, not wait, when another writer was between.
        wants_write = connection.get_execution_options().get("tidegate_write")
        connection.exec_driver_sql("BEGIN IMMEDIATE" if wants_write else "BEGIN")

    return engine


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold a lock that the kernel drops with the process. The file stays for good."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _bring_up_to_date(engine: Engine) -> None:
    with _write(engine) as connection:
        if _is_empty(connection):
            _make_schema(connection)
            return
        version = _version(connection)
        if version != SCHEMA_VERSION:
            # Only here: alembic costs 120 ms that a start without migration must not pay.
            from tidegate.stores.migrations.upgrade import upgrade

            upgrade(connection, version)


def _is_empty(connection: Connection) -> bool:
    return connection.exec_driver_sql("SELECT 1 FROM sqlite_master").first() is None


def _make_schema(connection: Connection) -> None:
    """Make the newest schema at once; a test holds that the migrations lead to the same."""
    metadata.create_all(connection)
    connection.exec_driver_sql("CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL)")
    connection.exec_driver_sql("INSERT INTO alembic_version VALUES (?)", (SCHEMA_VERSION,))


def _version(connection: Connection) -> str | None:
    exists = connection.exec_driver_sql(
        "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'alembic_version'"
    ).first()
    if exists is None:
        return None
    row = connection.exec_driver_sql("SELECT version_num FROM alembic_version").first()
    return None if row is None else str(row[0])


def _reason(error: OSError | sqlite3.Error | DatabaseError | StoreError) -> str:
    if isinstance(error, DatabaseError):
        return str(error.orig)
    return getattr(error, "strerror", None) or str(error)
