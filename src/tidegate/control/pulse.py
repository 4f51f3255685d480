"""A child's heartbeat: proof that its loop turns, and a measure of how promptly."""

from __future__ import annotations

import asyncio
import time
from typing import Final

from tidegate.control.eventlog import EventLog
from tidegate.memory import Segment, SlotWord
from tidegate.metrics.families.event_loop import EVENT_LOOP_LAG
from tidegate.metrics.families.telemetry import TELEMETRY_DROPPED
from tidegate.metrics.registry import Registry
from tidegate.metrics.runtime import GarbageCounters

BEAT_S: Final = 0.25
BEATS_A_SECOND: Final = 4


class DroppedLines:
    """Counts the lines of this process's event log that found no room."""

    __slots__ = ("_counted", "_series")

    def __init__(self, registry: Registry) -> None:
        self._series = registry.counter(TELEMETRY_DROPPED).labels("log")
        self._counted = 0

    def store(self) -> None:
        """Bring the counter up to date; about once a second."""
        dropped = EventLog.dropped_lines
        self._series.inc(dropped - self._counted)
        self._counted = dropped


class Pulse:
    """Writes `HEARTBEAT_NS` four times a second, and what else is due each second."""

    __slots__ = (
        "_beats",
        "_dropped",
        "_due_s",
        "_garbage",
        "_lag",
        "_loop",
        "_registry",
        "_segment",
        "_slot",
    )

    def __init__(
        self, loop: asyncio.AbstractEventLoop, segment: Segment, slot: int, registry: Registry
    ) -> None:
        self._loop = loop
        self._segment = segment
        self._slot = slot
        self._registry = registry
        self._garbage = GarbageCounters(registry)
        self._dropped = DroppedLines(registry)
        self._lag = registry.histogram(EVENT_LOOP_LAG).series
        self._beats = 0
        self._due_s = loop.time()
        self._beat()

    def _beat(self) -> None:
        self._segment.set(self._slot, SlotWord.HEARTBEAT_NS, time.monotonic_ns())
        now = self._loop.time()
        self._lag.observe(max(0.0, now - self._due_s))
        self._beats += 1
        if self._beats % BEATS_A_SECOND == 0:
            self._garbage.store()
            self._dropped.store()
            self._registry.catch_up()
        self._due_s = self._loop.time() + BEAT_S
        self._loop.call_at(self._due_s, self._beat)
