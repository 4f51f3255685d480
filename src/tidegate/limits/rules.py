"""A configured limit in the form that the limiter computes with."""

from __future__ import annotations

import hashlib

from tidegate.config.snapshot import LimitSnapshot
from tidegate.limits.gcra import increment_ns


class Rule:
    """One limit.

    Attributes:
        name: Its name in the configuration; a metric label.
        per: `key` | `ip` | `global` | `model`.
        unit: `requests` | `concurrency`.
        amount: Units per window, or units at once.
        window_ns: Length of the window.
        burst: Units that may pass at once.
        is_concurrency: `unit` is `concurrency`: counted, not timed.
        enforced: False in shadow mode: evaluated and counted, never refusing.
        cost_ns: What one request moves the TAT by.
        capacity_ns: The most that the TAT may lie ahead.
        near_ns: A TAT further ahead than this is near the limit (80 % used).
        opens_when_full: Whether a subject that finds no room in the table passes.
        name_item: The name as a structured-field string, `"per-key"`.
        policy_item: Its `RateLimit-Policy` item, `"per-key";q=60;w=60`.
        salt: Distinguishes its subjects from those of other limits.
    """

    __slots__ = (
        "amount",
        "burst",
        "capacity_ns",
        "cost_ns",
        "enforced",
        "is_concurrency",
        "name",
        "name_item",
        "near_ns",
        "opens_when_full",
        "per",
        "policy_item",
        "salt",
        "unit",
        "window_ns",
    )

    def __init__(
        self,
        name: str,
        per: str,
        unit: str,
        amount: int,
        window_ns: int,
        burst: int,
        *,
        enforced: bool = True,
    ) -> None:
        if amount < 1 or burst < 1 or window_ns < 1:
            raise ValueError(f"limit {name!r}: amount, burst and window must be at least 1")
        self.name = name
        self.per = per
        self.unit = unit
        self.is_concurrency = unit == "concurrency"
        self.amount = amount
        self.window_ns = window_ns
        self.burst = burst
        self.enforced = enforced
        self.cost_ns = increment_ns(1, amount, window_ns)
        self.capacity_ns = self.cost_ns * burst
        self.near_ns = self.capacity_ns * 4 // 5
        # Addresses can be made up without end, so a flood of them must not lock out keys.
        self.opens_when_full = per == "ip"
        self.name_item = b'"%b"' % _structured_string(name)
        self.policy_item = b"%b;q=%d;w=%d" % (
            self.name_item,
            amount,
            max(1, -(-window_ns // 1_000_000_000)),
        )
        # The numbers are part of it: a subject's old TAT means nothing under new ones.
        self.salt = hashlib.blake2b(
            f"{name}\0{per}\0{unit}\0{amount}\0{window_ns}".encode(), digest_size=16
        ).digest()

    @classmethod
    def from_snapshot(cls, limit: LimitSnapshot) -> Rule:
        """Compile a limit of the configuration."""
        return cls(
            limit.name,
            limit.per,
            limit.unit,
            limit.amount,
            limit.window_ns,
            limit.burst,
            enforced=limit.mode != "shadow",
        )


def _structured_string(text: str) -> bytes:
    """Write *text* inside the quotes of a structured field (RFC 9651, 3.3.3)."""
    visible = text.encode("ascii", "replace")
    return bytes(byte for byte in visible if 0x20 <= byte < 0x7F and byte not in b'"\\')
