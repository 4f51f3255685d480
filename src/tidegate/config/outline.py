"""What commands need of a configuration that they cannot load as a whole.

Whoever makes a key in a shell may not have the environment that the gateway runs in, so
the secrets that the file refers to are not looked up here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from tidegate.config.document import Document, read_document
from tidegate.config.environment import Overlay
from tidegate.config.provider_kind import Kinds
from tidegate.config.rules import show_name, suggest, unusable_model
from tidegate.config.secret import Sources
from tidegate.config.setting_path import show_path
from tidegate.config.settings import StoreSettings
from tidegate.config.settings_file import find_file, tidy
from tidegate.config.validation import problems_of
from tidegate.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Outline:
    """The names in a configuration, and where its state is.

    Attributes:
        path: The file, or None when there is none and all is defaults and environment.
        data_dir: Absolute `server.data_dir`.
        raw: The configuration as plain data.
        base_dir: Folder that relative paths start from.
    """

    path: Path | None
    data_dir: Path
    raw: dict[str, Any]
    base_dir: Path

    def stores(self, env: Mapping[str, str]) -> StoreSettings:
        """Return where state is kept; the only secrets that are looked up here are its own.

        Raises:
            ConfigError: It cannot be used, or refers to what *env* does not have.
        """
        try:
            return StoreSettings.model_validate(
                self.raw.get("stores") or {}, context=Sources(env, self.base_dir)
            )
        except ValidationError as error:
            problems = problems_of(error, StoreSettings)
            raise ConfigError(
                [(show_path(("stores", *path)), reason) for path, reason in problems]
            ) from None

    def key_names(self) -> list[str]:
        """Return the names of the keys that the configuration itself holds."""
        return [str(name) for name in _mapping(self.raw.get("keys"))]

    def unknown_limit(self, name: str) -> str | None:
        """Return why *name* is no limit, or None when it is one."""
        known = [str(limit) for limit in _mapping(self.raw.get("limits"))]
        return None if name in known else f"unknown limit {show_name(name)}{suggest(name, known)}"

    def unknown_model(self, name: str) -> str | None:
        """Return why no request could ask for *name*, or None when one could."""
        return unusable_model(name, self.raw)


def read_outline(path: Path | None, env: Mapping[str, str], cwd: Path, *, kinds: Kinds) -> Outline:
    """Read what `load_settings` would read, without checking or resolving it.

    Raises:
        ConfigError: The file cannot be read, or its `server.data_dir` is no path.
    """
    path = find_file(path, cwd)
    document = Document({}, {}) if path is None else read_document(path)
    raw = tidy(document.data)
    Overlay(raw, env, kinds).apply()
    data_dir = _mapping(raw.get("server")).get("data_dir", "data")
    if not isinstance(data_dir, str) or not data_dir or "\0" in data_dir:
        raise ConfigError([("server.data_dir", "must be a path")])
    base_dir = cwd if path is None else path.parent
    return Outline(path, (base_dir / Path(data_dir).expanduser()).absolute(), raw, base_dir)


def _mapping(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
