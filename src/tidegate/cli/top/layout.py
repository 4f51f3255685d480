"""Lines of styled text, and tables that fit a width."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from tidegate.cli.top.figures import cut

Piece = tuple[str, str]
"""A text and its style in the terminal's own colours: `""`, `bold`, `dim`, `red` …"""
Line = list[Piece]

GAP: Final = 2


class Column(NamedTuple):
    """One column of a table.

    Attributes:
        title: Shown above it.
        is_number: Aligned to the right.
        drop: Columns with a higher number are left out first when room is short; 0 never.
        least: Width below which it is not cut; 0 for a column that is never cut.
    """

    title: str
    is_number: bool = False
    drop: int = 0
    least: int = 0


def table(columns: Sequence[Column], rows: Sequence[Sequence[Piece]], width: int) -> list[Line]:
    """Return a title line and a line for each row, none longer than *width*."""
    widths = [
        max(len(column.title), *(len(row[place][0]) for row in rows)) if rows else len(column.title)
        for place, column in enumerate(columns)
    ]
    kept = _kept(columns, widths, width)
    over = sum(widths[place] for place in kept) + GAP * (len(kept) - 1) - width
    for place in sorted(kept, key=lambda place: -widths[place]):
        least = columns[place].least
        if over > 0 and least and widths[place] > least:
            narrowed = max(least, widths[place] - over)
            over -= widths[place] - narrowed
            widths[place] = narrowed
    titles = [(column.title, "dim") for column in columns]
    return [_line(columns, kept, widths, row, width) for row in (titles, *rows)]


def _kept(columns: Sequence[Column], widths: Sequence[int], width: int) -> list[int]:
    """Return the places of the columns that have room when all that can be cut are."""
    kept = list(range(len(columns)))

    def needed() -> int:
        least = (min(widths[at], columns[at].least or widths[at]) for at in kept)
        return sum(least) + GAP * (len(kept) - 1)

    while needed() > width:
        droppable = [place for place in kept if columns[place].drop]
        if not droppable:
            break
        kept.remove(max(droppable, key=lambda place: columns[place].drop))
    return kept


def _line(
    columns: Sequence[Column],
    kept: Sequence[int],
    widths: Sequence[int],
    row: Sequence[Piece],
    width: int,
) -> Line:
    line: Line = []
    room = width
    for place in kept:
        text, style = row[place]
        text = cut(text, widths[place])
        text = text.rjust(widths[place]) if columns[place].is_number else text.ljust(widths[place])
        if line:
            line.append((" " * min(GAP, room), ""))
            room -= GAP
        text = text[: max(0, room)]
        room -= len(text)
        line.append((text, style))
    return line


def text_of(line: Line) -> str:
    """Return a line without its styles."""
    return "".join(text for text, _ in line)
