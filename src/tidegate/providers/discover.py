"""All provider rows: those in `rows/`, and those that installed packages bring."""

from __future__ import annotations

import os
from functools import lru_cache
from importlib import import_module
from types import MappingProxyType

from tidegate.providers import rows
from tidegate.providers.spec import Provider

ENTRY_POINT_GROUP = "tidegate.providers"


@lru_cache(maxsize=1)
def providers_by_name() -> MappingProxyType[str, Provider]:
    """Return every row by name, in alphabetical order; read once in a process.

    `load_settings` and `compile_snapshot` take it as `kinds`.

    A package adds rows by entry points of the group `tidegate.providers`, each of which
    names a `Provider`.

    Raises:
        ValueError: Two rows have one name, or an entry point is not a `Provider`.
    """
    found: dict[str, Provider] = {}
    for row in (*_own_rows(), *_installed_rows()):
        if row.name in found:
            raise ValueError(f"two provider rows are called {row.name!r}")
        found[row.name] = row
    return MappingProxyType(dict(sorted(found.items())))


def _own_rows() -> list[Provider]:
    found = []
    for folder in rows.__path__:
        for file in sorted(os.listdir(folder)):
            stem, dot, extension = file.partition(".")
            if dot and extension == "py" and stem != "__init__":
                found.append(import_module(f"{rows.__name__}.{stem}").PROVIDER)
    return found


def _installed_rows() -> list[Provider]:
    from importlib.metadata import entry_points  # here: 15 ms that workers do not need

    found = []
    for point in entry_points(group=ENTRY_POINT_GROUP):
        row = point.load()
        if not isinstance(row, Provider):
            raise ValueError(f"entry point {point.name!r} of {ENTRY_POINT_GROUP} is no Provider")
        found.append(row)
    return found
