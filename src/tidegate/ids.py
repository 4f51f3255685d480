"""Identifiers: unique over workers, hosts and restarts, and in the order of time.

req_01m87fea18 7znwgpadex 0249f0      ms (base 32), 50 random bits, a counter (no blanks)
"""

from __future__ import annotations

import itertools
import os
import secrets
import time

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
_next_number = itertools.count().__next__
_prefix = ""
_valid_until_s = 0.0


def _base32(number: int, width: int) -> str:
    digits = []
    for _ in range(width):
        number, digit = divmod(number, 32)
        digits.append(_ALPHABET[digit])
    return "".join(reversed(digits))


def request_id() -> str:
    """Return a new request id (0.15 µs). Never repeated, in any process.

    Its time part is renewed every half second; within it the counter keeps the order.
    """
    if time.monotonic() >= _valid_until_s:
        _renew()
    return f"{_prefix}{_next_number() & 0xFFFFFF:06x}"


FIRST_ATTEMPT = ":1"
"""What makes of a request's id that of its first attempt."""


def attempt_id(request_id: str, number: int) -> str:
    """Return the id of a request's attempt; *number* counts from 1, the first try included."""
    return f"{request_id}:{number}"


def _renew() -> None:
    global _prefix, _valid_until_s  # noqa: PLW0603 (one line of state a process)
    _prefix = f"req_{_base32(time.time_ns() // 1_000_000, 10)}{_process}"
    _valid_until_s = time.monotonic() + 0.5


def key_id() -> str:
    """Return a new id of a key; it is no secret and shows in lists and logs."""
    return f"key_{_base32(time.time_ns() // 1_000_000, 10)}{_base32(secrets.randbits(40), 8)}"


def _forget() -> None:
    """Start anew in a child: what its parent has prepared is its parent's."""
    global _process, _valid_until_s  # noqa: PLW0603
    _process = _base32(secrets.randbits(50), 10)
    _valid_until_s = 0.0


_process = ""
_forget()
os.register_at_fork(after_in_child=_forget)
