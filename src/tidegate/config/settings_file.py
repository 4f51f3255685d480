"""Which file is read, and its content as the loader wants it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

DEFAULT_FILE: Final = "tidegate.yaml"

#: Sections that are mappings of named entries; an entry without content has all defaults.
_NAMED: Final = ("providers", "models", "limits", "keys")


def find_file(path: Path | None, cwd: Path) -> Path | None:
    """Return the absolute path of the file to read: *path*, or `tidegate.yaml` if it is there."""
    if path is not None:
        return cwd / path.expanduser()
    default = cwd / DEFAULT_FILE
    return default if default.exists() else None


def tidy(data: Mapping[str, Any]) -> dict[str, Any]:
    """Copy what the environment may add to, and read a name without content as all defaults.

    A section without content is the same as none.
    """
    raw = {name: section for name, section in data.items() if section is not None}
    for name, section in raw.items():
        if isinstance(section, dict):
            raw[name] = dict(section)
    for name in _NAMED:
        section = raw.get(name)
        if isinstance(section, dict):
            raw[name] = {
                key: {} if value is None else dict(value) if isinstance(value, dict) else value
                for key, value in section.items()
            }
    return raw
