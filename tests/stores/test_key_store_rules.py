"""Keys are stored as digests, change at once for all, and never come back."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import select
from tests.postgres_server import PostgresServer

from tidegate.config.digest import key_digest
from tidegate.config.snapshot import KeySnapshot
from tidegate.stores.database import open_database
from tidegate.stores.keys import CreatedKey, KeyStore, KeyStoreError, new_secret
from tidegate.stores.postgres_database import PostgresDatabase
from tidegate.stores.postgres_link import PostgresLink
from tidegate.stores.protocols import Database
from tidegate.stores.schema import keys

PEPPER = bytes(range(32))
NOW_MS = 1_800_000_000_000


Opener = Callable[[], Database]


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.external)])
def opener(request: pytest.FixtureRequest, tmp_path: Path) -> Opener:
    """Return what opens one database again and again, as every process does for itself."""
    if request.param == "sqlite":
        return lambda: open_database(tmp_path)
    url = request.getfixturevalue("postgres_url")
    return lambda: PostgresDatabase(PostgresLink(url))


@pytest.fixture
def database(opener: Opener) -> Iterator[Database]:
    """Open a fresh database."""
    opened = opener()
    yield opened
    opened.close()


@pytest.fixture
def store(database: Database) -> KeyStore:
    """Return the key store of that database."""
    return KeyStore(database, PEPPER)


def test_a_created_key_is_active_with_all_it_was_given(store: KeyStore) -> None:
    """Its digest is that of the secret handed out."""
    created = store.create(
        "ci", now_ms=NOW_MS, limits=["a", "b"], models=["m"], team="t", expires_at_ms=NOW_MS + 1
    )
    assert re.fullmatch(r"tg-[A-Za-z0-9]{43}", created.secret)
    assert re.fullmatch(r"key_[a-z0-9]{12}", created.record.id)
    assert store.all_active(now_ms=NOW_MS) == (
        KeySnapshot(
            id=created.record.id,
            name="ci",
            digest=key_digest(PEPPER, created.secret),
            limits=("a", "b"),
            models=("m",),
            team="t",
            expires_at_ms=NOW_MS + 1,
        ),
    )
    assert store.list() == (created.record,)
    assert created.record.state(NOW_MS) == "active"


def test_no_models_and_all_models_are_not_the_same(store: KeyStore) -> None:
    """An empty list that became `all` would open every model."""
    store.create("none", now_ms=NOW_MS, models=[])
    store.create("all", now_ms=NOW_MS + 1, models=None)
    assert [key.models for key in store.all_active(now_ms=NOW_MS)] == [(), None]


def test_secrets_are_never_written(store: KeyStore, database: Database, tmp_path: Path) -> None:
    """Not in a row, a file or its log, not in any representation."""
    created = store.create("ci", now_ms=NOW_MS)
    middle = created.secret[8:-6]
    assert all(middle.encode() not in path.read_bytes() for path in tmp_path.iterdir())
    with database.read() as connection:
        assert middle not in repr(connection.execute(select(keys)).all())
    assert created.secret not in repr(created) + repr(store.list())
    assert created.record.display == f"{created.secret[:6]}…{created.secret[-4:]}"


def test_secrets_differ() -> None:
    """And carry 256 bits: 62 ** 43 > 2 ** 256."""
    assert len({new_secret() for _ in range(1000)}) == 1000
    assert 62**43 > 2**256


def test_a_name_is_taken_until_its_key_is_revoked(store: KeyStore) -> None:
    """Then it may be used again; the old row stays, as the ledger names it."""
    first = store.create("ci", now_ms=NOW_MS)
    with pytest.raises(KeyStoreError, match="there is a key named 'ci'"):
        store.create("ci", now_ms=NOW_MS)
    assert store.revoke("ci", now_ms=NOW_MS + 1).id == first.record.id
    second = store.create("ci", now_ms=NOW_MS + 2)
    assert [(record.id, record.state(NOW_MS)) for record in store.list()] == [
        (first.record.id, "revoked"),
        (second.record.id, "active"),
    ]
    assert [key.id for key in store.all_active(now_ms=NOW_MS)] == [second.record.id]


def test_the_active_key_of_a_name_is_revoked_not_its_forerunner(store: KeyStore) -> None:
    """Whoever types a name means the one that works."""
    old = store.create("ci", now_ms=NOW_MS)
    store.revoke("ci", now_ms=NOW_MS)
    new = store.create("ci", now_ms=NOW_MS)
    assert store.revoke("ci", now_ms=NOW_MS).id == new.record.id
    assert store.all_active(now_ms=NOW_MS) == ()
    with pytest.raises(KeyStoreError, match="revoked already"):
        store.revoke(old.record.id, now_ms=NOW_MS)


def test_an_id_goes_before_a_name_that_looks_like_it(store: KeyStore) -> None:
    """A key cannot shield another from being revoked by taking its id as a name."""
    first = store.create("ci", now_ms=NOW_MS)
    store.create(first.record.id, now_ms=NOW_MS)
    assert store.revoke(first.record.id, now_ms=NOW_MS).name == "ci"


@pytest.mark.parametrize("name", ["", "nobody", "%", "' OR 1=1 --", "key_000000000000"])
def test_an_unknown_name_revokes_nothing(store: KeyStore, name: str) -> None:
    """Neither patterns nor quotes mean anything."""
    store.create("ci", now_ms=NOW_MS)
    with pytest.raises(KeyStoreError, match="no key has the name or id"):
        store.revoke(name, now_ms=NOW_MS)
    assert store.has_active(now_ms=NOW_MS)


def test_an_expired_key_is_not_active(store: KeyStore) -> None:
    """From the very millisecond on."""
    created = store.create("ci", now_ms=NOW_MS, expires_at_ms=NOW_MS + 10)
    assert store.has_active(now_ms=NOW_MS + 9)
    assert not store.has_active(now_ms=NOW_MS + 10)
    assert store.all_active(now_ms=NOW_MS + 10) == ()
    assert created.record.state(NOW_MS + 10) == "expired"


def test_the_first_key_is_made_once(store: KeyStore) -> None:
    """And not again when it is revoked: that would undo what the operator did."""
    created = store.create_first("first", now_ms=NOW_MS)
    assert created is not None
    assert store.create_first("first", now_ms=NOW_MS) is None
    store.revoke("first", now_ms=NOW_MS)
    assert store.create_first("first", now_ms=NOW_MS) is None


def test_each_change_raises_the_version_for_every_reader(store: KeyStore, opener: Opener) -> None:
    """Also for one with a connection of its own, as the gateway has beside the command."""
    other = opener()
    reader = KeyStore(other, PEPPER)
    seen = [reader.version()]
    store.create("a", now_ms=NOW_MS)
    seen.append(reader.version())
    store.revoke("a", now_ms=NOW_MS)
    seen.append(reader.version())
    with pytest.raises(KeyStoreError):
        store.revoke("a", now_ms=NOW_MS)
    seen.append(reader.version())
    other.close()
    assert seen == [0, 1, 2, 2]


def test_of_hosts_that_start_at_once_one_makes_the_first_key(opener: Opener) -> None:
    """On a database that none of them has seen: each would print a key of its own otherwise."""
    gate = threading.Barrier(4)
    made: list[object] = []

    def start() -> None:
        gate.wait(10)
        database = opener()
        try:
            made.append(KeyStore(database, PEPPER).create_first("first", now_ms=NOW_MS))
        except BaseException as error:
            made.append(error)
        finally:
            database.close()

    hosts = [threading.Thread(target=start) for _ in range(4)]
    for host in hosts:
        host.start()
    for host in hosts:
        host.join(30)
    assert len(made) == 4
    assert [kind for kind in map(type, made) if kind is not type(None)] == [CreatedKey]


@pytest.mark.external
def test_a_key_of_one_host_works_on_all(postgres_server: PostgresServer) -> None:
    """Hosts with the same pepper keep the same digests."""
    url = postgres_server.new_database()
    one, two = (PostgresDatabase(PostgresLink(url)) for _ in range(2))
    created = KeyStore(one, PEPPER).create("ci", now_ms=NOW_MS)
    (seen,) = KeyStore(two, PEPPER).all_active(now_ms=NOW_MS)
    assert seen.digest == key_digest(PEPPER, created.secret)
    one.close()
    two.close()
