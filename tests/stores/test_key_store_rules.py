"""Keys are stored as digests, change at once for all, and never come back."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tidegate.config.digest import key_digest
from tidegate.config.snapshot import KeySnapshot
from tidegate.stores.database import Database, open_database
from tidegate.stores.keys import KeyStore, KeyStoreError, new_secret

PEPPER = bytes(range(32))
NOW_MS = 1_800_000_000_000


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    """Open a fresh database."""
    opened = open_database(tmp_path)
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


def test_secrets_are_never_written(store: KeyStore, tmp_path: Path) -> None:
    """Not in the file, not in its log, not in any representation."""
    created = store.create("ci", now_ms=NOW_MS)
    middle = created.secret[8:-6].encode()
    assert all(middle not in path.read_bytes() for path in tmp_path.iterdir())
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


def test_each_change_raises_the_version_for_every_reader(store: KeyStore, tmp_path: Path) -> None:
    """Also for one with a connection of its own, as the gateway has beside the command."""
    other = open_database(tmp_path)
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
