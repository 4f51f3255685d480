"""Lets a task wait for a callback of the loop, and go on inside that very callback.

A future would make the task go on in the loop's next turn: a handle to queue, and a look at
all sockets in between. Where a packet wakes a task, that is most of what the packet costs us
(measured: 3 µs a wait for a future, 1 µs here).
"""

from __future__ import annotations

import asyncio
from asyncio import current_task
from collections.abc import Callable, Generator
from contextvars import Context, copy_context
from typing import Any

#: Nothing has ended the wait; a wake is queued; a cancellation is queued.
_WAITING, _DUE, _CANCELLED = 0, 1, 2


class Sleeper:
    """What one task at a time awaits until `wake`; again and again.

    It speaks the protocol that tasks expect of a future, as `asyncio` documents it for its
    own: `_asyncio_future_blocking`, `get_loop`, `add_done_callback`, `cancel`, `result`.
    """

    # What a task reads and clears, and where it runs: set when it begins to wait.
    _asyncio_future_blocking: bool
    _context: Context

    __slots__ = (
        "_asyncio_future_blocking",
        "_context",
        "_loop",
        "_state",
        "_wakeup",
    )

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        """*loop* is the one that the task runs in."""
        self._loop = loop
        self._wakeup: Callable[[Any], object] | None = None
        self._state = _WAITING

    def __await__(self) -> Generator[Any, None, None]:
        """Suspend the task until it is woken or cancelled."""
        self._asyncio_future_blocking = True
        yield self

    def wake(self) -> None:
        """Let the sleeping task, if any, go on: now, or after the task that is running now.

        What it does happens inside this call, so this is the caller's last act.
        """
        wakeup = self._wakeup
        if wakeup is None or self._state:
            return
        if current_task(self._loop) is not None:
            self.wake_soon()
            return
        self._wakeup = None
        self._context.run(wakeup, self)

    def wake_soon(self) -> None:
        """Let the sleeping task, if any, go on in the loop's next turn."""
        if self._wakeup is not None and not self._state:
            self._state = _DUE
            self._loop.call_soon(self._go_on, context=self._context)

    def _go_on(self) -> None:
        wakeup, self._wakeup = self._wakeup, None
        if self._state == _DUE:
            self._state = _WAITING
        if wakeup is not None:
            wakeup(self)

    # What the task calls.

    def get_loop(self) -> asyncio.AbstractEventLoop:
        """Return the loop."""
        return self._loop

    def add_done_callback(
        self, wakeup: Callable[[Any], object], *, context: Context | None = None
    ) -> None:
        """Note how the task that has begun to wait is woken."""
        self._wakeup = wakeup
        self._context = context or copy_context()

    def cancel(self, msg: object = None) -> bool:
        """End the wait in a `CancelledError`; False when it has already ended."""
        if self._wakeup is None or self._state:
            return False
        self._state = _CANCELLED
        self._loop.call_soon(self._go_on, context=self._context)
        return True

    def result(self) -> None:
        """Raise if the wait was cancelled."""
        if self._state == _CANCELLED:
            self._state = _WAITING
            raise asyncio.CancelledError
