"""The admin token of the control port: made once, replaced on demand, stored as a digest."""

from __future__ import annotations

import secrets
import string
from typing import Final

from sqlalchemy import delete, insert, select

from tidegate.config.digest import key_digest
from tidegate.stores.protocols import Connection, Database
from tidegate.stores.schema import agreements

TOKEN_PREFIX: Final = "tga_"  # noqa: S105 (what tokens start with, so that scanners see them)
_ALPHABET: Final = string.ascii_letters + string.digits
_TOKEN_CHARACTERS: Final = 43  # 62 ** 43 is just over 2 ** 256
_NAME: Final = "admin_token"
_STORED: Final = select(agreements.c.digest).where(agreements.c.name == _NAME)


class AdminTokenStore:
    """The one token of all hosts that share a database.

    Args:
        database: Where its digest is.
        pepper: What the digest is made with (`config.pepper`).
    """

    def __init__(self, database: Database, pepper: bytes) -> None:
        self._database = database
        self._pepper = pepper

    def digest(self) -> bytes | None:
        """Return the digest of the token in force (one small read); None when there is none."""
        with self._database.read() as connection:
            found = connection.execute(_STORED).scalar_one_or_none()
        return None if found is None else bytes(found)

    def create_first(self) -> str | None:
        """Make a token if there is none; of two processes only one makes it."""
        if self.digest() is not None:
            return None
        with self._database.write() as connection:
            if connection.execute(_STORED).scalar_one_or_none() is not None:
                return None
            return self._insert(connection)

    def rotate(self) -> str:
        """Make a token in place of the one in force, which opens nothing from then on."""
        with self._database.write() as connection:
            connection.execute(delete(agreements).where(agreements.c.name == _NAME))
            return self._insert(connection)

    def _insert(self, connection: Connection) -> str:
        token = TOKEN_PREFIX + "".join(secrets.choice(_ALPHABET) for _ in range(_TOKEN_CHARACTERS))
        digest = key_digest(self._pepper, token)
        connection.execute(insert(agreements).values(name=_NAME, digest=digest))
        return token
