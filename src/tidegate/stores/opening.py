"""Opens the stores of a configuration, whichever database they are in."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from tidegate.config.snapshot import DatabaseSnapshot
from tidegate.ledger.store import LedgerReader, LedgerStore
from tidegate.stores.database import open_database
from tidegate.stores.ledger import SqliteLedger
from tidegate.stores.protocols import Database


class Ledger(LedgerStore, LedgerReader, Protocol):
    """A ledger that is written and read."""


@dataclass(frozen=True, slots=True)
class Stores:
    """What outlives a restart.

    Attributes:
        database: Of the keys.
        ledger: For one thread at a time.
        is_remote: It is on a server: it may be away while we are not, and others may use it.
        close: Close both.
    """

    database: Database
    ledger: Ledger
    is_remote: bool
    close: Callable[[], None]


def open_stores(
    data_dir: Path, server: DatabaseSnapshot | None, *, patience_s: float | None = None
) -> Stores:
    """Open the file in *data_dir*, or the *server* if there is one.

    A file is brought up to date now; a server is not asked for anything before its first use.

    Args:
        data_dir: The data directory.
        server: Where keys and ledger are; None means the file.
        patience_s: How long a call to the server may take, for commands that read much.

    Raises:
        ConfigError: The file cannot be used, or the server's driver is not installed.
    """
    if server is None:
        file = open_database(data_dir)
        ledger = SqliteLedger(data_dir)

        def close() -> None:
            ledger.close()
            file.close()

        return Stores(file, ledger, is_remote=False, close=close)
    # Only here: the driver is an extra, and SQLAlchemy's dialect costs each start 60 ms.
    from tidegate.stores.ledger_postgres import TRANSACTION_S, PostgresLedger
    from tidegate.stores.postgres_database import PostgresDatabase
    from tidegate.stores.postgres_link import CALL_S, PostgresLink

    link = PostgresLink(server.url, server.password, call_s=patience_s or CALL_S)
    return Stores(
        PostgresDatabase(link),
        PostgresLedger(link, transaction_s=patience_s or TRANSACTION_S),
        is_remote=True,
        close=link.close,
    )
