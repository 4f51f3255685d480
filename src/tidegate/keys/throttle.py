"""Makes guessing keys slow, without ever touching a request with a valid one.

A request is authenticated first. Only the answer to a failed one is held back: after a few
free failures, each failure of an address takes the next slot of one a second. What is held
back is bounded, so guessing cannot use our memory either.
"""

from __future__ import annotations

import socket
from collections import OrderedDict
from collections.abc import Callable

from tidegate.clock import monotonic_s


class GuessThrottle:
    """Decides how long the 401 of an address is held back.

    An IPv6 address counts as its /64 network: whoever has one has all the others in it.

    Args:
        free: Failures of an address that are answered at once.
        period_s: Seconds between two answers after that.
        max_wait_s: Longest time that one answer is held back.
        max_held: Answers held back at once in this process; beyond it they are not.
        max_addresses: Addresses remembered; the one that failed longest ago is forgotten.
        clock: Monotonic seconds.
    """

    def __init__(
        self,
        *,
        free: int = 10,
        period_s: float = 1.0,
        max_wait_s: float = 5.0,
        max_held: int = 1_000,
        max_addresses: int = 10_000,
        clock: Callable[[], float] = monotonic_s,
    ) -> None:
        self._burst_s = free * period_s
        self._period_s = period_s
        self._max_wait_s = max_wait_s
        self._max_held = max_held
        self._max_addresses = max_addresses
        self._clock = clock
        self._due: OrderedDict[str, float] = OrderedDict()
        self.held = 0

    def reserve(self, address: str) -> float:
        """Note a failure of *address*; return the seconds to hold its answer back.

        After a wait above zero call `release` once.
        """
        now = self._clock()
        if ":" in address:
            address = _network(address)
        due = max(self._due.pop(address, 0.0), now) + self._period_s
        wait_s = min(due - now - self._burst_s, self._max_wait_s)
        # An address is never further behind than the longest wait: it recovers in seconds.
        self._due[address] = min(due, now + self._burst_s + self._max_wait_s)
        if len(self._due) > self._max_addresses:
            self._due.popitem(last=False)
        if wait_s <= 0.0 or self.held >= self._max_held:
            return 0.0
        self.held += 1
        return wait_s

    def release(self) -> None:
        """An answer is no longer held back."""
        self.held -= 1


def _network(address: str) -> str:
    """Return the /64 of an IPv6 *address*; an IPv4 address inside one stays one of its own."""
    try:
        packed = socket.inet_pton(socket.AF_INET6, address.partition("%")[0])
    except OSError:
        return address
    if packed[:12] == b"\0" * 10 + b"\xff\xff":
        return socket.inet_ntop(socket.AF_INET, packed[12:])
    return socket.inet_ntop(socket.AF_INET6, packed[:8] + bytes(8))
