"""The ledger in SQLite, written by the driver's `executemany`.

Figures (2 shared cores), reading and decoding included: 4.5 µs a record when open and settle
come in one batch, 9 µs when the settle has to find its row. SQLAlchemy would double that; it
makes the tables.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from operator import itemgetter
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
    RowsDiffer,
    StoreDown,
    Sums,
    whole_row,
)
from tidegate.stores import ledger_sql as sql
from tidegate.stores.database import BUSY_S, DATABASE_FILE

_MAX_VARIABLES: Final = 900
"""Fewer than any SQLite takes in one statement."""

_ROWS: Final = 50
_INSERT_MANY: Final = sql.insert_many(_ROWS)
_MAX_ALIKE: Final = 2_000
_id_of: Final = itemgetter(AttemptRow._fields.index("attempt_id"))


class SqliteLedger:
    """A `LedgerStore` and `LedgerReader` on `data_dir/tidegate.db`, which `open_database` makes.

    The connection is opened at first use and again after a failure.
    """

    def __init__(self, data_dir: Path) -> None:
        self._path = data_dir / DATABASE_FILE
        self._connection: sqlite3.Connection | None = None
        self._numbers: dict[AlikeColumns, int] = {}

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
        numbers = self._number(batch.inserts)
        with self._transaction("BEGIN IMMEDIATE") as connection:
            _insert(connection, batch.inserts, numbers)
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

    def _number(self, inserts: Mapping[AlikeColumns, object]) -> dict[AlikeColumns, int]:
        """Return the numbers under which `temp.alike` has what rows have alike.

        The table outlives a batch, but not the connection.
        """
        with self._connected() as connection:
            if len(self._numbers) + len(inserts) > _MAX_ALIKE:
                self._numbers = {}
                connection.execute(sql.FORGET_ALIKE)
            numbers = self._numbers
            missing = [alike for alike in inserts if alike not in numbers]
            if missing:
                first = len(numbers)
                numbered = [(number, *alike) for number, alike in enumerate(missing, first)]
                with connection:
                    connection.execute("BEGIN")
                    connection.executemany(sql.KEEP_ALIKE, numbered)
                numbers.update((alike, number) for number, alike in enumerate(missing, first))
            return numbers

    @contextmanager
    def _transaction(self, begin: str) -> Iterator[sqlite3.Connection]:
        """Give the connection inside a transaction, which an exception undoes."""
        with self._connected() as connection:
            connection.execute(begin)
            try:
                yield connection
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise

    @contextmanager
    def _connected(self) -> Iterator[sqlite3.Connection]:
        """Give the connection; the driver's errors become `StoreDown`."""
        try:
            if self._connection is None:
                self._connection = _connect(self._path)
                self._numbers = {}
            yield self._connection
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
    for pragma in ("synchronous = FULL", "trusted_schema = OFF", "temp_store = MEMORY"):
        with closing(connection.execute(f"PRAGMA {pragma}")):
            pass
    connection.execute(sql.MAKE_ALIKE)
    return connection


def _insert(
    connection: sqlite3.Connection,
    inserts: Mapping[AlikeColumns, Sequence[OwnColumns]],
    numbers: Mapping[AlikeColumns, int],
) -> None:
    """Insert all rows, each of which must be new, in the order of the table.

    Out of order, each row of many keys and models would cost 3 µs more.
    """
    rows = [(own, alike) for alike, group in inserts.items() for own in group]
    if len(inserts) > 1:
        rows.sort(key=lambda row: _id_of(row[0]))
    whole = len(rows) - len(rows) % _ROWS
    inserted = 0
    for start in range(0, whole, _ROWS):
        values: list[object] = []
        for own, alike in rows[start : start + _ROWS]:
            values += own
            values.append(numbers[alike])
        inserted += connection.execute(_INSERT_MANY, values).rowcount
    if whole < len(rows):
        rest = [whole_row(alike, own) for own, alike in rows[whole:]]
        inserted += connection.executemany(sql.INSERT, rest).rowcount
    if inserted != len(rows):
        raise RowsDiffer(f"{len(rows)} rows were to be inserted, {inserted} were")


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
