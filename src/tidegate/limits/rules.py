"""A configured limit in the form that the limiter computes with."""

from __future__ import annotations

import hashlib

from tidegate.config.snapshot import LimitSnapshot
from tidegate.errors import ConfigError
from tidegate.limits.gcra import increment_ns

#: A TAT is an int64 of ns since boot, and may lie this far ahead: 146 years.
MAX_CAPACITY_NS = 1 << 62


class Rule:
    """One limit.

    Raises `ConfigError` when its burst would take more than 146 years to come back.

    Attributes:
        name: Its name in the configuration; a metric label.
        per: `key` | `ip` | `global` | `model`.
        unit: `requests` | `concurrency`.
        amount: Units per window, or units at once.
        window_ns: Length of the window.
        burst: Units that may pass at once.
        is_concurrency: `unit` is `concurrency`: counted, not timed.
        enforced: False in shadow mode: evaluated and counted, never refusing.
        is_plain: An enforced rate: what nearly all limits are.
        cost_ns: What one request moves the TAT by.
        capacity_ns: The most that the TAT may lie ahead.
        slack_ns: The most that it may lie ahead for one more request to pass.
        near_ns: A TAT at least this far ahead is near the limit (80 % used).
        opens_when_full: Whether a subject that finds no room in the table passes.
        name_item: The name as a structured-field string, `"per-key"`.
        policy_item: Its `RateLimit-Policy` item, `"per-key";q=60;w=60`, or
            `"running";q=8;qu="concurrent-requests"`.
        salt: Distinguishes its subjects from those of other limits.
    """

    __slots__ = (
        "amount",
        "burst",
        "capacity_ns",
        "cost_ns",
        "enforced",
        "is_concurrency",
        "is_plain",
        "name",
        "name_item",
        "near_ns",
        "opens_when_full",
        "per",
        "policy_item",
        "salt",
        "slack_ns",
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
        self.is_plain = enforced and not self.is_concurrency
        self.cost_ns = increment_ns(1, amount, window_ns)
        self.capacity_ns = self.cost_ns * burst
        if self.capacity_ns > MAX_CAPACITY_NS:
            problem = "takes more than 146 years to come back; lower it or the window"
            raise ConfigError([(f"limits.{name}.burst", problem)])
        self.slack_ns = self.capacity_ns - self.cost_ns
        self.near_ns = -(-self.capacity_ns * 4 // 5)
        # Addresses can be made up without end, so a flood of them must not lock out keys.
        self.opens_when_full = per == "ip"
        self.name_item = b'"%b"' % _structured_string(name)
        if self.is_concurrency:
            self.policy_item = b'%b;q=%d;qu="concurrent-requests"' % (self.name_item, amount)
            # Without the amount: what is running under an old one still counts under a new one.
            identity = f"{name}\0{per}\0{unit}"
        else:
            window_s = -(-window_ns // 1_000_000_000)
            self.policy_item = b"%b;q=%d;w=%d" % (self.name_item, amount, window_s)
            # With the numbers: a subject's old TAT means nothing under new ones.
            identity = f"{name}\0{per}\0{unit}\0{amount}\0{window_ns}"
        self.salt = hashlib.blake2b(identity.encode(), digest_size=16).digest()

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
    """Write *text* inside the quotes of a structured field (RFC 9651, 3.3.3).

    It has no form for control characters, which are left out, nor for what is not ASCII.
    """
    visible = text.encode("ascii", "replace").replace(b"\\", b"\\\\").replace(b'"', b'\\"')
    return bytes(byte for byte in visible if 0x20 <= byte < 0x7F)
