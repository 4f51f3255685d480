"""Durations and sizes mean exactly what they say."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegate.config.units import (
    MAX_DURATION_NS,
    Duration,
    parse_duration,
    parse_size,
    show_size,
)


@given(st.integers(0, MAX_DURATION_NS))
def test_every_duration_reads_back_as_it_was_written(ns: int) -> None:
    """The shortest form of any duration has the same length to the nanosecond."""
    assert parse_duration(str(Duration(ns))) == Duration(ns)


@given(st.integers(0, 400 * 86400))
def test_a_number_is_seconds_in_quotes_or_not(seconds: int) -> None:
    """`60`, `"60"`, `60s` are the same."""
    assert parse_duration(seconds).ns == seconds * 10**9
    assert parse_duration(str(seconds)) == parse_duration(f"{seconds}s") == parse_duration(seconds)


@given(st.integers(0, 23), st.integers(0, 59), st.integers(0, 59), st.integers(0, 999))
def test_parts_add_up(hours: int, minutes: int, seconds: int, ms: int) -> None:
    """`1h2m3s4ms` is the sum of its parts."""
    total = parse_duration(f"{hours}h{minutes}m{seconds}s{ms}ms")
    assert total.ns == ((hours * 60 + minutes) * 60 + seconds) * 10**9 + ms * 10**6


@given(st.text(max_size=12))
def test_any_text_is_a_duration_or_a_value_error(text: str) -> None:
    """No text makes the parser fail in another way or give a length out of range."""
    try:
        duration = parse_duration(text)
    except ValueError:
        return
    assert 0 <= duration.ns <= MAX_DURATION_NS


@pytest.mark.parametrize(
    "value",
    ["", "s", "1.s", "-1s", "1 s", "1x", "30s1m", "1m1m", "1e3", "1:30", "401d", "٣s", "1.2.3s",
     -1, 1e30, float("nan"), float("inf"), True, None, [], {}],
)  # fmt: skip
def test_slips_are_no_durations(value: object) -> None:
    """Signs, blanks, wrong order, units unknown, and what is too long are refused."""
    with pytest.raises(ValueError, match="must be"):
        parse_duration(value)


def test_fractions_are_exact() -> None:
    """`0.1` is a tenth of a second and not the float next to it."""
    assert parse_duration(0.1).ns == parse_duration("0.1s").ns == 100_000_000
    assert parse_duration("1.5h").ns == 5400 * 10**9


@given(st.integers(0, 1 << 40))
def test_every_size_reads_back_as_it_was_written(size_bytes: int) -> None:
    """The shown form of a size is the same size."""
    assert parse_size(show_size(size_bytes)) == parse_size(size_bytes) == size_bytes


@pytest.mark.parametrize(
    ("text", "size_bytes"),
    [
        ("32MiB", 33554432),
        ("1kb", 1000),
        ("1.5 KiB", 1536),
        ("0", 0),
        ("7B", 7),
        ("2GB", 2 * 10**9),
    ],
)
def test_sizes_know_both_kinds_of_units(text: str, size_bytes: int) -> None:
    """`MB` is a million bytes, `MiB` is 2**20."""
    assert parse_size(text) == size_bytes


@pytest.mark.parametrize("value", ["", "1 TB", "-1", "1.3B", "x", 1.5, True, None, "2000GiB"])
def test_slips_are_no_sizes(value: object) -> None:
    """Signs, halves of bytes, unknown units and what is too large are refused."""
    with pytest.raises(ValueError, match="must be"):
        parse_size(value)
