"""A child's heartbeat: proof that its loop turns, and a measure of how promptly."""

from __future__ import annotations

import asyncio
import time
from typing import Final

from tidegate.memory import Segment, SlotWord
from tidegate.metrics.families.event_loop import EVENT_LOOP_LAG
from tidegate.metrics.registry import Registry
from tidegate.metrics.runtime import GarbageCounters

BEAT_S: Final = 0.25
BEATS_A_SECOND: Final = 4


class Pulse:
    """Writes `HEARTBEAT_NS` four times a second, and what else is due each second."""

    __slots__ = ("_beats", "_due_s", "_garbage", "_lag", "_loop", "_registry", "_segment", "_slot")

    def __init__(
        self, loop: asyncio.AbstractEventLoop, segment: Segment, slot: int, registry: Registry
    ) -> None:
        self._loop = loop
        self._segment = segment
        self._slot = slot
        self._registry = registry
        self._garbage = GarbageCounters(registry)
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
            self._registry.catch_up()
        self._due_s = self._loop.time() + BEAT_S
        self._loop.call_at(self._due_s, self._beat)
