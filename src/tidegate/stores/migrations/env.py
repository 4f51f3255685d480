"""Entry point that alembic runs. The connection, in a transaction, comes from `upgrade`."""

from __future__ import annotations

from alembic import context

from tidegate.stores.schema import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    render_as_batch=True,
)
context.run_migrations()
