"""The clocks that limits and keys go by; what they are given in place of these, tests move."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial

# CLOCK_BOOTTIME goes on while the host sleeps: a bucket fills in the night as well. Systems
# without it have a monotonic clock.
_BOOTTIME: int = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)

#: Ns since the host was booted, the same in all its processes, never set back (0.06 µs).
boottime_ns: Callable[[], int] = partial(time.clock_gettime_ns, _BOOTTIME)

#: Seconds of a clock that is never set back; differences only.
monotonic_s: Callable[[], float] = time.monotonic


def wall_ms() -> int:
    """Return Unix time in ms. It can be set back: for expiry dates and logs only."""
    return time.time_ns() // 1_000_000
