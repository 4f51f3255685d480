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


def wait_ns(tat_ns: int, now_ns: int, cost_ns: int, capacity_ns: int) -> int:
    """Return how long a request of *cost_ns* has to wait; 0 or less when it passes now.

    Args:
        tat_ns: State of the subject; anything up to *now_ns* is a full bucket.
        now_ns: The clock.
        cost_ns: `increment_ns` of the request.
        capacity_ns: `increment_ns` of the burst.
    """
    return (tat_ns if tat_ns > now_ns else now_ns) + cost_ns - capacity_ns - now_ns


def remaining(tat_ns: int, now_ns: int, unit_ns: int, capacity_ns: int) -> int:
    """Return how many units of *unit_ns* would pass at once now."""
    left_ns = capacity_ns - (tat_ns - now_ns if tat_ns > now_ns else 0)
    return left_ns // unit_ns if left_ns > 0 else 0
