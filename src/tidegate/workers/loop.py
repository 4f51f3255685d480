"""The supervisor's event loop: sockets, timers, signals.

Small on purpose: importing asyncio would cost the supervisor 50 ms of start-up, and it
watches a handful of sockets.
"""

from __future__ import annotations

import heapq
import selectors
import signal
import socket
import time
from collections.abc import Callable
from types import FrameType


class Timer:
    """A call that is due at `due_s` of the monotonic clock, unless cancelled."""

    __slots__ = ("_order", "action", "cancelled", "due_s")

    def __init__(self, due_s: float, order: int, action: Callable[[], None]) -> None:
        self.due_s = due_s
        self.action = action
        self.cancelled = False
        self._order = order

    def cancel(self) -> None:
        """Do not call any more."""
        self.cancelled = True

    def __lt__(self, other: Timer) -> bool:
        return (self.due_s, self._order) < (other.due_s, other._order)


class Loop:
    """Waits for what comes first: a readable or writable socket, a timer, a signal."""

    def __init__(self, on_error: Callable[[Exception], None]) -> None:
        """Report what an action raises to *on_error*, and go on: children depend on us."""
        self._on_error = on_error
        self._selector = selectors.DefaultSelector()
        self._timers: list[Timer] = []
        self._timer_count = 0
        self._signal_actions: dict[int, Callable[[], None]] = {}
        self._stopped = False
        self._wake_reader, self._wake_writer = socket.socketpair()
        self._wake_reader.setblocking(False)
        self._wake_writer.setblocking(False)
        self.watch(self._wake_reader, self._on_wake)

    def watch(
        self,
        sock: socket.socket,
        on_readable: Callable[[], None],
        on_writable: Callable[[], None] | None = None,
    ) -> None:
        """Call *on_readable* (and, while wanted, *on_writable*) when *sock* is."""
        self._selector.register(sock, selectors.EVENT_READ, (on_readable, on_writable))

    def want_write(self, sock: socket.socket, wanted: bool) -> None:
        """Start or stop waiting for room in *sock*."""
        key = self._selector.get_key(sock)
        events = selectors.EVENT_READ | (selectors.EVENT_WRITE if wanted else 0)
        if key.events != events:
            self._selector.modify(sock, events, key.data)

    def unwatch(self, sock: socket.socket) -> None:
        """Forget *sock*; before it is closed."""
        self._selector.unregister(sock)

    def call_later(self, delay_s: float, action: Callable[[], None]) -> Timer:
        """Call *action* once, *delay_s* seconds from now."""
        self._timer_count += 1
        timer = Timer(time.monotonic() + delay_s, self._timer_count, action)
        heapq.heappush(self._timers, timer)
        return timer

    def on_signal(self, number: signal.Signals, action: Callable[[], None]) -> None:
        """Call *action* from the loop (never in the middle of other code) after *number*."""
        self._signal_actions[number] = action
        signal.set_wakeup_fd(self._wake_writer.fileno(), warn_on_full_buffer=False)
        signal.signal(number, _nothing)

    def run(self) -> None:
        """Turn until `stop`."""
        while not self._stopped:
            self.turn()

    def stop(self) -> None:
        """Let `run` return after the present turn."""
        self._stopped = True

    def turn(self, longest_s: float = 60.0) -> None:
        """Wait once, at most *longest_s* seconds, and do what is due."""
        for key, events in self._selector.select(self._patience_s(longest_s)):
            on_readable, on_writable = key.data
            # An action before this one may have closed it, or watch it for something else.
            if events & selectors.EVENT_WRITE and on_writable is not None and self._is_watched(key):
                self._do(on_writable)
            if events & selectors.EVENT_READ and self._is_watched(key):
                self._do(on_readable)
        now = time.monotonic()
        timers = self._timers
        while timers and timers[0].due_s <= now:
            timer = heapq.heappop(timers)
            if not timer.cancelled:
                self._do(timer.action)

    def close(self) -> None:
        """Give the selector and the signal descriptors back."""
        signal.set_wakeup_fd(-1)
        self._selector.close()
        self._wake_reader.close()
        self._wake_writer.close()

    def _is_watched(self, key: selectors.SelectorKey) -> bool:
        now = self._selector.get_map().get(key.fd)
        return now is not None and now.fileobj is key.fileobj

    def _do(self, action: Callable[[], None]) -> None:
        try:
            action()
        except Exception as error:  # noqa: BLE001 (see `__init__`)
            self._on_error(error)

    def _patience_s(self, longest_s: float) -> float:
        timers = self._timers
        while timers and timers[0].cancelled:
            heapq.heappop(timers)
        if not timers:
            return longest_s
        return min(longest_s, max(0.0, timers[0].due_s - time.monotonic()))

    def _on_wake(self) -> None:
        try:
            numbers = self._wake_reader.recv(4096)
        except BlockingIOError:
            return
        for number in numbers:
            action = self._signal_actions.get(number)
            if action is not None:
                self._do(action)


def _nothing(number: int, frame: FrameType | None) -> None:
    """The Python half of a signal: the byte in the wake-up socket does the work."""
