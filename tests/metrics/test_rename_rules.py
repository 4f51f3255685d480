"""A renamed family is shown under both names for one minor version."""

from __future__ import annotations

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from tidegate.memory import FIRST_WORKER_SLOT, Segment
from tidegate.metrics.families import declared
from tidegate.metrics.family import Family
from tidegate.metrics.page import MetricsPage
from tidegate.metrics.registry import Registry

COUNTER = Family(
    "tidegate_new_total", "counter", "New.", labels=("model",), former_name="tidegate_old_total"
)
HISTOGRAM = Family(
    "tidegate_new_seconds",
    "histogram",
    "New.",
    buckets=(0.1, 1.0),
    former_name="tidegate_old_seconds",
)
GAUGE = Family("tidegate_fresh", "gauge", "New.", labels=("model",), former_name="tidegate_stale")


@pytest.mark.parametrize("openmetrics", [False, True])
async def test_both_names_show_the_same_samples(segment: Segment, openmetrics: bool) -> None:
    """In both formats, with HELP that says which name stays; a label value keeps its text."""
    families = [*declared(), COUNTER, HISTOGRAM, GAUGE]
    registry = Registry(segment, FIRST_WORKER_SLOT, families=families)
    tricky = 'tidegate_new_total{"\n tidegate_new'
    registry.counter(COUNTER).labels(tricky).inc(3)
    registry.gauge(GAUGE).labels(tricky).set(5)
    registry.histogram(HISTOGRAM).series.observe(0.5)
    accept = b"application/openmetrics-text" if openmetrics else None
    _, body = await MetricsPage(segment, registry).render(accept, None)
    parse = parse_openmetrics if openmetrics else parse_text
    found = {family.name: family for family in parse(body.decode())}
    for family in (COUNTER, HISTOGRAM, GAUGE):
        assert family.former_name is not None
        new = found[family.name.removesuffix("_total")]
        old = found[family.former_name.removesuffix("_total")]
        assert old.documentation.startswith(f"Former name of {family.name}")
        assert old.type == new.type
        stem = (family.name.removesuffix("_total"), family.former_name.removesuffix("_total"))
        renamed = [(s.name.replace(*stem, 1), s.labels, s.value) for s in new.samples]
        assert renamed == [(s.name, s.labels, s.value) for s in old.samples]
        assert renamed


def test_a_former_name_is_nobody_elses() -> None:
    """A family cannot have been another one that is still declared."""
    names = {family.name for family in declared()}
    assert not names & {family.former_name for family in declared()}
