"""A PostgreSQL database, brought up to date by the same migrations as the file."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Final

from tidegate.errors import ConfigError
from tidegate.stores.schema import SCHEMA_VERSION

if TYPE_CHECKING:
    import asyncpg

_MIGRATION_LOCK: Final = 0x7469_6465_6761_7465  # "tidegate"


async def bring_up_to_date(connection: asyncpg.Connection) -> None:
    """Bring the schema to the newest version, in one transaction; any number of hosts may try.

    Raises:
        ConfigError: The schema is of a newer version.
    """
    async with connection.transaction():
        await connection.execute("SELECT pg_advisory_xact_lock($1)", _MIGRATION_LOCK)
        exists = await connection.fetchval("SELECT to_regclass('alembic_version') IS NOT NULL")
        version: str | None = None
        if exists:
            version = await connection.fetchval("SELECT version_num FROM alembic_version")
        if version == SCHEMA_VERSION:
            return
        if not exists:
            await connection.execute(
                "CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL)"
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
