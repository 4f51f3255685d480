"""Samples as text. Both formats share their sample lines; only the heads of families differ."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import accumulate

from tidegate.metrics.family import Family
from tidegate.metrics.series import Exemplar

_EXACT = 1e15  # below it, `%d` of an integral float is what it is, and quickest


def number(value: float) -> str:
    """Return *value* as a float's text: `1523.0`, `0.25`, `+Inf`."""
    if -_EXACT < value < _EXACT and value == int(value):
        return f"{int(value)}.0"
    if math.isfinite(value):
        return repr(float(value))
    return "NaN" if math.isnan(value) else "+Inf" if value > 0 else "-Inf"


def heads(family: Family) -> tuple[bytes, bytes]:
    """Return the HELP and TYPE lines in the text format and in OpenMetrics.

    OpenMetrics names a counter family without the `_total` of its samples.
    """
    plain = f"# HELP {family.name} {family.help}\n# TYPE {family.name} {family.kind}\n"
    name = family.name.removesuffix("_total")
    openmetrics = f"# HELP {name} {family.help}\n# TYPE {name} {family.kind}\n"
    return plain.encode(), openmetrics.encode()


def former_heads(family: Family, former_name: str) -> tuple[bytes, bytes]:
    """Return the heads of the same samples under their name of the last minor version."""
    text = f"Former name of {family.name}; gone with the next minor version."
    return heads(replace(family, name=former_name, help=text, former_name=None))


def renamed(lines: bytes, name: str, former_name: str) -> bytes:
    """Return whole lines of samples under another name; label values hold no line ends."""
    old, new = b"\n" + name.encode(), b"\n" + former_name.encode()
    return (b"\n" + lines).replace(old, new)[1:]


def label_pairs(family: Family, values: Sequence[str]) -> str:
    """Return `name="value",…`, escaped; empty without labels."""
    return ",".join(
        f'{name}="{_escaped(value)}"' for name, value in zip(family.labels, values, strict=True)
    )


def sample(name: str, pairs: str, value: float) -> str:
    """Return one line."""
    return f"{name}{{{pairs}}} {number(value)}\n" if pairs else f"{name} {number(value)}\n"


def _escaped(value: str) -> str:
    if "\\" in value or '"' in value or "\n" in value:
        return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
    return value


class HistogramPattern:
    """The lines of a histogram with room for label pairs and numbers, made once a family."""

    __slots__ = ("_pattern",)

    def __init__(self, family: Family) -> None:
        # One marker, \0, replaced in one go: a label value that holds it is not looked at again.
        name = family.name
        before_le, alone = ("\0,", "{\0}") if family.labels else ("", "")
        bounds = [*(repr(float(bound)) for bound in family.buckets), "+Inf"]
        lines = [f'{name}_bucket{{{before_le}le="{bound}"}} %d.0\n' for bound in bounds]
        lines += [f"{name}_sum{alone} %s\n", f"{name}_count{alone} %d.0\n"]
        self._pattern = "".join(lines)

    def lines(self, pairs: str, cells: Sequence[float]) -> str:
        """Return all lines of one series from its bucket cells and, last, its sum."""
        pattern = self._pattern.replace("\0", pairs.replace("%", "%%"))
        cumulative = list(accumulate(cells[:-1]))
        return pattern % (*cumulative, number(cells[-1]), cumulative[-1])


def with_exemplars(text: str, exemplars: Iterable[tuple[int, Exemplar]]) -> str:
    """Return a histogram's lines with examples behind their buckets, for OpenMetrics only."""
    lines = text.split("\n")
    for bucket, one in exemplars:
        lines[bucket] += f' # {{{one.label}="{one.text}"}} {number(one.value)} {one.at_s:.3f}'
    return "\n".join(lines)
