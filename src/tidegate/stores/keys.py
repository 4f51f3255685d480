"""API keys in the database: made, listed, revoked, and handed to the workers as digests."""

from __future__ import annotations

import secrets
import string
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec
from sqlalchemy import func, insert, or_, select, update
from typing_extensions import override

from tidegate.config.digest import key_digest
from tidegate.config.snapshot import KeySnapshot
from tidegate.stores.protocols import Connection, ConstraintViolated, Database
from tidegate.stores.schema import keys, revisions

SECRET_PREFIX: Final = "tg-"  # noqa: S105 (what secrets start with, so that scanners see them)
_ALPHABET: Final = string.ascii_letters + string.digits
_SECRET_CHARACTERS: Final = 43  # 62 ** 43 is just over 2 ** 256
_ID_ALPHABET: Final = string.ascii_lowercase + string.digits
_ID_CHARACTERS: Final = 12
_TOPIC: Final = "keys"


class KeyStoreError(Exception):
    """A change that cannot be made; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class KeyRecord:
    """One key as it is stored, without its digest.

    Attributes:
        id: `key_` and 12 characters; never used again.
        name: Chosen by its maker; unique among keys that are not revoked.
        display: The ends of the secret, `tg-Ab1…x9Yz`.
        limits: Names of limits beside the default ones.
        models: Names of models it may use; None means all.
        team: Whom it belongs to, or None.
        created_at_ms: Wall clock, Unix milliseconds, as are the next two.
        expires_at_ms: From when it is refused, or None.
        revoked_at_ms: Since when it is refused, or None.
    """

    id: str
    name: str
    display: str
    limits: tuple[str, ...]
    models: tuple[str, ...] | None
    team: str | None
    created_at_ms: int
    expires_at_ms: int | None
    revoked_at_ms: int | None

    def state(self, now_ms: int) -> str:
        """Return `active`, `expired` or `revoked`."""
        if self.revoked_at_ms is not None:
            return "revoked"
        if self.expires_at_ms is not None and self.expires_at_ms <= now_ms:
            return "expired"
        return "active"


@dataclass(frozen=True, slots=True)
class CreatedKey:
    """A new key and its secret, which is nowhere else and cannot be shown again."""

    record: KeyRecord
    secret: str

    @override
    def __repr__(self) -> str:
        return f"CreatedKey(record={self.record!r}, secret=…)"


def new_secret() -> str:
    """Return 256 random bits as `tg-` and 43 letters and digits (one double click selects it)."""
    return SECRET_PREFIX + "".join(secrets.choice(_ALPHABET) for _ in range(_SECRET_CHARACTERS))


class KeyStore:
    """The table of keys. Every change is on disk, and seen by `version`, when it returns.

    Args:
        database: Where the table is.
        pepper: What digests are made with (`config.pepper`); another one, other digests.
    """

    def __init__(self, database: Database, pepper: bytes) -> None:
        self._database = database
        self._pepper = pepper

    def create(
        self,
        name: str,
        *,
        now_ms: int,
        limits: Sequence[str] = (),
        models: Sequence[str] | None = None,
        team: str | None = None,
        expires_at_ms: int | None = None,
    ) -> CreatedKey:
        """Make a key.

        Raises:
            KeyStoreError: A key that is not revoked has this name.
        """
        try:
            with self._database.write() as connection:
                return self._insert(connection, name, now_ms, limits, models, team, expires_at_ms)
        except ConstraintViolated:
            raise KeyStoreError(
                f"there is a key named {name!r}; revoke it first, or take another name"
            ) from None

    def create_first(self, name: str, *, now_ms: int) -> CreatedKey | None:
        """Make a key if there has never been one; of two processes only one makes it."""
        with self._database.write() as connection:
            if connection.execute(select(keys.c.id).limit(1)).first() is not None:
                return None
            return self._insert(connection, name, now_ms, (), None, None, None)

    def list(self) -> tuple[KeyRecord, ...]:
        """Return every key, revoked ones too, oldest first."""
        with self._database.read() as connection:
            rows = connection.execute(select(keys).order_by(keys.c.created_at_ms, keys.c.id)).all()
        return tuple(_record(row) for row in rows)

    def revoke(self, name_or_id: str, *, now_ms: int) -> KeyRecord:
        """Refuse a key from now on, for good.

        Raises:
            KeyStoreError: No key has this name or id, or it is revoked already.
        """
        with self._database.write() as connection:
            row = connection.execute(
                select(keys)
                .where(or_(keys.c.id == name_or_id, keys.c.name == name_or_id))
                # An id goes before a name that looks like one, an active key before a revoked.
                .order_by((keys.c.id == name_or_id).desc(), keys.c.revoked_at_ms.is_not(None))
                .limit(1)
            ).first()
            if row is None:
                raise KeyStoreError(f"no key has the name or id {name_or_id!r}")
            if row.revoked_at_ms is not None:
                raise KeyStoreError(f"key {row.name!r} ({row.id}) is revoked already")
            connection.execute(update(keys).where(keys.c.id == row.id).values(revoked_at_ms=now_ms))
            _raise_version(connection)
            row = connection.execute(select(keys).where(keys.c.id == row.id)).first()
        return _record(row)

    def all_active(self, *, now_ms: int) -> tuple[KeySnapshot, ...]:
        """Return the digests of all keys that are neither revoked nor expired."""
        query = select(keys).where(
            keys.c.revoked_at_ms.is_(None),
            or_(keys.c.expires_at_ms.is_(None), keys.c.expires_at_ms > now_ms),
        )
        with self._database.read() as connection:
            rows = connection.execute(query.order_by(keys.c.created_at_ms, keys.c.id)).all()
        return tuple(
            KeySnapshot(
                id=row.id,
                name=row.name,
                digest=row.digest,
                limits=_names(row.limits),
                models=None if row.models is None else _names(row.models),
                team=row.team,
                expires_at_ms=row.expires_at_ms,
            )
            for row in rows
        )

    def has_active(self, *, now_ms: int) -> bool:
        """Whether any key is neither revoked nor expired."""
        query = select(func.count()).where(
            keys.c.revoked_at_ms.is_(None),
            or_(keys.c.expires_at_ms.is_(None), keys.c.expires_at_ms > now_ms),
        )
        with self._database.read() as connection:
            return bool(connection.execute(query).scalar_one())

    def version(self) -> int:
        """Return a number that grows with each change, by any process (one small read)."""
        query = select(revisions.c.value).where(revisions.c.topic == _TOPIC)
        with self._database.read() as connection:
            return int(connection.execute(query).scalar_one_or_none() or 0)

    def _insert(
        self,
        connection: Connection,
        name: str,
        now_ms: int,
        limits: Sequence[str],
        models: Sequence[str] | None,
        team: str | None,
        expires_at_ms: int | None,
    ) -> CreatedKey:
        secret = new_secret()
        record = KeyRecord(
            id="key_" + "".join(secrets.choice(_ID_ALPHABET) for _ in range(_ID_CHARACTERS)),
            name=name,
            display=f"{secret[:6]}…{secret[-4:]}",
            limits=tuple(limits),
            models=None if models is None else tuple(models),
            team=team,
            created_at_ms=now_ms,
            expires_at_ms=expires_at_ms,
            revoked_at_ms=None,
        )
        connection.execute(
            insert(keys).values(
                id=record.id,
                name=name,
                digest=key_digest(self._pepper, secret),
                display=record.display,
                limits=_json(record.limits),
                models=None if record.models is None else _json(record.models),
                team=team,
                created_at_ms=now_ms,
                expires_at_ms=expires_at_ms,
            )
        )
        _raise_version(connection)
        return CreatedKey(record, secret)


def _raise_version(connection: Connection) -> None:
    raised = connection.execute(
        update(revisions).where(revisions.c.topic == _TOPIC).values(value=revisions.c.value + 1)
    )
    if raised.rowcount == 0:
        connection.execute(insert(revisions).values(topic=_TOPIC, value=1))


def _record(row: Any) -> KeyRecord:
    return KeyRecord(
        id=row.id,
        name=row.name,
        display=row.display,
        limits=_names(row.limits),
        models=None if row.models is None else _names(row.models),
        team=row.team,
        created_at_ms=row.created_at_ms,
        expires_at_ms=row.expires_at_ms,
        revoked_at_ms=row.revoked_at_ms,
    )


def _json(names: tuple[str, ...]) -> str:
    return msgspec.json.encode(names).decode()


def _names(text: str) -> tuple[str, ...]:
    return msgspec.json.decode(text, type=tuple[str, ...])
