"""The cells of all processes as OTLP metrics: cumulative sums, gauges, explicit histograms.

The names are those of the page, without `_total`, which a Prometheus behind the collector adds
again. One message holds everything at one moment; the time all series began at is the instance's.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)
from opentelemetry.proto.common.v1.common_pb2 import InstrumentationScope, KeyValue
from opentelemetry.proto.metrics.v1.metrics_pb2 import (
    AGGREGATION_TEMPORALITY_CUMULATIVE,
    Gauge,
    Histogram,
    HistogramDataPoint,
    Metric,
    NumberDataPoint,
    ResourceMetrics,
    ScopeMetrics,
    Sum,
)
from opentelemetry.proto.resource.v1.resource_pb2 import Resource

from tidegate import __version__
from tidegate.config.snapshot import Snapshot
from tidegate.metrics.family import Family
from tidegate.metrics.registry import Registry
from tidegate.metrics.runtime import RuntimeFigures, Samples
from tidegate.tracing.attributes import Value, key_values
from tidegate.tracing.otlp import OtlpSender
from tidegate.tracing.resource import SCOPE_NAME, resource_of

#: Our unit → UCUM's. Braces: a backend adds no ending to the name for it.
_UNITS: Final = MappingProxyType({"seconds": "s", "bytes": "By", "tokens": "{token}"})


class MetricsExporter:
    """Reads every family and sends it; for one thread.

    Args:
        snapshot: The configuration; its section `tracing` has an endpoint.
        registry: This thread's own.
    """

    def __init__(self, snapshot: Snapshot, registry: Registry) -> None:
        self._registry = registry
        self._segment = registry.segment
        self._figures = RuntimeFigures(registry)
        self._sender = OtlpSender(snapshot.tracing, "/v1/metrics")
        resource: Mapping[str, Value] = resource_of(snapshot)
        self._resource = Resource(attributes=key_values(resource))
        self._scope = InstrumentationScope(name=SCOPE_NAME, version=__version__)
        self._since_ns = int(self._segment.started_at_s * 1e9)

    def export(self, deadline_s: float | None = None) -> bool:
        """Send all figures as they are now; False where they did not arrive."""
        return self._sender.send(self.message(), deadline_s) == "sent"

    def close(self) -> None:
        """Close the connection."""
        self._sender.close()

    def message(self) -> bytes:
        """Return all figures as a serialized `ExportMetricsServiceRequest`."""
        self._registry.catch_up()
        computed = asyncio.run(self._figures.read())
        now_ns = time.time_ns()
        scope_metrics = ScopeMetrics(scope=self._scope)
        for family in self._registry.families.values():
            metric = self._metric(family, computed, now_ns)
            if metric is not None:
                scope_metrics.metrics.append(metric)
            time.sleep(0)  # the loop's turn
        request = ExportMetricsServiceRequest(
            resource_metrics=[
                ResourceMetrics(resource=self._resource, scope_metrics=[scope_metrics])
            ]
        )
        return bytes(request.SerializeToString())

    def _metric(
        self, family: Family, computed: Mapping[str, Samples], now_ns: int
    ) -> Metric | None:
        metric = Metric(
            name=family.name.removesuffix("_total"),
            description=family.help,
            unit=_UNITS.get(family.unit, ""),
        )
        if family.kind == "histogram":
            points = [
                self._histogram_point(family, labels, first, now_ns)
                for labels, first in self._registry.places_of(family).items()
            ]
            metric.histogram.CopyFrom(
                Histogram(
                    data_points=points,
                    aggregation_temporality=AGGREGATION_TEMPORALITY_CUMULATIVE,
                )
            )
            return metric if points else None
        samples = computed.get(family.name) if family.computed else self._samples(family)
        if not samples:
            return None
        numbers = [
            NumberDataPoint(
                attributes=_labels(family, labels),
                start_time_unix_nano=self._since_ns if family.kind == "counter" else 0,
                time_unix_nano=now_ns,
                as_double=value,
            )
            for labels, value in samples
        ]
        if family.kind == "counter":
            metric.sum.CopyFrom(
                Sum(
                    data_points=numbers,
                    aggregation_temporality=AGGREGATION_TEMPORALITY_CUMULATIVE,
                    is_monotonic=True,
                )
            )
        else:
            metric.gauge.CopyFrom(Gauge(data_points=numbers))
        return metric

    def _samples(self, family: Family) -> Samples:
        views = [self._segment.cells(slot) for slot in range(self._segment.slots)]
        merge = max if family.kind == "gauge" and family.merge == "max" else sum
        return [
            (labels, float(merge(view[first] for view in views)))
            for labels, first in self._registry.places_of(family).items()
        ]

    def _histogram_point(
        self, family: Family, labels: tuple[str, ...], first: int, now_ns: int
    ) -> HistogramDataPoint:
        buckets = len(family.buckets) + 1
        totals = [0.0] * (buckets + 1)
        for slot in range(self._segment.slots):
            cells = self._segment.cells(slot)[first : first + buckets + 1]
            totals = [total + cell for total, cell in zip(totals, cells, strict=True)]
        counts = [round(total) for total in totals[:buckets]]
        return HistogramDataPoint(
            attributes=_labels(family, labels),
            start_time_unix_nano=self._since_ns,
            time_unix_nano=now_ns,
            count=sum(counts),
            sum=totals[buckets],
            bucket_counts=counts,
            explicit_bounds=family.buckets,
        )


def _labels(family: Family, values: tuple[str, ...]) -> list[KeyValue]:
    return key_values(dict(zip(family.labels, values, strict=True)))
