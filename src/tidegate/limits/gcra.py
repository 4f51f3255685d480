"""The arithmetic of a limit: GCRA, a token bucket whose whole state is one time.

The theoretical arrival time (TAT) is when the bucket will be full again. A request of cost
c moves it on by `ceil(c · window / amount)`; it passes if the TAT would then lie at most one
burst in the future. In any interval t at most `burst + amount · t / window` pass. All times
are whole nanoseconds, rounded so that the bound holds to the last request.
"""

from __future__ import annotations


def increment_ns(cost: int, amount: int, window_ns: int) -> int:
    """Return by how much *cost* units move the TAT: never less than their exact share."""
    return -(-cost * window_ns // amount)


def remaining(ahead_ns: int, unit_ns: int, capacity_ns: int) -> int:
    """Return how many units of *unit_ns* would pass at once now.

    *ahead_ns* is also how long it takes until all of them would.
    """
    return (capacity_ns - ahead_ns) // unit_ns if ahead_ns < capacity_ns else 0
