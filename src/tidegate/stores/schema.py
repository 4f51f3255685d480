"""Tables as they are now. How an older file gets there is in `migrations/versions`."""

from __future__ import annotations

from typing import Final

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
)

SCHEMA_VERSION: Final = "0003"
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

ledger_attempts: Final = Table(
    "ledger_attempts",
    metadata,
    Column("attempt_id", Text, primary_key=True),
    Column("ordinal", Integer, nullable=False),
    Column("opened_at_ms", BigInteger, nullable=False),
    Column("key_id", Text, nullable=False),
    Column("endpoint", Text, nullable=False),
    Column("model", Text, nullable=False),
    Column("provider", Text, nullable=False),
    Column("target_model", Text, nullable=False),
    Column("stream", Boolean, nullable=False),
    Column("estimate_tokens", BigInteger, nullable=False),
    Column("estimate_nano_usd", BigInteger),
    Column("price_version", Text, nullable=False),
    Column("instance", Text, nullable=False),
    Column("writer", Text, nullable=False),
    Column("settled_at_ms", BigInteger),
    Column("outcome", Text),
    Column("status", Integer, nullable=False),
    Column("input_tokens", BigInteger, nullable=False),
    Column("cached_input_tokens", BigInteger, nullable=False),
    Column("cache_write_tokens", BigInteger, nullable=False),
    Column("output_tokens", BigInteger, nullable=False),
    Column("reasoning_tokens", BigInteger, nullable=False),
    Column("usage_source", Text, nullable=False),
    Column("cost_nano_usd", BigInteger),
    Column("ttft_ms", BigInteger),
    Column("duration_ms", BigInteger, nullable=False),
    Column("delivered_bytes", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)
"""One row for each upstream attempt; `outcome` NULL while it runs. Attempt ids are in the
order of time, so the table grows at its end. `ledger.records` says what the columns mean."""

Index("ix_ledger_attempts_opened", ledger_attempts.c.opened_at_ms)
Index(
    "ix_ledger_attempts_open",
    ledger_attempts.c.instance,
    sqlite_where=ledger_attempts.c.outcome.is_(None),
    postgresql_where=ledger_attempts.c.outcome.is_(None),
)

ledger_rollups: Final = Table(
    "ledger_rollups",
    metadata,
    Column("hour_ms", BigInteger, primary_key=True),
    Column("key_id", Text, primary_key=True),
    Column("model", Text, primary_key=True),
    Column("requests", BigInteger, nullable=False),
    Column("attempts", BigInteger, nullable=False),
    Column("settled", BigInteger, nullable=False),
    Column("succeeded", BigInteger, nullable=False),
    Column("interrupted", BigInteger, nullable=False),
    Column("unpriced", BigInteger, nullable=False),
    Column("input_tokens", BigInteger, nullable=False),
    Column("cached_input_tokens", BigInteger, nullable=False),
    Column("cache_write_tokens", BigInteger, nullable=False),
    Column("output_tokens", BigInteger, nullable=False),
    Column("reasoning_tokens", BigInteger, nullable=False),
    Column("cost_nano_usd", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)
"""Sums of the rows by hour of their opening, key and model; always equal to the rows, as both
change in one transaction. Tokens and cost count when an attempt is settled."""

ledger_positions: Final = Table(
    "ledger_positions",
    metadata,
    Column("instance", Text, primary_key=True),
    Column("file", Text, primary_key=True),
    Column("position", BigInteger, nullable=False),
    Column("done", Boolean, nullable=False),
    sqlite_with_rowid=False,
)
"""Up to which byte each journal file is in the rows."""

ledger_state: Final = Table(
    "ledger_state",
    metadata,
    Column("name", Text, primary_key=True),
    Column("value", BigInteger, nullable=False),
)
"""`rows_from_ms`: hours before it have rollups, but no longer all of their rows."""

agreements: Final = Table(
    "agreements",
    metadata,
    Column("name", String(40), primary_key=True),
    Column("digest", LargeBinary(32), nullable=False),
)
"""Digests of what all hosts that share the database have alike: the pepper, the admin token."""
