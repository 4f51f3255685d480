"""A PostgreSQL database, brought up to date by the same migrations as the file."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Final

from tidegate.errors import ConfigError
from tidegate.stores.schema import SCHEMA_VERSION

if TYPE_CHECKING:
    import asyncpg

_MIGRATION_LOCK: Final = 0x7469_6465_6761_7465  # "tidegate"

_HAS_VERSION: Final = (
    "SELECT EXISTS (SELECT FROM pg_catalog.pg_tables WHERE tablename = 'alembic_version' "
    "AND schemaname = ANY (current_schemas(false)))"
)


async def is_current(connection: asyncpg.Connection) -> bool:
    """Whether the schema is the newest, so that nobody has to wait for anybody."""
    return await _version(connection) == SCHEMA_VERSION


async def _version(connection: asyncpg.Connection) -> str | None:
    """Return the version that the schema says it has; None without any."""
    # Read as a row, not by `to_regclass`: that may remember a "no" from before a wait for the
    # lock, in which another host has made the table.
    if not await connection.fetchval(_HAS_VERSION):
        return None
    found = await connection.fetchval("SELECT version_num FROM alembic_version")
    return None if found is None else str(found)


async def bring_up_to_date(connection: asyncpg.Connection) -> None:
    """Bring the schema to the newest version, in one transaction; any number of hosts may try.

    Raises:
        ConfigError: The schema is of a newer version, or the database cannot hold every text.
    """
    encoding = await connection.fetchval("SHOW server_encoding")
    if encoding != "UTF8":
        # A name outside of it would stop the ledger at the batch that holds it.
        reason = f"the database's encoding is {encoding}: make it with `createdb --encoding UTF8`"
        raise ConfigError([("stores.database", reason)])
    async with connection.transaction():
        await connection.execute("SELECT pg_advisory_xact_lock($1)", _MIGRATION_LOCK)
        version = await _version(connection)
        if version == SCHEMA_VERSION:
            return
        await connection.execute(
            "CREATE TABLE IF NOT EXISTS alembic_version (version_num VARCHAR(32) NOT NULL)"
        )
        await connection.execute(migration_sql(version))
        await connection.execute("DELETE FROM alembic_version")
        await connection.execute("INSERT INTO alembic_version VALUES ($1)", SCHEMA_VERSION)


def migration_sql(version: str | None) -> str:
    """Return the statements that lead from *version* (None: nothing) to the newest schema.

    Alembic writes them without a connection: its own way to asyncpg would need greenlet.

    Raises:
        ConfigError: *version* is none that this release knows.
    """
    # Only here: alembic costs 120 ms that a start without migration must not pay.
    from alembic.migration import MigrationContext
    from alembic.operations import Operations
    from alembic.script import ScriptDirectory

    from tidegate.stores.migrations.upgrade import migrations

    scripts = ScriptDirectory.from_config(migrations())
    steps = list(scripts.walk_revisions())[::-1]
    known = [step.revision for step in steps]
    if version is not None and version not in known:
        reason = (
            f"the database has schema {version}, which this version does not know: "
            "it was used by a newer tidegate; go on with that one, or restore a backup"
        )
        raise ConfigError([("stores.database", reason)])
    statements = io.StringIO()
    context = MigrationContext.configure(
        dialect_name="postgresql", opts={"as_sql": True, "output_buffer": statements}
    )
    with Operations.context(context):
        for step in steps[0 if version is None else known.index(version) + 1 :]:
            step.module.upgrade()
    return statements.getvalue()
