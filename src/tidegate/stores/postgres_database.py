"""Transactions on PostgreSQL for statements of SQLAlchemy Core, without greenlet.

SQLAlchemy writes the statements, asyncpg runs them; its own way between the two would need
a third package and an engine.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import Executable
from sqlalchemy.dialects.postgresql.asyncpg import dialect as asyncpg_dialect
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.dml import UpdateBase

from tidegate.stores.postgres_link import Lease, PostgresLink
from tidegate.stores.protocols import Connection

if TYPE_CHECKING:
    import asyncpg

_DIALECT: Final = asyncpg_dialect()  # type: ignore[no-untyped-call]
_WRITE_LOCK: Final = 0x7469_6465_7772_6974  # "tidewrit"
_BEGIN_READ: Final = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"
# The lock is taken by a statement of its own, so that what follows sees what was
# committed while we waited for it.
_BEGIN_WRITE: Final = f"BEGIN; SELECT pg_advisory_xact_lock({_WRITE_LOCK})"


class PostgresDatabase:
    """A `Database` on a server that several hosts may share."""

    def __init__(self, link: PostgresLink) -> None:
        self._link = link

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """See `Database.read`."""
        with self._link.lease() as lease:
            _execute(lease, _BEGIN_READ)
            yield _Statements(lease)
            _execute(lease, "COMMIT")

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """See `Database.write`; the others of all hosts wait."""
        with self._link.lease() as lease:
            _execute(lease, _BEGIN_WRITE)
            yield _Statements(lease)
            _execute(lease, "COMMIT")

    def close(self) -> None:
        """See `Database.close`."""
        self._link.close()


class _Statements:
    """A `Connection` on a lease. A block that fails drops the lease, which rolls back."""

    __slots__ = ("_lease",)

    def __init__(self, lease: Lease) -> None:
        self._lease = lease

    def execute(self, statement: Executable, /) -> _Rows:
        """See `Connection.execute`."""
        compiled = statement.compile(dialect=_DIALECT)  # type: ignore[attr-defined]
        assert isinstance(compiled, SQLCompiler)
        text = str(compiled)
        named = compiled.params
        values = [named[name] for name in compiled.positiontup or ()]
        if isinstance(statement, UpdateBase):

            async def change(connection: asyncpg.Connection) -> str:
                return str(await connection.execute(text, *values))

            return _Rows([], int(self._lease.run(change).rpartition(" ")[2]))

        async def fetch(connection: asyncpg.Connection) -> list[Any]:
            return list(await connection.fetch(text, *values))

        return _Rows(self._lease.run(fetch), -1)


class _Rows:
    """A `Result` that was read whole."""

    __slots__ = ("_records", "rowcount")

    def __init__(self, records: list[Any], rowcount: int) -> None:
        self._records = records
        self.rowcount = rowcount

    def first(self) -> Any:
        """See `Result.first`."""
        return _row(self._records[0]) if self._records else None

    def all(self) -> Sequence[Any]:
        """See `Result.all`."""
        return [_row(record) for record in self._records]

    def scalar_one(self) -> Any:
        """See `Result.scalar_one`."""
        (record,) = self._records
        return record[0]

    def scalar_one_or_none(self) -> Any:
        """See `Result.scalar_one_or_none`."""
        return self.scalar_one() if self._records else None


def _row(record: Any) -> SimpleNamespace:
    return SimpleNamespace(**record)


def _execute(lease: Lease, text: str) -> None:
    async def run(connection: asyncpg.Connection) -> None:
        await connection.execute(text)

    lease.run(run)
