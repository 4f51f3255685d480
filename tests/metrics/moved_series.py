"""What moved in a segment between two moments: the difference of all series, whoever wrote them."""

from __future__ import annotations

from collections import defaultdict

from tidegate.memory import Segment
from tidegate.metrics.families import declared
from tidegate.metrics.index import SeriesIndex

Readings = dict[str, dict[tuple[str, ...], tuple[float, float]]]
Moves = dict[str, dict[tuple[str, ...], float]]

FAMILIES = {family.name: family for family in declared()}


def read_series(segment: Segment) -> Readings:
    """Return `(count or value, sum)` of every series: family → labels → both."""
    index = SeriesIndex(segment)
    index.catch_up()
    found: Readings = defaultdict(dict)
    for record in index.records:
        family = FAMILIES[record.family]
        cells = [
            sum(column)
            for column in zip(
                *(
                    segment.cells(slot)[record.first : record.first + record.cells]
                    for slot in range(segment.slots)
                ),
                strict=True,
            )
        ]
        if family.kind == "histogram":
            found[record.family][record.labels] = (sum(cells[:-1]), cells[-1])
        else:
            found[record.family][record.labels] = (cells[0], 0.0)
    return found


def moves_between(before: Readings, after: Readings) -> Moves:
    """Return what counters, gauges and histograms' counts have grown by, where they moved."""
    moved: Moves = {}
    for name, series in after.items():
        for labels, (value, _) in series.items():
            grown = value - before.get(name, {}).get(labels, (0.0, 0.0))[0]
            if grown:
                moved.setdefault(name, {})[labels] = grown
    return moved
