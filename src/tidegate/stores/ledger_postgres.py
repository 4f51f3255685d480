"""The ledger in PostgreSQL, for several hosts: a batch is three statements over arrays.

Import this module only where PostgreSQL is configured: asyncpg is an extra.

Figures (2 shared cores, server on the same machine): see the figures of `stores.ledger` for
SQLite; here 6 to 10 µs of our CPU a record, and about as much in the server.
"""

from __future__ import annotations

import itertools
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any, Final, TypeVar

import asyncpg
from sqlalchemy import BigInteger, Boolean, Integer

from tidegate.ledger.store import (
    SETTLE_AT,
    AttemptRow,
    FoldBatch,
    FoldState,
    Position,
    RollupKey,
    RowsDiffer,
    StoreDown,
    Sums,
    whole_row,
)
from tidegate.stores import ledger_sql as sql
from tidegate.stores.postgres_link import PostgresLink
from tidegate.stores.protocols import ConstraintViolated, StoreError
from tidegate.stores.schema import ledger_attempts

_T = TypeVar("_T")

TRANSACTION_S: Final = 6.0
"""A batch takes 0.1 s. Less than control may take to end: it waits for the last one."""

_PROGRESS_COLUMNS: Final = (
    "input_tokens",
    "output_tokens",
    "usage_source",
    "cost_nano_usd",
    "ttft_ms",
    "duration_ms",
    "delivered_bytes",
)


def _type_of(column: str) -> str:
    kind = ledger_attempts.c[column].type
    if isinstance(kind, BigInteger):
        return "bigint"
    if isinstance(kind, Integer):
        return "integer"
    return "boolean" if isinstance(kind, Boolean) else "text"


def _unnest(columns: Iterable[str]) -> str:
    arrays = ", ".join(f"${n}::{_type_of(name)}[]" for n, name in enumerate(columns, start=1))
    return f"unnest({arrays})"


def _update(columns: tuple[str, ...]) -> str:
    """Return the statement that sets *columns* of open rows; the attempt id comes last."""
    changes = ", ".join(f"{name} = v.{name}" for name in columns)
    named = ", ".join((*columns, "attempt_id"))
    return (
        f"UPDATE ledger_attempts AS a SET {changes} "  # noqa: S608 (our own names)
        f"FROM {_unnest((*columns, 'attempt_id'))} AS v({named}) "
        "WHERE a.attempt_id = v.attempt_id AND a.outcome IS NULL"
    )


def _numbered(statement: str) -> str:
    """Return *statement* with `$1`, `$2` … in place of each `?`."""
    parts = statement.split("?")
    numbers = (f"${number}" for number in itertools.count(1))
    return "".join(
        part + (next(numbers) if at < len(parts) - 1 else "") for at, part in enumerate(parts)
    )


_INSERT: Final = (
    f"INSERT INTO ledger_attempts ({sql.ATTEMPTS}) "  # noqa: S608 (our own names)
    f"SELECT * FROM {_unnest(AttemptRow._fields)} ON CONFLICT (attempt_id) DO NOTHING"
)
_SETTLE: Final = _update(AttemptRow._fields[SETTLE_AT:])
_PROGRESS: Final = _update(_PROGRESS_COLUMNS)
_ROLLUP: Final = _numbered(sql.ROLLUP)
_POSITION: Final = _numbered(sql.POSITION)
_FORGET: Final = _numbered(sql.FORGET)
_FIND: Final = (
    f"SELECT {sql.ATTEMPTS} FROM ledger_attempts "  # noqa: S608 (our own names)
    "WHERE attempt_id = ANY($1::text[])"
)


class PostgresLedger:
    """A `LedgerStore` and `LedgerReader` on a server that several hosts may share.

    Args:
        link: The connections; whoever opened it closes it.
        transaction_s: How long a transaction may take.
    """

    def __init__(self, link: PostgresLink, *, transaction_s: float = TRANSACTION_S) -> None:
        self._link = link
        self._transaction_s = transaction_s

    # ------------------------------------------------------------------ LedgerStore

    def load(self, instance: str) -> FoldState:
        """See `LedgerStore.load`."""

        async def read(connection: asyncpg.Connection) -> FoldState:
            positions = await connection.fetch(_numbered(sql.POSITIONS), instance)
            rows = await connection.fetch(_numbered(sql.OPEN_ROWS), instance)
            return FoldState(
                {row[0]: Position(row[1], row[2]) for row in positions},
                {row[0]: list(row.values()) for row in rows},
            )

        return self._run(read)

    def find(self, attempt_ids: Sequence[str]) -> dict[str, AttemptRow]:
        """See `LedgerStore.find`."""

        async def read(connection: asyncpg.Connection) -> dict[str, AttemptRow]:
            rows = await connection.fetch(_FIND, list(attempt_ids))
            return {row[0]: AttemptRow(*row.values()) for row in rows}

        return self._run(read)

    def commit(self, instance: str, batch: FoldBatch) -> None:
        """See `LedgerStore.commit`."""
        # In one order on every host, or two that add to the same sums would wait for each other.
        rollups = [(*key, *batch.rollups[key]) for key in sorted(batch.rollups)]
        positions = [(instance, name, *position) for name, position in batch.positions.items()]
        inserts = [whole_row(alike, own) for alike, rows in batch.inserts.items() for own in rows]

        async def write(connection: asyncpg.Connection) -> None:
            await _change(connection, _INSERT, inserts)
            await _change(connection, _SETTLE, batch.settles)
            await _change(connection, _PROGRESS, batch.progress)
            await connection.executemany(_ROLLUP, rollups)
            await connection.executemany(_POSITION, positions)
            await connection.executemany(_FORGET, [(instance, name) for name in batch.forgotten])

        self._run(write, "read_committed")

    def prune(self, rows_before_ms: int, rollups_before_ms: int, max_rows: int) -> int:
        """See `LedgerStore.prune`."""

        async def write(connection: asyncpg.Connection) -> int:
            if rows_before_ms > 0:
                await connection.execute(_numbered(sql.MARK_ROWS_FROM), rows_before_ms)
            await connection.execute(_numbered(sql.PRUNE_ROLLUPS), rollups_before_ms)
            done = await connection.execute(_numbered(sql.PRUNE_ROWS), rows_before_ms, max_rows)
            return _count_of(done)

        return self._run(write, "read_committed")

    def close(self) -> None:
        """See `LedgerStore.close`: every call has given its connection back already."""

    # ------------------------------------------------------------------ LedgerReader

    def usage(self, by: str, since_ms: int, until_ms: int) -> list[tuple[str | int, Sums]]:
        """See `LedgerReader.usage`."""
        rows = self._fetch(sql.usage_statement(by), since_ms, until_ms)
        return [(row[0], Sums(*row[1:])) for row in rows]

    def both_sums(self) -> tuple[dict[RollupKey, Sums], dict[RollupKey, Sums]]:
        """See `LedgerReader.both_sums`."""

        async def read(
            connection: asyncpg.Connection,
        ) -> tuple[dict[RollupKey, Sums], dict[RollupKey, Sums]]:
            from_ms = await connection.fetchval(sql.READ_ROWS_FROM) or 0
            rollups = await connection.fetch(_numbered(sql.ROLLUPS), from_ms)
            rows = await connection.fetch(_numbered(sql.SUMS_OF_ROWS), from_ms)
            return _by_key(rollups), _by_key(rows)

        return self._run(read)

    def sums_by_provider(self, instance: str, since_ms: int) -> dict[str, Sums]:
        """See `LedgerReader.sums_by_provider`."""
        rows = self._fetch(sql.SUMS_BY_PROVIDER, since_ms, instance)
        return {row[0]: Sums(*row[1:]) for row in rows}

    def count_rows(self) -> tuple[int, int]:
        """See `LedgerReader.count_rows`."""
        ((rows, still_open),) = self._fetch(sql.COUNT_ROWS)
        return rows, still_open or 0

    def rows_from_ms(self) -> int:
        """See `LedgerReader.rows_from_ms`."""
        found = self._fetch(sql.READ_ROWS_FROM)
        return found[0][0] if found else 0

    def damage(self) -> list[str]:
        """See `LedgerReader.damage`. A server checks its own pages: nothing to tell here."""
        return []

    # ------------------------------------------------------------------ transactions

    def _fetch(self, statement: str, *values: object) -> list[tuple[Any, ...]]:
        async def read(connection: asyncpg.Connection) -> list[tuple[Any, ...]]:
            rows = await connection.fetch(_numbered(statement), *values)
            return [tuple(row.values()) for row in rows]

        return self._run(read)

    def _run(
        self,
        work: Callable[[asyncpg.Connection], Awaitable[_T]],
        isolation: str = "repeatable_read",
    ) -> _T:
        """Run *work* in a transaction, by default one that sees one state of all tables.

        What keeps it from being done becomes `StoreDown`.
        """

        async def transact(connection: asyncpg.Connection) -> _T:
            async with connection.transaction(isolation=isolation):
                return await work(connection)

        try:
            return self._link.run(transact, self._transaction_s)
        except (StoreError, ConstraintViolated) as error:
            raise StoreDown(str(error), full=getattr(error, "full", False)) from None


def _count_of(status: str) -> int:
    return int(status.rpartition(" ")[2])


async def _change(
    connection: asyncpg.Connection, statement: str, values: Sequence[Sequence[object]]
) -> None:
    """Run *statement* once for all *values*, each of which must change one row."""
    if not values:
        return
    arrays = [list(column) for column in zip(*values, strict=True)]
    changed = _count_of(await connection.execute(statement, *arrays))
    if changed != len(values):
        raise RowsDiffer(f"{len(values)} rows were to change, {changed} did")


def _by_key(rows: Sequence[asyncpg.Record]) -> dict[RollupKey, Sums]:
    return {(row[0], row[1], row[2]): Sums(*tuple(row.values())[3:]) for row in rows}
