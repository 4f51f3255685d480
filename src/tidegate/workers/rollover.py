"""After an upgrade in place: every child of the old program is replaced by one of the new."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from tidegate.control.eventlog import EventLog
from tidegate.workers.child import Child
from tidegate.workers.fleet import Fleet
from tidegate.workers.loop import Loop

RETRY_S: Final = 0.5


class Rollover:
    """Control is replaced at once (requests do not need it), each worker when its successor is
    ready. A worker whose successor cannot start stays: the old program serves better than none.
    """

    def __init__(self, loop: Loop, fleet: Fleet, log: EventLog, done: Callable[[], None]) -> None:
        self._loop = loop
        self._fleet = fleet
        self._log = log
        self._done = done
        self._waiting = [seat.current for seat in fleet.seats if seat.current is not None]
        self._replacing: set[Child] = set()
        if fleet.control.current is not None:
            fleet.stop(fleet.control.current)
        # Later: the caller knows us by then.
        loop.call_later(0.0, self._go_on)

    def child_superseded(self, child: Child) -> None:
        """*child* has a successor and drains."""
        self._settle(child)

    def successor_died(self, seat_child: Child | None) -> None:
        """The successor of *seat_child* did not get ready."""
        if seat_child is not None and seat_child in self._replacing:
            self._log.error(
                "a successor cannot start, the old worker stays", worker=seat_child.slot
            )
            self._settle(seat_child)

    def _settle(self, child: Child) -> None:
        if child in self._replacing:
            self._replacing.discard(child)
            self._finish_if_done()

    def _go_on(self) -> None:
        """Start successors for as many as there are slots; the rest once draining ones end."""
        still: list[Child] = []
        for child in self._waiting:
            if self._fleet.replace(child):
                self._replacing.add(child)
            elif child.seat.current is child:
                still.append(child)
        self._waiting = still
        if still and not self._fleet.stopping:
            self._loop.call_later(RETRY_S, self._go_on)
        self._finish_if_done()

    def _finish_if_done(self) -> None:
        if not self._waiting and not self._replacing:
            self._done()
