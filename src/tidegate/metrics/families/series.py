"""The page about itself: how many series there are, and how often a cap was met."""

from __future__ import annotations

from tidegate.metrics.family import Family

SERIES = Family(
    "tidegate_metrics_series",
    "gauge",
    "Series of each family; a histogram counts once for each set of label values.",
    labels=("family",),
    computed=True,
)
SERIES_DROPPED = Family(
    "tidegate_metrics_series_dropped_total",
    "counter",
    "Look-ups of a new series that a cap sent to the series `other`.",
    labels=("family",),
    moves="at each look-up that a cap turned away",
)
