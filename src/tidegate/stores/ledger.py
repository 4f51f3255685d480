"""The ledger in SQLite, written by the driver's `executemany`.

Figures (2 shared cores): 2,000 records, open and settle merged, in one synced transaction:
about 4 µs a record. SQLAlchemy would more than double that; it makes the tables.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final

from sqlalchemy import Table

from tidegate.ledger.store import (
    SETTLE_AT,
    AttemptRow,
    FoldBatch,
    FoldState,
    Position,
    RowsDiffer,
    StoreDown,
    Sums,
)
from tidegate.stores.database import BUSY_S, DATABASE_FILE
from tidegate.stores.schema import ledger_attempts, ledger_rollups

_MAX_VARIABLES: Final = 900
ROWS_FROM: Final = "rows_from_ms"
"""Name of the mark in `ledger_state`: earlier hours have rollups, but not all rows."""


def columns(table: Table) -> str:
    """Return the names of *table*'s columns, in order, for a statement."""
    return ", ".join(column.name for column in table.columns)


_ATTEMPTS: Final = columns(ledger_attempts)
_INSERT: Final = (
    f"INSERT OR IGNORE INTO ledger_attempts ({_ATTEMPTS}) "  # noqa: S608 (our own names)
    f"VALUES ({', '.join('?' for _ in AttemptRow._fields)})"
)
_SETTLE: Final = (
    "UPDATE ledger_attempts SET "  # noqa: S608 (our own names)
    + ", ".join(f"{name} = ?" for name in AttemptRow._fields[SETTLE_AT:])
    + " WHERE attempt_id = ? AND outcome IS NULL"
)
_PROGRESS: Final = (
    "UPDATE ledger_attempts SET input_tokens = ?, output_tokens = ?, usage_source = ?, "
    "cost_nano_usd = ?, ttft_ms = ?, duration_ms = ?, delivered_bytes = ? "
    "WHERE attempt_id = ? AND outcome IS NULL"
)
_ROLLUP: Final = (
    f"INSERT INTO ledger_rollups ({columns(ledger_rollups)}) "  # noqa: S608 (our own names)
    f"VALUES (?, ?, ?, {', '.join('?' for _ in Sums._fields)}) "
    "ON CONFLICT (hour_ms, key_id, model) DO UPDATE SET "
    + ", ".join(f"{name} = {name} + excluded.{name}" for name in Sums._fields)
)
_POSITION: Final = (
    "INSERT INTO ledger_positions (instance, file, position, done) VALUES (?, ?, ?, ?) "
    "ON CONFLICT (instance, file) DO UPDATE SET position = excluded.position, done = excluded.done"
)
_FORGET: Final = "DELETE FROM ledger_positions WHERE instance = ? AND file = ?"


class SqliteLedger:
    """A `LedgerStore` on `data_dir/tidegate.db`, which `open_database` has made.

    The connection is opened at first use and again after a failure.
    """

    def __init__(self, data_dir: Path) -> None:
        self._path = data_dir / DATABASE_FILE
        self._connection: sqlite3.Connection | None = None

    def load(self, instance: str) -> FoldState:
        """See `LedgerStore.load`."""
        with self._transaction("BEGIN") as connection:
            positions = {
                str(name): Position(offset, bool(done))
                for name, offset, done in connection.execute(
                    "SELECT file, position, done FROM ledger_positions WHERE instance = ?",
                    (instance,),
                )
            }
            rows = connection.execute(
                f"SELECT {_ATTEMPTS} FROM ledger_attempts "  # noqa: S608 (our own names)
                "WHERE instance = ? AND outcome IS NULL",
                (instance,),
            )
            return FoldState(positions, {row[0]: list(row) for row in rows})

    def find(self, attempt_ids: Sequence[str]) -> dict[str, AttemptRow]:
        """See `LedgerStore.find`."""
        found: dict[str, AttemptRow] = {}
        with self._transaction("BEGIN") as connection:
            for start in range(0, len(attempt_ids), _MAX_VARIABLES):
                some = attempt_ids[start : start + _MAX_VARIABLES]
                for row in connection.execute(
                    f"SELECT {_ATTEMPTS} FROM ledger_attempts "  # noqa: S608 (our own names)
                    f"WHERE attempt_id IN ({', '.join('?' for _ in some)})",
                    some,
                ):
                    found[row[0]] = AttemptRow(*row)
        return found

    def commit(self, instance: str, batch: FoldBatch) -> None:
        """See `LedgerStore.commit`."""
        with self._transaction("BEGIN IMMEDIATE") as connection:
            _change(connection, _INSERT, batch.inserts)
            _change(connection, _SETTLE, batch.settles)
            _change(connection, _PROGRESS, batch.progress)
            connection.executemany(_ROLLUP, [(*key, *sums) for key, sums in batch.rollups.items()])
            connection.executemany(
                _POSITION,
                [(instance, name, *position) for name, position in batch.positions.items()],
            )
            connection.executemany(_FORGET, [(instance, name) for name in batch.forgotten])

    def prune(self, rows_before_ms: int, rollups_before_ms: int, max_rows: int) -> int:
        """See `LedgerStore.prune`."""
        with self._transaction("BEGIN IMMEDIATE") as connection:
            if rows_before_ms > 0:
                connection.execute(
                    "INSERT INTO ledger_state (name, value) VALUES (?, ?) ON CONFLICT (name) "
                    "DO UPDATE SET value = max(value, excluded.value)",
                    (ROWS_FROM, rows_before_ms),
                )
            connection.execute("DELETE FROM ledger_rollups WHERE hour_ms < ?", (rollups_before_ms,))
            return connection.execute(
                "DELETE FROM ledger_attempts WHERE attempt_id IN (SELECT attempt_id FROM "
                "ledger_attempts WHERE opened_at_ms < ? AND outcome IS NOT NULL "
                "ORDER BY opened_at_ms LIMIT ?)",
                (rows_before_ms, max_rows),
            ).rowcount

    def close(self) -> None:
        """Give the connection back."""
        if self._connection is not None:
            connection, self._connection = self._connection, None
            connection.close()

    @contextmanager
    def _transaction(self, begin: str) -> Iterator[sqlite3.Connection]:
        """Give the connection inside a transaction; the driver's errors become `StoreDown`."""
        try:
            if self._connection is None:
                self._connection = _connect(self._path)
            connection = self._connection
            connection.execute(begin)
            try:
                yield connection
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise
        except sqlite3.Error as error:
            self.close()
            full = getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL
            raise StoreDown(str(error), full=full) from error


def _connect(path: Path) -> sqlite3.Connection:
    # `mode=rw`: a database that has vanished is an error, not a new, empty one.
    connection = sqlite3.connect(
        f"{path.absolute().as_uri()}?mode=rw",
        uri=True,
        timeout=BUSY_S,
        isolation_level=None,
        check_same_thread=False,
    )
    for pragma in ("synchronous = FULL", "trusted_schema = OFF"):
        with closing(connection.execute(f"PRAGMA {pragma}")):
            pass
    return connection


def _change(
    connection: sqlite3.Connection, statement: str, values: Sequence[Sequence[object]]
) -> None:
    """Run *statement* for all *values*, each of which must change one row."""
    if not values:
        return
    changed = connection.executemany(statement, values).rowcount
    if changed != len(values):
        raise RowsDiffer(f"{len(values)} rows were to change, {changed} did")
