"""Pushes the metrics page's figures as OTLP, from control alone: once for the whole instance."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

from tidegate.config.snapshot import Snapshot
from tidegate.memory import CONTROL_SLOT, Segment
from tidegate.metrics.families.telemetry import TELEMETRY_DROPPED
from tidegate.metrics.registry import Registry
from tidegate.metrics.series import CounterSeries

if TYPE_CHECKING:
    from tidegate.tracing.otlp_metrics import MetricsExporter

PUSH_TICK_S: Final = 0.5
"""How often control looks whether a push is due."""
LAST_PUSH_S: Final = 1.5
"""How long the push at the end may take."""


class MetricsPush:
    """Decides when to push. `use` is the loop's; all else belongs to one thread.

    Args:
        segment: The shared memory of the instance.
    """

    def __init__(self, segment: Segment) -> None:
        self._segment = segment
        self._wanted: Snapshot | None = None
        self._used: Snapshot | None = None
        self._exporter: MetricsExporter | None = None
        self._registry: Registry | None = None
        self._due_s = 0.0

    def use(self, snapshot: Snapshot) -> None:
        """Go by *snapshot* from the next tick on."""
        self._wanted = snapshot

    def tick(self) -> None:
        """Push if it is time to."""
        self._follow()
        if self._exporter is not None and time.monotonic() >= self._due_s:
            assert self._used is not None
            self._due_s = time.monotonic() + self._used.tracing.metrics_interval_s
            self._push(None)

    def close(self) -> None:
        """Push once more, so that the last interval is not lost."""
        if self._exporter is not None:
            self._push(time.monotonic() + LAST_PUSH_S)
            self._exporter.close()

    def _push(self, deadline_s: float | None) -> None:
        assert self._exporter is not None
        if not self._exporter.export(deadline_s):
            self._dropped().inc()

    def _dropped(self) -> CounterSeries:
        assert self._registry is not None
        # This thread's alone: nobody else in this process counts exports.
        return self._registry.counter(TELEMETRY_DROPPED).labels("metric")

    def _follow(self) -> None:
        """Begin, replace or end the exporter as the newest configuration wants it."""
        snapshot, before = self._wanted, self._used
        if snapshot is None or snapshot is before:
            return
        self._used = snapshot
        if before is not None and before.tracing == snapshot.tracing:
            return
        if self._exporter is not None:
            self._exporter.close()
            self._exporter = None
        if snapshot.tracing.endpoint is None or not snapshot.tracing.export_metrics:
            return
        from tidegate.tracing.otlp_metrics import MetricsExporter

        if self._registry is None:
            # Its own, as the loop's must not be read in while it reads in itself.
            self._registry = Registry(self._segment, CONTROL_SLOT)
        self._exporter = MetricsExporter(snapshot, self._registry)
        self._due_s = time.monotonic() + snapshot.tracing.metrics_interval_s
