"""Durations and sizes as people write them: `1m30s`, `500ms`, `32MiB`."""

from __future__ import annotations

import re
from decimal import Decimal
from functools import total_ordering

from typing_extensions import override

_NS = {
    "ns": 1,
    "us": 1_000,
    "µs": 1_000,
    "ms": 1_000_000,
    "s": 1_000_000_000,
    "m": 60 * 1_000_000_000,
    "h": 3_600 * 1_000_000_000,
    "d": 86_400 * 1_000_000_000,
}
_BYTES = {
    "": 1,
    "b": 1,
    "kb": 1_000,
    "mb": 1_000_000,
    "gb": 1_000_000_000,
    "kib": 1 << 10,
    "mib": 1 << 20,
    "gib": 1 << 30,
}
_PART = re.compile(r"([0-9]{1,15}(?:\.[0-9]{1,9})?)(ns|us|µs|ms|s|m|h|d)")
_NUMBER = re.compile(r"[0-9]{1,15}(?:\.[0-9]{1,9})?")
_SIZE = re.compile(r"([0-9]{1,15}(?:\.[0-9]{1,9})?) ?([A-Za-z]{0,3})")

MAX_DURATION_NS = 400 * _NS["d"]

_DURATION_HELP = "must be a duration such as 500ms, 30s, 1m30s, 1d, or a number of seconds"
_SIZE_HELP = "must be a size such as 64KiB, 32MiB, or a number of bytes"


@total_ordering
class Duration:
    """A length of time, exact to the nanosecond.

    Attributes:
        ns: Whole nanoseconds, at least 0.
    """

    __slots__ = ("ns",)

    def __init__(self, ns: int) -> None:
        self.ns = ns

    @property
    def seconds(self) -> float:
        """The same in seconds."""
        return self.ns / 1e9

    @override
    def __eq__(self, other: object) -> bool:
        return isinstance(other, Duration) and self.ns == other.ns

    def __lt__(self, other: Duration) -> bool:
        return self.ns < other.ns

    @override
    def __hash__(self) -> int:
        return hash(self.ns)

    @override
    def __repr__(self) -> str:
        return f"Duration({self.ns})"

    @override
    def __str__(self) -> str:
        """Shortest form that `parse_duration` reads back to the same value."""
        if self.ns == 0:
            return "0s"
        left, text = self.ns, ""
        for unit in ("d", "h", "m", "s", "ms", "us", "ns"):
            count, left = divmod(left, _NS[unit])
            if count:
                text += f"{count}{unit}"
        return text


def parse_duration(value: object) -> Duration:
    """Read `1m30s`, `500ms`, `1.5h`, or a number of seconds.

    Raises:
        ValueError: Not a duration, negative, or over 400 days.
    """
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        raise ValueError(_DURATION_HELP)
    if isinstance(value, (int, float)):
        if not 0 <= value <= MAX_DURATION_NS / 1e9:  # also refuses nan
            raise ValueError("must be between 0 and 400 days")
        return Duration(round(Decimal(str(value)) * _NS["s"]))
    text = value.strip()
    total = Decimal(text) * _NS["s"] if _NUMBER.fullmatch(text) else _sum_parts(text)
    if total > MAX_DURATION_NS:
        raise ValueError("must be between 0 and 400 days")
    return Duration(round(total))


def _sum_parts(text: str) -> Decimal:
    position, total, last_ns = 0, Decimal(0), None
    while position < len(text):
        part = _PART.match(text, position)
        if part is None:
            raise ValueError(_DURATION_HELP)
        unit_ns = _NS[part[2]]
        if last_ns is not None and unit_ns >= last_ns:
            # `30s1m` and `1m1m` are slips, not durations.
            raise ValueError(_DURATION_HELP + ", the larger unit first")
        total += Decimal(part[1]) * unit_ns
        last_ns, position = unit_ns, part.end()
    if last_ns is None:
        raise ValueError(_DURATION_HELP)
    return total


def parse_size(value: object) -> int:
    """Read `64KiB`, `32MiB`, `1MB`, or a number of bytes; returns whole bytes.

    Raises:
        ValueError: Not a size, negative, or over 1 TiB.
    """
    if isinstance(value, bool) or not isinstance(value, (int, str)):
        raise ValueError(_SIZE_HELP)
    if isinstance(value, int):
        size = Decimal(value)
    else:
        found = _SIZE.fullmatch(value.strip())
        factor = _BYTES.get(found[2].lower()) if found else None
        if found is None or factor is None:
            raise ValueError(_SIZE_HELP)
        size = Decimal(found[1]) * factor
    if not 0 <= size <= 1 << 40:
        raise ValueError("must be between 0 and 1TiB")
    if size != int(size):
        raise ValueError("must be a whole number of bytes")
    return int(size)


def show_size(size_bytes: int) -> str:
    """Return the shortest exact form: `32MiB`, `1500B`."""
    for unit, factor in (("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)):
        if size_bytes and size_bytes % factor == 0:
            return f"{size_bytes // factor}{unit}"
    return f"{size_bytes}B"
