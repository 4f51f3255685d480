"""Tables as they are now. How an older file gets there is in `migrations/versions`."""

from __future__ import annotations

from typing import Final

from sqlalchemy import (
    BigInteger,
    Column,
    Index,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
)

SCHEMA_VERSION: Final = "0001"
"""The newest file in `migrations/versions`; a database that says so needs no alembic."""

metadata: Final = MetaData()

keys: Final = Table(
    "keys",
    metadata,
    Column("id", String(40), primary_key=True),
    Column("name", String(100), nullable=False),
    Column("digest", LargeBinary(32), nullable=False),
    Column("display", String(40), nullable=False),
    Column("limits", Text, nullable=False),
    Column("models", Text),
    Column("team", String(100)),
    Column("created_at_ms", BigInteger, nullable=False),
    Column("expires_at_ms", BigInteger),
    Column("revoked_at_ms", BigInteger),
    UniqueConstraint("digest", name="uq_keys_digest"),
)
"""API keys. `limits` and `models` are JSON lists of names (`models` NULL: all of them);
`display` shows the ends of the secret, `digest` is all else that is kept of it. Revoked
rows stay, as the ledger's rows name them."""

Index(
    "uq_keys_active_name",
    keys.c.name,
    unique=True,
    sqlite_where=keys.c.revoked_at_ms.is_(None),
    postgresql_where=keys.c.revoked_at_ms.is_(None),
)

revisions: Final = Table(
    "revisions",
    metadata,
    Column("topic", String(40), primary_key=True),
    Column("value", BigInteger, nullable=False),
)
"""One counter a topic, raised in the transaction of each change, so that another process
sees by one small read whether it has to read more."""
