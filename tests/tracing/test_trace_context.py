"""Which `traceparent` and `tracestate` are believed, by the W3C recommendation."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegate.tracing.context import (
    MAX_TRACESTATE_BYTES,
    MAX_TRACESTATE_MEMBERS,
    clean_tracestate,
    parse_traceparent,
)

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
SPAN = "00f067aa0ba902b7"
GOOD = f"00-{TRACE}-{SPAN}-01"


@pytest.mark.parametrize(
    ("header", "sampled"),
    [
        (GOOD, True),
        (f"00-{TRACE}-{SPAN}-00", False),
        (f"00-{TRACE}-{SPAN}-03", True),
        (f"00-{TRACE}-{SPAN}-fe", False),
        (f"01-{TRACE}-{SPAN}-01", True),
        (f"cc-{TRACE}-{SPAN}-01-what-the-future-brings", True),
    ],
)
def test_a_well_formed_parent_is_believed(header: str, sampled: bool) -> None:
    """Later versions too, as far as this one knows them."""
    assert parse_traceparent(header.encode()) == (TRACE, SPAN, sampled)


@pytest.mark.parametrize(
    "header",
    [
        "", "00", GOOD[:-1], GOOD + "0", GOOD + "-", GOOD + "-more", GOOD.upper(),
        f"ff-{TRACE}-{SPAN}-01", f"00-{'0' * 32}-{SPAN}-01", f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE[:-1]}g-{SPAN}-01", f"00_{TRACE}_{SPAN}_01", f" {GOOD}", f"{GOOD} ",
        f"{GOOD}, {GOOD}", f"00-{TRACE}-{SPAN}-0x", f"0-{TRACE}0-{SPAN}-01",
        f"cc-{TRACE}-{SPAN}-01.x",
        GOOD.replace("4", "\u0664"),
    ],
)  # fmt: skip
def test_a_malformed_parent_is_none(header: str) -> None:
    """A new trace begins; nothing of the header is kept."""
    assert parse_traceparent(header.encode()) is None


def test_no_header_is_no_parent() -> None:
    """The usual case."""
    assert parse_traceparent(None) is None


@given(st.binary(max_size=80))
def test_only_hexadecimal_digits_are_ever_taken(header: bytes) -> None:
    """What is shown later is never a client's own text."""
    parent = parse_traceparent(header)
    if parent is not None:
        assert set(parent.trace_id + parent.span_id) <= set("0123456789abcdef")
        assert (len(parent.trace_id), len(parent.span_id)) == (32, 16)


@pytest.mark.parametrize(
    ("header", "kept"),
    [
        (b"a=1", b"a=1"),
        (b"rojo=00f067aa0ba902b7,congo=t61rcWkgMzE", b"rojo=00f067aa0ba902b7,congo=t61rcWkgMzE"),
        (b"a=1 , b=2\t,,c=3", b"a=1,b=2,c=3"),
        (b"1tenant@vendor=x y", b"1tenant@vendor=x y"),
        (b"a=1,a=2", b""),
        (b"A=1", b""),
        (b"a", b""),
        (b"a=", b""),
        (b"a=b=c", b""),
        (b"a=\xff", b""),
        (b"a=x\r\nevil: 1", b""),
        (b"", b""),
    ],
)
def test_members_are_kept_or_all_dropped(header: bytes, kept: bytes) -> None:
    """One that is malformed takes the others along, as the recommendation says."""
    assert clean_tracestate(header) == kept


def test_the_state_is_capped() -> None:
    """The oldest members, on the right, go first; none is cut in two."""
    many = b",".join(b"k%d=1" % number for number in range(60))
    assert clean_tracestate(many).split(b",") == many.split(b",")[:MAX_TRACESTATE_MEMBERS]
    long = b",".join(b"k%d=%b" % (number, b"v" * 200) for number in range(5))
    assert clean_tracestate(long).split(b",") == long.split(b",")[:2]
    assert len(clean_tracestate(long)) <= MAX_TRACESTATE_BYTES
    assert clean_tracestate(b"a=" + b"x" * 100_000) == b""
