"""Finds children whose loop does not turn any more."""

from __future__ import annotations

import signal
import time
from typing import Final

from tidegate.control.eventlog import EventLog
from tidegate.memory import Segment, SlotWord
from tidegate.workers.child import Child
from tidegate.workers.fleet import Fleet
from tidegate.workers.loop import Loop

LOOK_EVERY_S: Final = 0.5
STACK_TIME_S: Final = 0.3
"""Between the request for a stack and SIGKILL."""
START_S: Final = 60.0
"""Time that a child may take to its first `Ready` without a heartbeat."""


class Watchdog:
    """Kills what hangs, after asking it for its stack; the fleet then starts another.

    A heartbeat is called stale by the time that *we* saw pass without a change, at most
    twice our own interval a look: a machine or container that was frozen wakes up with old
    heartbeats everywhere, and nothing of it hangs.

    Attributes:
        timeout_s: How long a loop may stand still.
    """

    def __init__(
        self, loop: Loop, fleet: Fleet, segment: Segment, log: EventLog, timeout_s: float
    ) -> None:
        self.timeout_s = timeout_s
        self._loop = loop
        self._fleet = fleet
        self._segment = segment
        self._log = log
        self._looked_at = time.monotonic()
        self._look()

    def _look(self) -> None:
        now = time.monotonic()
        passed_s = min(now - self._looked_at, 2 * LOOK_EVERY_S)
        self._looked_at = now
        for child in list(self._fleet.children.values()):
            if child.slot >= 0 and child.condemned is None:
                self._check(child, passed_s)
        self._loop.call_later(LOOK_EVERY_S, self._look)

    def _check(self, child: Child, passed_s: float) -> None:
        heartbeat = self._segment.get(child.slot, SlotWord.HEARTBEAT_NS)
        if heartbeat != child.heartbeat_ns:
            child.heartbeat_ns = heartbeat
            child.stale_s = 0.0
            return
        child.stale_s += passed_s
        allowed_s = self.timeout_s if child.ready_since_s is not None else START_S
        if child.stale_s <= max(allowed_s, self.timeout_s):
            return
        child.condemned = "hang"
        self._log.error(
            "a process hangs; its stack follows, then it is replaced",
            child=child.name,
            pid=child.pid,
            stalled_s=round(child.stale_s, 1),
        )
        child.signal(signal.SIGUSR1)
        self._loop.call_later(STACK_TIME_S, lambda: self._fleet.kill(child, "hang"))
