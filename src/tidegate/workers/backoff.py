"""How long to wait before a dead child is started again."""

from __future__ import annotations

QUICK_DEATH_S = 2.0
"""A child that served for less died of something that will probably happen again."""
HEALTHY_LIFE_S = 10.0
"""A child that served this long wipes out what happened before."""
FREE_STRIKES = 5
FIRST_DELAY_S = 0.1
LONGEST_DELAY_S = 10.0


class Backoff:
    """Counts the quick deaths of one seat.

    Single deaths cost nothing: the next process starts at once. From the sixth quick death
    in a row on, the pause doubles from 0.1 s up to 10 s, so a worker that cannot live never
    becomes a fork bomb.
    """

    __slots__ = ("strikes",)

    def __init__(self) -> None:
        self.strikes = 0

    def delay_s(self, served_s: float) -> float:
        """Record a death after *served_s* seconds of readiness (0: never ready).

        Returns seconds to wait before the next start.
        """
        if served_s >= HEALTHY_LIFE_S:
            self.strikes = 0
        elif served_s >= QUICK_DEATH_S:
            self.strikes = max(0, self.strikes - 1)
        else:
            self.strikes += 1
        over = self.strikes - FREE_STRIKES
        if over <= 0:
            return 0.0
        return min(LONGEST_DELAY_S, FIRST_DELAY_S * 2.0 ** min(over - 1, 16))
