"""Runs the migrations inside a transaction that the caller has begun."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import Connection

from tidegate.errors import ConfigError


def migrations() -> Config:
    """Return alembic's configuration; the scripts lie beside this file, in the wheel too."""
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    return config


def upgrade(connection: Connection, version: str | None) -> None:
    """Bring the schema from *version* (None: an empty database) to the newest.

    Raises:
        ConfigError: *version* is none that this release knows.
    """
    config = migrations()
    known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
    if version is not None and version not in known:
        reason = (
            f"the database has schema {version}, which this version does not know: "
            "it was used by a newer tidegate; go on with that one, or restore a backup"
        )
        raise ConfigError([("stores.database", reason)])
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
