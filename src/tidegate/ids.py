"""Identifiers: unique over workers, hosts and restarts, and in the order of time.

req_0rk3v8m2p0-7f3ac91b40-0002s      48 bits of ms, 50 random bits per process, a counter
"""

from __future__ import annotations

import itertools
import os
import secrets
import time

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
_counter = itertools.count()
_process = ""
_process_id = 0
_last_ms = 0
_prefix = ""


def _base32(number: int, width: int) -> str:
    digits = []
    for _ in range(width):
        number, digit = divmod(number, 32)
        digits.append(_ALPHABET[digit])
    return "".join(reversed(digits))


def request_id() -> str:
    """Return a new request id (0.25 µs). Never repeated, in any process."""
    global _last_ms, _prefix, _process, _process_id  # noqa: PLW0603 (one line of state a process)
    now_ms = time.time_ns() // 1_000_000
    if now_ms != _last_ms:
        if _process_id != os.getpid():
            _process_id = os.getpid()
            _process = _base32(secrets.randbits(50), 10)
        _last_ms = now_ms
        _prefix = f"req_{_base32(now_ms, 10)}{_process}"
    return f"{_prefix}{next(_counter):06x}"


def key_id() -> str:
    """Return a new id of a key; it is no secret and shows in lists and logs."""
    return f"key_{_base32(time.time_ns() // 1_000_000, 10)}{_base32(secrets.randbits(40), 8)}"
