"""Whether, where and when a failed attempt is followed by another.

Only attempts from which the client has seen nothing are repeated.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from tidegate.upstream.answer import UpstreamFault

#: retry: the same or another target; failover: another target or a fallback only;
#: final: the answer or fault goes to the client.
Next = Literal["retry", "failover", "final"]

BASE_BACKOFF_S = 0.2
MAX_BACKOFF_S = 5.0

#: Statuses that keep their meaning for the client and would be the same elsewhere.
PASSED_STATUSES = frozenset({400, 404, 413, 422, 429})


class RetryBudget:
    """Lets retries be at most `ratio` of the requests, beyond a small reserve.

    Without it every client of a failing provider multiplies its load just when it is down.
    """

    __slots__ = ("_level", "_ratio", "_reserve")

    def __init__(self, ratio: float = 0.2, reserve: float = 10.0) -> None:
        self._ratio = ratio
        self._reserve = reserve
        self._level = reserve

    def note_request(self, count: int = 1) -> None:
        """Count first attempts."""
        if self._level < self._reserve:
            self._level = min(self._level + count * self._ratio, self._reserve + self._ratio)

    def take(self) -> bool:
        """Spend one retry; False when there is none left."""
        if self._level < 1.0:
            return False
        self._level -= 1.0
        return True


def next_after_status(status: int) -> Next:
    """Decide by an upstream's status (never called for 2xx)."""
    if status in (408, 429) or status >= 500:
        return "retry"
    if status in (400, 404, 413, 422):
        return "final"
    # 401, 402, 403: our own account there. Anything odd: this provider is not itself.
    return "failover"


def next_after_fault(fault: UpstreamFault) -> Next:
    """Decide by a fault below HTTP, when the client has seen nothing yet.

    A request that may be running upstream is not sent to the same place again (it could be
    billed twice), except where the connection was lost before any answer.
    """
    if fault.kind in ("connect", "busy"):
        return "retry"
    if fault.kind == "truncated" and not fault.answered:
        return "retry"
    if fault.kind == "total":
        return "final"
    return "failover"


def backoff_s(
    retry_number: int,
    chance: Callable[[], float],
    retry_after_s: float | None,
    *,
    other_target: bool,
) -> float:
    """Return how long to wait before retry *retry_number* (from 1).

    Another target is tried at once. The same one is waited for: as long as it asked, else
    exponentially with full jitter. *chance* gives numbers in [0, 1).
    """
    if other_target:
        return 0.0
    if retry_after_s is not None:
        return retry_after_s
    ceiling = min(MAX_BACKOFF_S, BASE_BACKOFF_S * (1 << min(retry_number - 1, 20)))
    return ceiling * (0.5 + 0.5 * chance())


def parse_retry_after(value: bytes | None, value_ms: bytes | None) -> float | None:
    """Read an upstream's `retry-after` (whole or fractional seconds) or `retry-after-ms`.

    HTTP dates are ignored: they need the upstream's clock. Returns seconds or None.
    """
    for raw, scale in ((value_ms, 0.001), (value, 1.0)):
        if raw is None:
            continue
        try:
            seconds = float(raw) * scale
        except ValueError:
            continue
        if 0.0 <= seconds < 1e7:
            return seconds
    return None
