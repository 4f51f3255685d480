"""All who use a database digest keys alike, or are told at the start."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tidegate.errors import ConfigError
from tidegate.stores.agreement import agree_on_pepper
from tidegate.stores.database import open_database
from tidegate.stores.keys import KeyStore
from tidegate.stores.postgres_database import PostgresDatabase
from tidegate.stores.postgres_link import PostgresLink
from tidegate.stores.protocols import Database

OURS, THEIRS = bytes(range(32)), bytes(range(1, 33))
NOW_MS = 1_800_000_000_000


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.external)])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    """Open a fresh database."""
    opened: Database
    if request.param == "sqlite":
        opened = open_database(tmp_path)
    else:
        opened = PostgresDatabase(PostgresLink(request.getfixturevalue("postgres_url")))
    yield opened
    opened.close()


def test_the_pepper_of_the_first_is_that_of_all(database: Database) -> None:
    """While there is a key that another one would make useless."""
    agree_on_pepper(database, OURS, now_ms=NOW_MS)
    KeyStore(database, OURS).create("ci", now_ms=NOW_MS, expires_at_ms=NOW_MS + 10)
    agree_on_pepper(database, OURS, now_ms=NOW_MS)
    with pytest.raises(ConfigError, match=r"stores\.pepper: .*another secret") as caught:
        agree_on_pepper(database, THEIRS, now_ms=NOW_MS)
    assert OURS.hex() not in str(caught.value)
    agree_on_pepper(database, OURS, now_ms=NOW_MS)


def test_without_an_active_key_there_is_nothing_to_protect(database: Database) -> None:
    """Revoked and expired keys do not count: so a lost secret can be replaced."""
    agree_on_pepper(database, OURS, now_ms=NOW_MS)
    store = KeyStore(database, OURS)
    store.create("a", now_ms=NOW_MS, expires_at_ms=NOW_MS + 10)
    store.create("b", now_ms=NOW_MS)
    store.revoke("b", now_ms=NOW_MS)
    agree_on_pepper(database, THEIRS, now_ms=NOW_MS + 10)
    KeyStore(database, THEIRS).create("c", now_ms=NOW_MS + 10)
    with pytest.raises(ConfigError):
        agree_on_pepper(database, OURS, now_ms=NOW_MS + 10)
