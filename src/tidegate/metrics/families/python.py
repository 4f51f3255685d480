"""The Python runtime of all processes."""

from __future__ import annotations

from tidegate.metrics.family import Family

_GENERATIONS = {"generation": frozenset({"0", "1", "2"})}

GC_OBJECTS_COLLECTED = Family(
    "python_gc_objects_collected_total",
    "counter",
    "Objects collected during gc",
    labels=("generation",),
    values=_GENERATIONS,
    moves="each second",
)
GC_OBJECTS_UNCOLLECTABLE = Family(
    "python_gc_objects_uncollectable_total",
    "counter",
    "Uncollectable objects found during GC",
    labels=("generation",),
    values=_GENERATIONS,
    moves="each second",
)
GC_COLLECTIONS = Family(
    "python_gc_collections_total",
    "counter",
    "Number of times this generation was collected",
    labels=("generation",),
    values=_GENERATIONS,
    moves="each second",
)
PYTHON_INFO = Family(
    "python_info",
    "gauge",
    "Python platform information",
    labels=("implementation", "major", "minor", "patchlevel", "version"),
    computed=True,
)
PYTHON_THREADS = Family(
    "python_threads",
    "gauge",
    "Threads of all processes.",
    computed=True,
)
