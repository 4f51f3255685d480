"""Makes sure that all who use a database make key digests with the same pepper.

With another one, no key that is stored would be known, and keys made now would be unknown
to the others: that must be a reason at the start, not a refusal of every request.
"""

from __future__ import annotations

from _blake2 import blake2b
from typing import Final

from sqlalchemy import delete, insert, or_, select

from tidegate.errors import ConfigError
from tidegate.stores.protocols import Connection, Database
from tidegate.stores.schema import agreements, keys

_PEPPER: Final = "pepper"
_REASON: Final = (
    "the keys in this database were made with another secret, so none of them would be known "
    "here: give every host the same `stores.pepper`, or the same secret.key in its data "
    "directory (if that secret is lost, revoke all keys first)"
)


def agree_on_pepper(database: Database, pepper: bytes, *, now_ms: int) -> None:
    """Note that *pepper* is the one of this database, or refuse it if another one is.

    The note is a digest, from which the pepper cannot be found. When no key is active any
    more, there is nothing that another pepper could break: it takes the place of the old one.

    Raises:
        ConfigError: The active keys were made with another pepper.
        StoreError: The database cannot be used now.
    """
    mark = blake2b(key=pepper, digest_size=16, person=b"tidegate-agreed").digest()
    query = select(agreements.c.digest).where(agreements.c.name == _PEPPER)
    with database.read() as connection:
        if connection.execute(query).scalar_one_or_none() == mark:
            return
    with database.write() as connection:
        noted = connection.execute(query).scalar_one_or_none()
        if noted == mark:
            return
        if noted is not None and _has_active_key(connection, now_ms):
            raise ConfigError([("stores.pepper", _REASON)])
        connection.execute(delete(agreements).where(agreements.c.name == _PEPPER))
        connection.execute(insert(agreements).values(name=_PEPPER, digest=mark))


def _has_active_key(connection: Connection, now_ms: int) -> bool:
    query = select(keys.c.id).where(
        keys.c.revoked_at_ms.is_(None),
        or_(keys.c.expires_at_ms.is_(None), keys.c.expires_at_ms > now_ms),
    )
    return connection.execute(query.limit(1)).first() is not None
