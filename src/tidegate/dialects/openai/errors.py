"""Errors and limit headers in the shape that OpenAI's SDKs read.

    {"error": {"message": "…", "type": "rate_limit_error", "param": null, "code": "…"}}

The SDK shows `error.message` to its user, decides by status, and honours `retry-after-ms`,
`retry-after` and `x-should-retry` (openai package 3.x, `_base_client.py`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Protocol

import msgspec

from tidegate.errors import GatewayError

_encode = msgspec.json.Encoder().encode


class RuleView(Protocol):
    """A limit, as far as headers tell of it."""

    amount: int
    is_concurrency: bool
    policy_item: bytes
    name_item: bytes


#: The limit, what is left of it now, and the ns until all is there again (`limits` is a layer
#: above, so only the shape is known here).
LimitStateView = tuple[RuleView, int, int]


def error_body(error: GatewayError) -> bytes:
    """Render *error* as the body of an answer."""
    return _encode(
        {
            "error": {
                "message": error.message,
                "type": error.kind,
                "param": error.param,
                "code": error.code,
            }
        }
    )


def error_event(error: GatewayError) -> bytes:
    """Render *error* as the last event of a stream that was cut."""
    return b"data: " + error_body(error) + b"\n\n"


def retry_headers(error: GatewayError) -> bytes:
    """Render `retry-after` (whole seconds, rounded up), `retry-after-ms`, `x-should-retry`."""
    lines = b""
    if error.retry_after_s is not None:
        wait_s = max(0.0, error.retry_after_s)
        lines = b"retry-after: %d\r\nretry-after-ms: %d\r\n" % (
            math.ceil(wait_s),
            math.ceil(wait_s * 1000),
        )
    if error.should_retry is not None:
        lines += b"x-should-retry: true\r\n" if error.should_retry else b"x-should-retry: false\r\n"
    return lines


def limit_headers(states: Sequence[LimitStateView]) -> bytes:
    """Render the `x-ratelimit-*` lines of the binding limit and the IETF pair for all.

    The binding limit is the one with the least left. Empty when no limit applied.
    """
    if not states:
        return b""
    rule, remaining, reset_ns = states[0]
    if len(states) == 1 and not rule.is_concurrency:
        template = _templates.get(rule.policy_item) or _template_of(rule)
        reset = go_duration(reset_ns)
        return template % (remaining, reset, remaining, -(-reset_ns // 1_000_000_000))
    lines = ietf_lines(states)
    # Requests at once are no requests per time: the vendor's headers cannot say them.
    timed = [state for state in states if not state[0].is_concurrency]
    if not timed:
        return lines
    rule, remaining, reset_ns = min(timed, key=_remaining)
    return (
        b"x-ratelimit-limit-requests: %d\r\nx-ratelimit-remaining-requests: %d\r\n"
        b"x-ratelimit-reset-requests: %b\r\n%b"
        % (rule.amount, remaining, go_duration(reset_ns), lines)
    )


_templates: dict[bytes, bytes] = {}
_MAX_TEMPLATES = 1_000


def _template_of(rule: RuleView) -> bytes:
    """Write the lines of one limit, all but what changes: four values to fill in, not seven."""
    lines = b"x-ratelimit-limit-requests: %d\r\n" % rule.amount
    lines += b"x-ratelimit-remaining-requests: %d\r\nx-ratelimit-reset-requests: %b\r\n"
    lines += ietf_template(rule)
    if len(_templates) >= _MAX_TEMPLATES:
        _templates.clear()
    _templates[rule.policy_item] = lines
    return lines


def ietf_template(rule: RuleView) -> bytes:
    """Return what `ietf_lines` writes of one limit, its rest and the seconds to be filled in."""
    policy, name = rule.policy_item.replace(b"%", b"%%"), rule.name_item.replace(b"%", b"%%")
    return b"ratelimit-policy: " + policy + b"\r\nratelimit: " + name + b";r=%d;t=%d\r\n"


def ietf_lines(states: Sequence[LimitStateView]) -> bytes:
    """Render `ratelimit-policy` and `ratelimit`, which every dialect's answers have."""
    policies = b", ".join([rule.policy_item for rule, _, _ in states])
    current = b", ".join(
        [
            b"%b;r=%d;t=%d" % (rule.name_item, remaining, -(-wait_ns // 1_000_000_000))
            for rule, remaining, wait_ns in states
        ]
    )
    return b"ratelimit-policy: %b\r\nratelimit: %b\r\n" % (policies, current)


def _remaining(state: LimitStateView) -> int:
    return state[1]


def go_duration(duration_ns: int) -> bytes:
    """Write a duration as OpenAI does (Go's way): `12ms`, `1s`, `6m0s`, `1h0m0s`."""
    ms = -(-duration_ns // 1_000_000)
    if ms < 1000:
        return b"%dms" % ms
    seconds, ms = divmod(ms, 1000)
    fraction = b"" if ms == 0 else b".%03d" % ms
    if seconds < 60:
        return b"%d%bs" % (seconds, fraction)
    minutes, seconds = divmod(seconds, 60)
    if minutes < 60:
        return b"%dm%d%bs" % (minutes, seconds, fraction)
    return b"%dh%dm%d%bs" % (*divmod(minutes, 60), seconds, fraction)
