"""A server that answers, one that does not, and one that says no."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import pytest
from sqlalchemy import insert, text
from tests.postgres_server import PostgresServer

from tidegate.errors import ConfigError
from tidegate.stores.postgres_database import PostgresDatabase
from tidegate.stores.postgres_link import PostgresLink
from tidegate.stores.protocols import ConstraintViolated, StoreError
from tidegate.stores.schema import SCHEMA_VERSION, revisions

pytestmark = pytest.mark.external


@pytest.fixture
def link(postgres_url: str) -> Iterator[PostgresLink]:
    """Connections with short deadlines to an empty database."""
    link = PostgresLink(postgres_url, connect_s=1.0, call_s=0.5)
    yield link
    link.close()


@pytest.fixture
def database(link: PostgresLink) -> PostgresDatabase:
    """Transactions on it."""
    return PostgresDatabase(link)


def names_in(database: PostgresDatabase) -> set[str]:
    """Return what `put` has put."""
    with database.read() as connection:
        return {row.topic for row in connection.execute(text("SELECT topic FROM revisions")).all()}


def put(database: PostgresDatabase, topic: str) -> None:
    """Write one row."""
    with database.write() as connection:
        connection.execute(insert(revisions).values(topic=topic, value=1))


def test_a_block_that_fails_leaves_nothing(database: PostgresDatabase) -> None:
    """All of a block, or nothing of it; the next one goes on as if nothing had been."""

    def write_half() -> None:
        with database.write() as connection:
            connection.execute(insert(revisions).values(topic="half", value=1))
            raise RuntimeError

    with pytest.raises(RuntimeError):
        write_half()
    put(database, "whole")
    assert names_in(database) == {"whole"}


def test_writers_of_all_hosts_come_one_after_the_other(database: PostgresDatabase) -> None:
    """What one reads before it writes is still so when it writes."""

    def add_one() -> None:
        other = PostgresDatabase(PostgresLink(database._link._url))
        for _ in range(10):
            with other.write() as connection:
                seen = connection.execute(text("SELECT max(value) FROM revisions")).scalar_one()
                connection.execute(insert(revisions).values(topic=f"t{seen}", value=seen + 1))
        other.close()

    put(database, "first")
    hosts = [threading.Thread(target=add_one) for _ in range(4)]
    for host in hosts:
        host.start()
    for host in hosts:
        host.join(30)
    assert len(names_in(database)) == 41


def test_a_frozen_server_costs_a_caller_its_deadline(
    database: PostgresDatabase, postgres_server: PostgresServer
) -> None:
    """With a connection that was there, and with a new one; afterwards all is as before."""
    put(database, "before")
    with postgres_server.frozen():
        began_s = time.monotonic()
        with pytest.raises(StoreError, match=r"no answer within 0\.5 s"):
            names_in(database)
        assert 0.4 < time.monotonic() - began_s < 1.5
        began_s = time.monotonic()
        with pytest.raises(StoreError, match="the server does not answer"):
            names_in(database)
        assert 0.9 < time.monotonic() - began_s < 2.5
    put(database, "after")
    assert names_in(database) == {"before", "after"}


def test_a_server_that_was_restarted_is_found_again(
    database: PostgresDatabase, postgres_server: PostgresServer
) -> None:
    """While it is down, the reason is told; the first call afterwards works."""
    put(database, "before")
    postgres_server.stop()
    try:
        with pytest.raises(StoreError) as caught:
            put(database, "lost")
        with pytest.raises(StoreError, match="Connect"):
            put(database, "lost")
    finally:
        postgres_server.start()
    assert not caught.value.refused
    put(database, "after")
    assert names_in(database) == {"before", "after"}


def test_errors_hold_no_values(database: PostgresDatabase) -> None:
    """A statement's parameters may be names of customers."""
    put(database, "private")
    with pytest.raises(ConstraintViolated) as violated:
        put(database, "private")
    with pytest.raises(StoreError) as broken, database.read() as connection:
        connection.execute(text("SELECT CAST('private' AS INTEGER)"))
    for caught in (violated, broken):
        assert "private" not in str(caught.value)
        assert caught.value.__cause__ is None
    assert "SQLSTATE 22P02" in str(broken.value)


def test_what_waiting_cannot_help_is_told_apart(postgres_server: PostgresServer) -> None:
    """A database that is not there; an outage is another thing."""
    link = PostgresLink(postgres_server.dsn.removesuffix("postgres") + "nowhere")
    with pytest.raises(StoreError, match="3D000") as caught:
        names_in(PostgresDatabase(link))
    link.close()
    assert caught.value.refused


def test_hosts_that_start_at_once_migrate_once(postgres_server: PostgresServer) -> None:
    """Each in a process of its own, on a database that none has seen."""
    url = postgres_server.new_database()
    code = (
        "import sys\n"
        "from tidegate.stores.keys import KeyStore\n"
        "from tidegate.stores.postgres_database import PostgresDatabase\n"
        "from tidegate.stores.postgres_link import PostgresLink\n"
        "sys.stdin.read(1)\n"
        "link = PostgresLink(sys.argv[1])\n"
        "KeyStore(PostgresDatabase(link), bytes(32)).create(sys.argv[2], now_ms=1)\n"
        "link.close()\n"
    )
    hosts = [
        subprocess.Popen(
            [sys.executable, "-W", "error", "-c", code, url, str(number)],
            stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        for number in range(3)
    ]  # fmt: skip
    for host in hosts:
        assert host.stdin is not None
        host.stdin.write("x")
        host.stdin.flush()
    told = [host.communicate(timeout=40)[1] for host in hosts]
    assert [host.returncode for host in hosts] == [0, 0, 0], told
    assert postgres_server.query("SELECT version_num FROM alembic_version", url) == [
        (SCHEMA_VERSION,)
    ]
    assert postgres_server.query("SELECT count(*) FROM keys", url) == [("3",)]


def test_a_migration_that_fails_leaves_nothing(
    database: PostgresDatabase, postgres_server: PostgresServer
) -> None:
    """Tables and version appear together, or not at all."""
    url = database._link._url
    postgres_server.query("CREATE TABLE ledger_state (other INTEGER)", url)
    with pytest.raises(StoreError, match="ledger_state"):
        names_in(database)
    found = postgres_server.query("SELECT tablename FROM pg_tables WHERE schemaname='public'", url)
    assert found == [("ledger_state",)]
    postgres_server.query("DROP TABLE ledger_state", url)
    assert names_in(database) == set()


def test_a_database_that_cannot_hold_every_text_is_refused(
    postgres_server: PostgresServer,
) -> None:
    """Before the ledger stands still at a name that does not fit."""
    postgres_server.query(
        "CREATE DATABASE narrow ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0"
    )
    link = PostgresLink(postgres_server.dsn.removesuffix("postgres") + "narrow")
    with pytest.raises(ConfigError, match=r"encoding is LATIN1.*UTF8"):
        names_in(PostgresDatabase(link))
    link.close()


def test_the_driver_is_named_when_it_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    """By the extra that brings it, as a problem of the configuration."""
    monkeypatch.setitem(sys.modules, "asyncpg", None)
    with pytest.raises(ConfigError, match=r"pip install 'tidegate\[postgres\]'"):
        PostgresLink("postgresql://h/d")
