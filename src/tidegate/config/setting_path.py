"""Where a setting stands in the configuration, and how that is shown."""

from __future__ import annotations

import re

#: Names of mappings and indices of lists, from the top: `("models", "fast", "targets", 0)`.
SettingPath = tuple[str | int, ...]

_PLAIN = re.compile(r"[A-Za-z0-9_/:@+-]+")


def show_path(path: SettingPath) -> str:
    """Return `models.fast.targets[0].provider`; odd names are quoted: `models."gpt-4.1"`."""
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        else:
            shown = part if _PLAIN.fullmatch(part) else f'"{_printable(part)}"'
            text += f".{shown}" if text else shown
    return text or "configuration"


def _printable(name: str) -> str:
    shown = "".join(char if char.isprintable() else "�" for char in name)
    return shown if len(shown) <= 100 else shown[:100] + "…"
