"""API keys, and the counters that tell other processes of a change."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Make the two tables of the first release."""
    op.create_table(
        "keys",
        sa.Column("id", sa.String(40), primary_key=True),
        sa.Column("name", sa.String(100), nullable=False),
        sa.Column("digest", sa.LargeBinary(32), nullable=False),
        sa.Column("display", sa.String(40), nullable=False),
        sa.Column("limits", sa.Text, nullable=False),
        sa.Column("models", sa.Text),
        sa.Column("team", sa.String(100)),
        sa.Column("created_at_ms", sa.BigInteger, nullable=False),
        sa.Column("expires_at_ms", sa.BigInteger),
        sa.Column("revoked_at_ms", sa.BigInteger),
        sa.UniqueConstraint("digest", name="uq_keys_digest"),
    )
    op.create_index(
        "uq_keys_active_name",
        "keys",
        ["name"],
        unique=True,
        sqlite_where=sa.text("revoked_at_ms IS NULL"),
        postgresql_where=sa.text("revoked_at_ms IS NULL"),
    )
    op.create_table(
        "revisions",
        sa.Column("topic", sa.String(40), primary_key=True),
        sa.Column("value", sa.BigInteger, nullable=False),
    )
