"""Numbers and texts as a terminal shows them: three figures, a unit, nothing that steers it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal

NOTHING: Final = "–"
_BLOCKS: Final = " ▁▂▃▄▅▆▇█"
_STEPS: Final = len(_BLOCKS) - 1


def plain(text: str) -> str:
    """Return *text* without anything that a terminal obeys: escapes, controls, line ends."""
    return "".join(char if char.isprintable() else "�" for char in text)


def cut(text: str, width: int) -> str:
    """Return *text* in at most *width* characters, the last one `…` if some are missing."""
    if len(text) <= width:
        return text
    return text[: max(0, width - 1)] + "…" if width > 0 else ""


def three(value: float) -> str:
    """Return three figures and, from a thousand on, k, M or G: `0.52`, `12.3`, `1.20k`."""
    for unit in ("", "k", "M"):
        if value < 999.5:
            return _figures(value) + unit
        value /= 1000
    return _figures(value) + "G"


def _figures(value: float) -> str:
    if value < 0.005:
        return "0"
    digits = 2 if value < 9.995 else 1 if value < 99.95 else 0
    return f"{value:.{digits}f}"


def count(value: int) -> str:
    """Return a number of things: `17`, `1.20k`."""
    return str(value) if value < 1000 else three(value)


def quantity(value: float | None, unit: str = "") -> str:
    """Return `12.3 /s`; `–` for None."""
    if value is None:
        return NOTHING
    return f"{three(value)} {unit}" if unit else three(value)


def percent(ratio: float | None) -> str:
    """Return a ratio as `99.8 %`; never 100 % for less."""
    if ratio is None:
        return NOTHING
    shown = f"{ratio * 100:.1f}"
    if shown == "100.0":
        shown = "100" if ratio >= 1.0 else "99.9"
    return f"{shown} %"


def seconds(value: float | None) -> str:
    """Return a time as `0.40 ms`, `340 ms`, `1.20 s`, `3m 05s`, `2h 05m` or `4d 2h`."""
    if value is None:
        return NOTHING
    if value < 0.9995:
        return f"{_figures(value * 1000)} ms"
    if value < 99.5:
        return f"{_figures(value)} s"
    whole = round(value)
    minutes, hours = whole // 60, whole // 3600
    if hours == 0:
        return f"{minutes}m {whole % 60:02d}s"
    if hours < 48:
        return f"{hours}h {minutes % 60:02d}m"
    return f"{hours // 24}d {hours % 24}h"


def size(value: float | None) -> str:
    """Return bytes as `45.2 MB`, in powers of a thousand."""
    if value is None:
        return NOTHING
    for unit in ("B", "kB", "MB"):
        if value < 999.5:
            return f"{_figures(value)} {unit}"
        value /= 1000
    return f"{_figures(value)} GB"


def merged(
    values: Sequence[float | None], width: int, how: Literal["mean", "highest"]
) -> list[float | None]:
    """Return *width* values, each of as many neighbours as it takes; None where all are None."""
    found: list[float | None] = []
    for place in range(width):
        first, end = len(values) * place // width, len(values) * (place + 1) // width
        some = [value for value in values[first : max(end, first + 1)] if value is not None]
        if not some:
            found.append(None)
        else:
            found.append(max(some) if how == "highest" else sum(some) / len(some))
    return found


def spark(values: Sequence[float | None], rows: int = 1) -> list[str]:
    """Return *rows* lines of blocks, the upper one first: a column a value, the highest full.

    A gap is a blank, a zero the lowest block.
    """
    highest = max((value for value in values if value is not None), default=0.0)
    levels = []
    for value in values:
        if value is None:
            levels.append(0)
        elif highest <= 0.0:
            levels.append(1)
        else:
            levels.append(max(1, round(value / highest * rows * _STEPS)))
    return [
        "".join(_BLOCKS[min(_STEPS, max(0, level - row * _STEPS))] for level in levels)
        for row in reversed(range(rows))
    ]
