"""One loop timer for every deadline of a process.

A timer per request costs about 2 µs twice (arm and cancel). Here an object keeps
a plain `deadline` attribute, moving it is one store, and a single timer looks at
all of them every `tick_s`. Deadlines are therefore late by up to one tick, never early.
"""

from __future__ import annotations

import asyncio
from typing import Protocol


class Expiring(Protocol):
    """Something with a deadline.

    Attributes:
        deadline: Loop time in seconds; `math.inf` when there is none.
    """

    deadline: float

    def on_deadline(self, now: float) -> None:
        """Act on a passed deadline. Must move `deadline` on, or it is called at each tick."""


class Sweep:
    """Calls `on_deadline` of every added object whose deadline has passed.

    Attributes:
        tick_s: Seconds between two looks; the greatest lateness of a deadline.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, tick_s: float = 0.1) -> None:
        self.tick_s = tick_s
        self._loop = loop
        self._members: set[Expiring] = set()
        self._timer: asyncio.TimerHandle | None = None

    def add(self, member: Expiring) -> None:
        """Watch *member* until `discard`. Adding twice is the same as once."""
        self._members.add(member)
        if self._timer is None:
            self._timer = self._loop.call_later(self.tick_s, self._look)

    def discard(self, member: Expiring) -> None:
        """Stop watching *member*; unknown ones are ignored."""
        self._members.discard(member)

    def _look(self) -> None:
        now = self._loop.time()
        due = [member for member in self._members if member.deadline <= now]
        # Armed first: an exception of a member must not stop the clock of all others.
        self._timer = self._loop.call_later(self.tick_s, self._look) if self._members else None
        for member in due:
            if member in self._members:
                try:
                    member.on_deadline(now)
                except Exception as error:  # noqa: BLE001 (one member must not harm another)
                    self._loop.call_exception_handler(
                        {"message": "deadline handler failed", "exception": error}
                    )
