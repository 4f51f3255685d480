"""The ledger in SQLite, written by the driver's `executemany`.

Figures (2 shared cores), reading and decoding included: 4.5 µs a record when open and settle
come in one batch, 9 µs when the settle has to find its row. SQLAlchemy would double that; it
makes the tables.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from itertools import chain
from pathlib import Path
from typing import Any, Final

from tidegate.ledger.store import (
    AlikeColumns,
    AttemptRow,
    FoldBatch,
    FoldState,
    OwnColumns,
    Position,
    RollupKey,
    Row,
    RowsDiffer,
    StoreDown,
    Sums,
    whole_row,
)
from tidegate.stores import ledger_sql as sql
from tidegate.stores.database import BUSY_S, DATABASE_FILE

_MAX_VARIABLES: Final = 900
"""Fewer than any SQLite takes in one statement."""

#: Most rows first.
_INSERTS_ALIKE: Final = tuple((rows, sql.insert_alike(rows)) for rows in (50, 8))
_OTHERS: Final = _MAX_VARIABLES // len(AttemptRow._fields)
_INSERT_OTHERS: Final = sql.insert_whole(_OTHERS)


class SqliteLedger:
    """A `LedgerStore` and `LedgerReader` on `data_dir/tidegate.db`, which `open_database` makes.

    The connection is opened at first use and again after a failure.
    """

    def __init__(self, data_dir: Path) -> None:
        self._path = data_dir / DATABASE_FILE
        self._connection: sqlite3.Connection | None = None

    # ------------------------------------------------------------------ LedgerStore

    def load(self, instance: str) -> FoldState:
        """See `LedgerStore.load`."""
        with self._transaction("BEGIN") as connection:
            positions = {
                str(name): Position(offset, bool(done))
                for name, offset, done in connection.execute(sql.POSITIONS, (instance,))
            }
            rows = connection.execute(sql.OPEN_ROWS, (instance,))
            return FoldState(positions, {row[0]: list(row) for row in rows})

    def find(self, attempt_ids: Sequence[str]) -> dict[str, AttemptRow]:
        """See `LedgerStore.find`."""
        found: dict[str, AttemptRow] = {}
        with self._transaction("BEGIN") as connection:
            for start in range(0, len(attempt_ids), _MAX_VARIABLES):
                some = attempt_ids[start : start + _MAX_VARIABLES]
                for row in connection.execute(
                    f"SELECT {sql.ATTEMPTS} FROM ledger_attempts "  # noqa: S608 (our own names)
                    f"WHERE attempt_id IN ({', '.join('?' * len(some))})",
                    some,
                ):
                    found[row[0]] = AttemptRow(*row)
        return found

    def commit(self, instance: str, batch: FoldBatch) -> None:
        """See `LedgerStore.commit`."""
        positions = [(instance, name, *position) for name, position in batch.positions.items()]
        with self._transaction("BEGIN IMMEDIATE") as connection:
            _insert(connection, batch.inserts)
            _change(connection, sql.SETTLE, batch.settles)
            _change(connection, sql.PROGRESS, batch.progress)
            connection.executemany(
                sql.ROLLUP, [(*key, *sums) for key, sums in batch.rollups.items()]
            )
            connection.executemany(sql.POSITION, positions)
            connection.executemany(sql.FORGET, [(instance, name) for name in batch.forgotten])

    def prune(self, rows_before_ms: int, rollups_before_ms: int, max_rows: int) -> int:
        """See `LedgerStore.prune`."""
        with self._transaction("BEGIN IMMEDIATE") as connection:
            if rows_before_ms > 0:
                connection.execute(sql.MARK_ROWS_FROM, (rows_before_ms,))
            connection.execute(sql.PRUNE_ROLLUPS, (rollups_before_ms,))
            return connection.execute(sql.PRUNE_ROWS, (rows_before_ms, max_rows)).rowcount

    def close(self) -> None:
        """Give the connection back."""
        if self._connection is not None:
            connection, self._connection = self._connection, None
            connection.close()

    # ------------------------------------------------------------------ LedgerReader

    def usage(self, by: str, since_ms: int, until_ms: int) -> list[tuple[str | int, Sums]]:
        """See `LedgerReader.usage`."""
        with self._transaction("BEGIN") as connection:
            rows = connection.execute(sql.usage_statement(by), (since_ms, until_ms))
            return [(row[0], Sums(*row[1:])) for row in rows]

    def both_sums(self) -> tuple[dict[RollupKey, Sums], dict[RollupKey, Sums]]:
        """See `LedgerReader.both_sums`."""
        with self._transaction("BEGIN") as connection:
            mark = connection.execute(sql.READ_ROWS_FROM).fetchone()
            from_ms = (0 if mark is None else mark[0],)
            return (
                _by_key(connection.execute(sql.ROLLUPS, from_ms)),
                _by_key(connection.execute(sql.SUMS_OF_ROWS, from_ms)),
            )

    def sums_by_provider(self, instance: str, since_ms: int) -> dict[str, Sums]:
        """See `LedgerReader.sums_by_provider`."""
        with self._transaction("BEGIN") as connection:
            rows = connection.execute(sql.SUMS_BY_PROVIDER, (since_ms, instance))
            return {row[0]: Sums(*row[1:]) for row in rows}

    def count_rows(self) -> tuple[int, int]:
        """See `LedgerReader.count_rows`."""
        with self._transaction("BEGIN") as connection:
            rows, still_open = connection.execute(sql.COUNT_ROWS).fetchone()
            return rows, still_open or 0

    def rows_from_ms(self) -> int:
        """See `LedgerReader.rows_from_ms`."""
        with self._transaction("BEGIN") as connection:
            mark = connection.execute(sql.READ_ROWS_FROM).fetchone()
            return 0 if mark is None else mark[0]

    def damage(self) -> list[str]:
        """See `LedgerReader.damage`."""
        with self._transaction("BEGIN") as connection:
            found = [str(row[0]) for row in connection.execute("PRAGMA integrity_check(20)")]
            return [] if found == ["ok"] else found

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


def _insert(
    connection: sqlite3.Connection, inserts: Mapping[AlikeColumns, Sequence[OwnColumns]]
) -> None:
    """Insert all rows, each of which must be new."""
    rows = inserted = 0
    others: list[Row] = []
    for alike, group in inserts.items():
        rows += len(group)
        start = 0
        for size, statement in _INSERTS_ALIKE:
            while len(group) - start >= size:
                values: list[object] = list(alike)
                for own in group[start : start + size]:
                    values += own
                inserted += connection.execute(statement, values).rowcount
                start += size
        others += [whole_row(alike, own) for own in group[start:]]
    whole = len(others) - len(others) % _OTHERS
    for start in range(0, whole, _OTHERS):
        values = list(chain.from_iterable(others[start : start + _OTHERS]))
        inserted += connection.execute(_INSERT_OTHERS, values).rowcount
    if whole < len(others):
        inserted += connection.executemany(sql.INSERT, others[whole:]).rowcount
    if inserted != rows:
        raise RowsDiffer(f"{rows} rows were to be inserted, {inserted} were")


def _change(
    connection: sqlite3.Connection, statement: str, values: Sequence[Sequence[object]]
) -> None:
    """Run *statement* for all *values*, each of which must change one row."""
    if not values:
        return
    changed = connection.executemany(statement, values).rowcount
    if changed != len(values):
        raise RowsDiffer(f"{len(values)} rows were to change, {changed} did")


def _by_key(rows: Iterator[Any]) -> dict[RollupKey, Sums]:
    return {(row[0], row[1], row[2]): Sums(*row[3:]) for row in rows}
