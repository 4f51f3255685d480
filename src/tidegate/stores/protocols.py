"""What the stores ask of a database, whichever it is."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

from sqlalchemy import Executable


class StoreError(Exception):
    """The database cannot be used now; the message is the database's own, without values.

    Attributes:
        full: It has no room left.
        refused: It answered, and will say no until somebody changes a setting: a wrong
            password, no such database, a right that is missing.
    """

    def __init__(self, message: str, *, full: bool = False, refused: bool = False) -> None:
        super().__init__(message)
        self.full = full
        self.refused = refused


class ConstraintViolated(Exception):
    """A row would break a rule of its table, such as a name that is taken."""


class Result(Protocol):
    """What a statement gave. Rows have their columns as attributes."""

    @property
    def rowcount(self) -> int:
        """Rows that the statement changed."""

    def first(self) -> Any:
        """Return the first row, or None."""

    def all(self) -> Sequence[Any]:
        """Return all rows."""

    def scalar_one(self) -> Any:
        """Return the first column of the only row."""

    def scalar_one_or_none(self) -> Any:
        """Return the first column of the only row, or None without a row."""


class Connection(Protocol):
    """Runs statements of SQLAlchemy Core inside one transaction."""

    def execute(self, statement: Executable, /) -> Result:
        """Run *statement*. What it raises is told outside of the block, see `Database`."""


class Database(Protocol):
    """Transactions, for blocking code on any thread.

    A block that fails is rolled back. Outside of it, its failure is `StoreError` when the
    database cannot be used now (whether a commit took place is not known then),
    `ConstraintViolated`, or what the block itself raised.
    """

    def read(self) -> AbstractContextManager[Connection]:
        """Give a connection inside a transaction that sees one state of all tables."""

    def write(self) -> AbstractContextManager[Connection]:
        """Give a connection inside a transaction that no other `write` runs beside."""

    def close(self) -> None:
        """Close every connection."""
