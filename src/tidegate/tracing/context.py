"""W3C Trace Context: which trace a request belongs to, as it says itself.

Both headers are text of a client's. What is not exactly as the recommendation wants it is
treated as absent: a broken `traceparent` begins a new trace, and takes its `tracestate` along.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

MAX_TRACESTATE_BYTES: Final = 512
MAX_TRACESTATE_MEMBERS: Final = 32

_TRACEPARENT: Final = re.compile(
    rb"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-[!-~]*)?"
)
_MEMBER: Final = re.compile(
    rb"(?:[a-z][a-z0-9_*/-]{0,255}|[a-z0-9][a-z0-9_*/-]{0,240}@[a-z][a-z0-9_*/-]{0,13})"
    rb"=[ -+\--<>-~]{0,255}[!-+\--<>-~]"
)
_NO_TRACE: Final = b"0" * 32
_NO_SPAN: Final = b"0" * 16


class Parent(NamedTuple):
    """The span that a request was sent from.

    Attributes:
        trace_id: 32 hexadecimal digits.
        span_id: 16 hexadecimal digits.
        sampled: Whether it is recorded there.
    """

    trace_id: str
    span_id: str
    sampled: bool


def parse_traceparent(value: bytes | None) -> Parent | None:
    """Return the parent that *value* names, or None where it is not well-formed.

    A later version than 00 is read as far as 00 goes, as the recommendation demands; ff is none.
    """
    if value is None or len(value) < 55:
        return None
    match = _TRACEPARENT.fullmatch(value)
    if match is None:
        return None
    version, trace_id, span_id, flags, more = match.groups()
    if version == b"ff" or trace_id == _NO_TRACE or span_id == _NO_SPAN:
        return None
    if version == b"00" and more is not None:
        return None
    return Parent(trace_id.decode(), span_id.decode(), bool(int(flags, 16) & 1))


def clean_tracestate(value: bytes | None) -> bytes:
    """Return the members of *value* that may be sent on; empty where one is not well-formed.

    At most 32 members and 512 bytes: the members on the right, the oldest ones, go first.
    """
    if not value or len(value) > 16 * MAX_TRACESTATE_BYTES:
        return b""
    kept: list[bytes] = []
    names: set[bytes] = set()
    size = 0
    for part in value.split(b","):
        member = part.strip(b" \t")
        if not member:
            continue
        name = member.partition(b"=")[0]
        if name in names or not _MEMBER.fullmatch(member):
            return b""
        names.add(name)
        size += len(member) + 1
        if size - 1 <= MAX_TRACESTATE_BYTES and len(kept) < MAX_TRACESTATE_MEMBERS:
            kept.append(member)
        else:
            size = MAX_TRACESTATE_BYTES + 2  # nothing behind a gap
    return b",".join(kept)
