"""The orderly end: not ready, then no new connections, then nothing running, then gone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from tidegate.control.eventlog import EventLog
from tidegate.workers.child import Child
from tidegate.workers.fleet import Fleet
from tidegate.workers.loop import Loop
from tidegate.workers.plan import Plan

STOP_S: Final = 3.0
"""What a worker may take to end its streams in error events after `Stop`."""
CONTROL_STOP_S: Final = 10.0
"""What control may take for its last writes."""
SLACK_S: Final = 2.0
"""On top of the drain time: workers keep it themselves and cut what is left."""


class Shutdown:
    """Drains all workers, then stops control, then the loop.

    A second signal (`hurry`) cuts what still runs; a third kills.
    """

    def __init__(
        self,
        loop: Loop,
        fleet: Fleet,
        log: EventLog,
        plan: Plan,
        close_listener: Callable[[], None],
    ) -> None:
        self._loop = loop
        self._fleet = fleet
        self._log = log
        self._hurried = 0
        self._control_asked = False
        fleet.stopping = True
        drain = plan.last_drain()
        log.info("draining", drain_s=drain.drain_s, accept_s=drain.accept_s)
        for child in self._fleet.workers():
            fleet.drain(child, drain)
            if child.ready_since_s is None:
                fleet.stop(child)
        # Ours goes with the workers': while one process holds it, the kernel queues connections
        # that nobody will take.
        loop.call_later(drain.accept_s, close_listener)
        loop.call_later(drain.accept_s + drain.drain_s + SLACK_S, self._cut)
        self._next()

    def hurry(self) -> None:
        """Another signal came."""
        self._hurried += 1
        if self._hurried == 1:
            self._log.warning("second signal: running requests are cut")
            self._cut()
        else:
            self._log.warning("third signal: killing")
            self._kill()

    def child_ready(self, child: Child) -> None:
        """One that was still starting: there is nothing for it to do any more."""
        self._fleet.stop(child)

    def child_died(self, child: Child) -> None:
        """One less."""
        self._log.info("process ended", child=child.name, pid=child.pid)
        self._next()

    def _next(self) -> None:
        if any(child.is_worker for child in self._fleet.children.values()):
            return
        if not self._fleet.children:
            self._loop.stop()
        elif not self._control_asked:
            self._control_asked = True
            for child in list(self._fleet.children.values()):
                self._fleet.stop(child)
            self._loop.call_later(CONTROL_STOP_S, self._kill)

    def _cut(self) -> None:
        for child in self._fleet.workers():
            self._fleet.stop(child)
        self._loop.call_later(STOP_S, self._kill_workers)

    def _kill_workers(self) -> None:
        for child in self._fleet.workers():
            self._log.error("killing a worker that does not stop", worker=child.slot)
            self._fleet.kill(child, None)

    def _kill(self) -> None:
        for child in list(self._fleet.children.values()):
            self._fleet.kill(child, None)
