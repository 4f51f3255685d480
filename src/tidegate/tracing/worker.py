"""A worker's tracing over all its configurations: begins, replaces and ends exporters."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from tidegate.config.snapshot import Snapshot
from tidegate.tracing.tracer import Tracer

if TYPE_CHECKING:
    from tidegate.tracing.exporter import SpanExporter

RETIRE_S: Final = 60.0
"""How long a replaced exporter takes the traces of requests that began under it."""


class WorkerTracing:
    """Makes the tracer of each configuration.

    Args:
        loop: The worker's.
        slot: The worker's.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, slot: int) -> None:
        self._loop = loop
        self._slot = slot
        self._tracer: Tracer | None = None
        self._exporters: list[SpanExporter] = []
        self._shaped_by: tuple[object, ...] = ()

    def use(self, snapshot: Snapshot) -> Tracer | None:
        """Return the tracer for *snapshot*: None where it wants none, the old one if it fits."""
        shaped_by = (snapshot.tracing, snapshot.providers, snapshot.edge.tls is None)
        if shaped_by == self._shaped_by:
            return self._tracer
        self._shaped_by = shaped_by
        if self._exporters and self._tracer is not None:
            self._loop.call_later(RETIRE_S, self._exporters[-1].abandon)
        self._tracer = None
        if snapshot.tracing.endpoint is not None:
            from tidegate.tracing.exporter import SpanExporter

            exporter = SpanExporter(snapshot, self._slot)
            self._exporters.append(exporter)
            https = snapshot.edge.tls is not None
            self._tracer = Tracer(snapshot.tracing, exporter, https=https)
        return self._tracer

    @property
    def dropped(self) -> int:
        """Spans of this worker that were never sent."""
        return sum(exporter.dropped for exporter in self._exporters)

    def close(self) -> None:
        """Send what is queued; waits for at most `exporter.FLUSH_S`, and for nothing else."""
        for exporter in self._exporters[:-1]:
            exporter.abandon()
        if self._exporters:
            self._exporters[-1].close()
