"""What all hosts that share the database must have alike."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Make the table."""
    op.create_table(
        "agreements",
        sa.Column("name", sa.String(40), primary_key=True),
        sa.Column("digest", sa.LargeBinary(32), nullable=False),
    )
