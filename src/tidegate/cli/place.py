"""Where a command finds keys and ledger: the options, the file, and the environment say."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from tidegate.config.outline import Outline
    from tidegate.config.secret import Secret
    from tidegate.config.snapshot import DatabaseSnapshot
    from tidegate.stores.opening import Stores

PATIENCE_S = 60.0
"""How long a person at a shell waits for a server's answer to one question."""


class Place(NamedTuple):
    """The stores of a configuration, not opened yet.

    Attributes:
        folder: The data directory.
        server: Where keys and ledger are; None for the file in `folder`.
        pepper: `stores.pepper`, if it is set.
    """

    folder: Path
    server: DatabaseSnapshot | None
    pepper: Secret | None

    @property
    def name(self) -> str:
        """What messages call the database."""
        return f"in {self.folder}" if self.server is None else self.server.name

    @property
    def where(self) -> str:
        """The same behind a verb: `in /var/lib/tidegate`, `in PostgreSQL at …`."""
        return self.name if self.server is None else f"in {self.server.name}"

    @property
    def exists(self) -> bool:
        """Whether there is a database; a server is believed to have one."""
        from tidegate.stores.database import DATABASE_FILE

        return self.server is not None or (self.folder / DATABASE_FILE).exists()

    def open(self) -> Stores:
        """Open the stores; raises `ConfigError`."""
        from tidegate.stores.opening import open_stores

        return open_stores(self.folder, self.server, patience_s=PATIENCE_S)


def read_outline_of(config: Path | None) -> Outline:
    """Read the names in the configuration; raises `ConfigError`."""
    from tidegate.config.outline import read_outline
    from tidegate.providers.discover import providers_by_name

    return read_outline(config, os.environ, Path.cwd(), kinds=providers_by_name())


def find_place(outline: Outline, data_dir: Path | None) -> Place:
    """Return where the stores are; *data_dir* goes before the file's. Raises `ConfigError`."""
    from tidegate.config.compile import database_snapshot

    folder = outline.data_dir if data_dir is None else data_dir.expanduser().absolute()
    stores = outline.stores(os.environ)
    return Place(folder, database_snapshot(stores), stores.pepper)
