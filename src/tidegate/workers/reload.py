"""One reload: the new configuration is tried on one worker, then given to all.

The worker builds it beside the one in force and swaps, or refuses and keeps the old one.
Trying it on one first means that a configuration which cannot be used, or kills who uses
it, never reaches more than one worker.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from tidegate.control.messages import Configure, Refused
from tidegate.workers.child import Child
from tidegate.workers.fleet import Fleet
from tidegate.workers.loop import Loop
from tidegate.workers.plan import Plan

ANSWER_S: Final = 10.0


class Reload:
    """Calls `done(plan, [])` when a worker has it in force, or `done(None, problems)`."""

    def __init__(
        self,
        loop: Loop,
        fleet: Fleet,
        plan: Plan,
        done: Callable[[Plan | None, list[str]], None],
    ) -> None:
        self._loop = loop
        self._fleet = fleet
        self._plan = plan
        self._done = done
        self._first: Child | None = None
        self._timer = loop.call_later(ANSWER_S, self._on_timeout)
        self._try_next()

    def child_ready(self, child: Child) -> None:
        """A worker became ready: it may be the one that tries."""
        if self._first is None:
            self._try_next()

    def applied(self, child: Child, generation: int) -> None:
        """*child* has *generation* in force."""
        if child is self._first and generation == self._plan.generation:
            self._end(self._plan, [])

    def refused(self, child: Child, message: Refused) -> None:
        """*child* keeps what it had."""
        if child is self._first and message.generation == self._plan.generation:
            self._end(None, [f"{path}: {reason}" for path, reason in message.problems])

    def child_died(self, child: Child) -> None:
        """The worker that tried it died of it, or by chance: not a risk to take with all."""
        if child is self._first:
            self._end(None, [f"{child.name} ended while it put the configuration in force"])

    def _try_next(self) -> None:
        for child in self._fleet.workers():
            if child.ready_since_s is not None and not child.leaving and not child.condemned:
                self._first = child
                self._fleet.send(child, Configure(self._plan.generation, self._plan.snapshot))
                return

    def _on_timeout(self) -> None:
        self._end(None, ["no worker has answered in time"])

    def _end(self, plan: Plan | None, problems: list[str]) -> None:
        self._timer.cancel()
        self._done(plan, problems)
