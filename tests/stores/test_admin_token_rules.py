"""The admin token in the database: made once, replaced, never stored itself."""

from __future__ import annotations

import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tidegate.config.digest import key_digest
from tidegate.stores.admin_token import AdminTokenStore
from tidegate.stores.agreement import agree_on_pepper
from tidegate.stores.database import DATABASE_FILE, open_database
from tidegate.stores.postgres_database import PostgresDatabase
from tidegate.stores.postgres_link import PostgresLink
from tidegate.stores.protocols import Database

PEPPER = bytes(range(32))


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


def test_of_several_that_start_at_once_one_makes_the_token(database: Database) -> None:
    """And only that one can show it."""
    database_digest = AdminTokenStore(database, PEPPER).digest
    assert database_digest() is None
    with ThreadPoolExecutor(6) as threads:
        made = threads.map(lambda _: AdminTokenStore(database, PEPPER).create_first(), range(6))
        (token,) = [one for one in made if one is not None]
    assert re.fullmatch(r"tga_[A-Za-z0-9]{43}", token)
    assert database_digest() == key_digest(PEPPER, token)


def test_a_rotated_token_takes_the_place_of_the_old_one(database: Database) -> None:
    """Whether there was one or not; the pepper's own note stays."""
    agree_on_pepper(database, PEPPER, now_ms=1)
    store = AdminTokenStore(database, PEPPER)
    first, second = store.rotate(), store.rotate()
    assert first != second
    assert store.digest() == key_digest(PEPPER, second)
    assert store.create_first() is None
    agree_on_pepper(database, PEPPER, now_ms=1)


def test_the_file_does_not_hold_the_token(tmp_path: Path) -> None:
    """Only its keyed digest."""
    database = open_database(tmp_path)
    token = AdminTokenStore(database, PEPPER).rotate()
    database.close()
    data = (tmp_path / DATABASE_FILE).read_bytes()
    assert token.encode() not in data
    assert token.removeprefix("tga_").encode() not in data
    assert key_digest(PEPPER, token) in data
