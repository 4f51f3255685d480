"""The supervisor's own series: restarts, reloads, and the books of dead children."""

from __future__ import annotations

import contextlib
import resource
from collections.abc import Iterator
from typing import Final

from tidegate.control.pulse import DroppedLines
from tidegate.limits.concurrency import clear_slot
from tidegate.memory import SUPERVISOR_SLOT, Segment
from tidegate.metrics.families.configuration import CONFIG_LAST_RELOAD, CONFIG_RELOADS
from tidegate.metrics.families.control import CONTROL_RESTARTS
from tidegate.metrics.families.process import CPU
from tidegate.metrics.families.workers import WORKER_RESTARTS
from tidegate.metrics.registry import Registry
from tidegate.metrics.runtime import GarbageCounters, bury, reaping
from tidegate.workers.child import DeathReason
from tidegate.workers.loop import Loop

KEEP_UP_EVERY_S: Final = 1.0


class SupervisorFigures:
    """Counts in slot 0."""

    def __init__(self, segment: Segment) -> None:
        """Write to slot 0, which `Segment.create` took for this process."""
        self._segment = segment
        self._registry = Registry(segment, SUPERVISOR_SLOT)
        self._restarts = self._registry.counter(WORKER_RESTARTS)
        self._control_restarts = self._registry.counter(CONTROL_RESTARTS)
        self._reloads = self._registry.counter(CONFIG_RELOADS)
        self._last_reload = self._registry.gauge(CONFIG_LAST_RELOAD).series
        self._last_reload.set(1.0)  # what a gateway starts with is in force
        self._garbage = GarbageCounters(self._registry)
        self._dropped = DroppedLines(self._registry)

    @contextlib.contextmanager
    def reaping(self) -> Iterator[None]:
        """Around `wait4` and `bury`; see `metrics.runtime.reaping`."""
        with reaping(self._segment):
            yield

    def bury(self, slot: int, usage: resource.struct_rusage | None) -> None:
        """Free the slot of a reaped child; -1 for one that never had any."""
        if slot >= 0:
            # First, as `bury` makes the slot free for another worker.
            clear_slot(self._segment.holds, slot)
            bury(self._registry, slot, usage)
        elif usage is not None:
            self._registry.counter(CPU).series.inc(usage.ru_utime + usage.ru_stime)

    def worker_ended(self, reason: DeathReason) -> None:
        """Count a worker's death that nobody asked for."""
        if reason != "replaced":
            self._restarts.labels(reason).inc()

    def control_ended(self, reason: DeathReason) -> None:
        """Count a death of the control process that nobody asked for."""
        if reason != "replaced":
            self._control_restarts.labels(reason).inc()

    def reload_ended(self, applied: bool) -> None:
        """Count a reload."""
        self._reloads.labels("applied" if applied else "refused").inc()
        self._last_reload.set(float(applied))

    def keep_up(self, loop: Loop) -> None:
        """Store the collector's figures and read new series, each second."""
        self._garbage.store()
        self._dropped.store()
        self._registry.catch_up()
        loop.call_later(KEEP_UP_EVERY_S, lambda: self.keep_up(loop))
