"""Limits and keys: who is refused, and who tries to get in."""

from __future__ import annotations

from tidegate.control.alerts.conditions import Compare
from tidegate.control.alerts.expressions import Events, Latest, Rate, Ratio
from tidegate.control.alerts.rule import AlertRule
from tidegate.metrics.families.authentication import AUTH_FAILURES
from tidegate.metrics.families.rate_limits import BLOCKED, DECISIONS, TABLE_FULL, TABLE_USED

_GUESSES = frozenset({"unknown", "malformed", "throttled"})

LIMIT_RULES = (
    AlertRule(
        "HighRateLimitBlocking",
        "warning",
        300,
        "More than 10 requests a second are refused by limits",
        "{{ $labels.instance }} refuses {{ $value | humanize }} requests a second",
        "Clients send more than their limits allow. See which limit in "
        "tidegate_rate_limit_decisions_total.",
        # Word for word what monitors of LLM Gateway Core have: no sum, one series an instance.
        Compare(Rate(BLOCKED, window_s=300, scope="series"), ">", 10),
    ),
    AlertRule(
        "TidegateBlockRatioHigh",
        "warning",
        600,
        "A limit refuses more than a fifth of what it sees",
        "Limit {{ $labels.limit }} refuses {{ $value | humanizePercentage }} of its requests",
        "Either clients need more than the limit gives, or one of them does not wait as its 429s "
        "ask. The live view shows which keys are near their limits.",
        Compare(
            Ratio(
                Rate(DECISIONS, window_s=300, match={"decision": "blocked"}, by=("limit",)),
                Rate(
                    DECISIONS,
                    window_s=300,
                    match={"decision": frozenset({"allowed", "blocked"})},
                    by=("limit",),
                ),
                # One request in five seconds: a lone client's first refusal is nobody's alarm.
                floor=0.2,
            ),
            ">",
            0.2,
        ),
    ),
    AlertRule(
        "TidegateLimiterTableFilling",
        "warning",
        300,
        "The limiter's table is more than 60 % full",
        "The limiter's table of {{ $labels.instance }} is {{ $value | humanizePercentage }} full",
        "Above 70 % some subjects find no room: limits per address then let them pass, others "
        "refuse. A flood of addresses or very long windows fill it.",
        Compare(Latest(TABLE_USED), ">", 0.6),
    ),
    AlertRule(
        "TidegateLimiterTableFull",
        "critical",
        0,
        "Subjects found no room in the limiter's table",
        "{{ $value | humanize }} subjects found no room in the limiter's table of "
        "{{ $labels.instance }}",
        "Limits per address let them pass, so they do not hold; other limits refuse them.",
        Compare(Events(TABLE_FULL, window_s=900), ">", 0),
    ),
    AlertRule(
        "TidegateKeyGuessing",
        "warning",
        300,
        "More than one wrong key a second",
        "{{ $labels.instance }} is sent {{ $value | humanize }} wrong keys a second",
        "Somebody tries keys, or a client goes on with a key that is gone. Addresses that guess "
        "are slowed down; requests with a valid key are not.",
        Compare(Rate(AUTH_FAILURES, window_s=300, match={"reason": _GUESSES}), ">", 1),
    ),
)
