"""Numbers, charts and tables of `tidegate top`."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegate.cli.top.figures import (
    count,
    cut,
    merged,
    percent,
    plain,
    quantity,
    seconds,
    size,
    spark,
    three,
)
from tidegate.cli.top.layout import Column, table, text_of


@pytest.mark.parametrize(
    ("value", "shown"),
    [(0.0, "0"), (0.004, "0"), (0.005, "0.01"), (0.52, "0.52"), (9.994, "9.99"), (9.996, "10.0"),
     (99.94, "99.9"), (99.96, "100"), (999.4, "999"), (999.6, "1.00k"), (12_345, "12.3k"),
     (999_600, "1.00M"), (5e9, "5.00G"), (5e13, "50000G")],
)  # fmt: skip
def test_a_number_has_three_figures(value: float, shown: str) -> None:
    """And never four where rounding would make them."""
    assert three(value) == shown


@pytest.mark.parametrize(
    ("value", "shown"),
    [(None, "–"), (0.0, "0 ms"), (0.0004, "0.40 ms"), (0.34, "340 ms"), (0.9996, "1.00 s"),
     (12.3, "12.3 s"), (99.6, "1m 40s"), (185, "3m 05s"), (3599.6, "1h 00m"), (7500, "2h 05m"),
     (4 * 86400 + 7200, "4d 2h")],
)  # fmt: skip
def test_a_time_is_told_in_the_unit_that_fits(value: float | None, shown: str) -> None:
    """From microseconds to days."""
    assert seconds(value) == shown


def test_shares_sizes_and_counts() -> None:
    """What is not quite everything is never 100 %."""
    assert [percent(ratio) for ratio in (None, 0.0, 0.5, 0.99999, 1.0, 1.5)] == [
        "–", "0.0 %", "50.0 %", "99.9 %", "100 %", "150.0 %",
    ]  # fmt: skip
    assert [size(value) for value in (None, 0, 999, 45_200_000, 3e9)] == [
        "–", "0 B", "999 B", "45.2 MB", "3.00 GB",
    ]  # fmt: skip
    assert [count(value) for value in (0, 999, 1200)] == ["0", "999", "1.20k"]
    assert (quantity(None, "/s"), quantity(1.5, "/s")) == ("–", "1.50 /s")


def test_nothing_that_a_terminal_obeys_is_shown() -> None:
    """A name with an escape sequence in it neither colours nor moves anything."""
    assert plain("a\x1b[31mb\nc\x9bd\u202ee") == "a�[31mb�c�d�e"
    assert plain("Zürich 東京") == "Zürich 東京"


def test_a_chart_shows_gaps_zeros_and_the_highest() -> None:
    """Two rows have sixteen steps."""
    assert spark([None, 0.0, 4.0, 8.0]) == [" ▁▄█"]
    assert spark([None, 0.0, 4.0, 8.0], rows=2) == ["   █", " ▁██"]
    assert spark([0.0, 0.0]) == ["▁▁"]
    assert spark([None, None], rows=2) == ["  ", "  "]
    assert spark([]) == [""]


def test_neighbours_are_merged_and_gaps_left_out_of_them() -> None:
    """The mean of what there is, or the highest of it."""
    values = [1.0, 3.0, None, 5.0, None, None]
    assert merged(values, 3, "mean") == [2.0, 5.0, None]
    assert merged(values, 3, "highest") == [3.0, 5.0, None]
    assert merged([1.0, 2.0], 4, "mean") == [1.0, 1.0, 2.0, 2.0]


@given(
    st.lists(st.one_of(st.none(), st.floats(0, 1e12)), max_size=50),
    st.integers(1, 60),
    st.integers(1, 4),
)
def test_a_chart_has_the_size_it_was_asked_for(
    values: list[float | None], width: int, rows: int
) -> None:
    """Whatever the values."""
    lines = spark(merged(values, width, "mean"), rows)
    assert [len(line) for line in lines] == [width] * rows


COLUMNS = (
    Column("name", least=6), Column("calls", is_number=True), Column("more", drop=1),
    Column("most", drop=2),
)  # fmt: skip
ROW = [("a-long-name", ""), ("17", "bold"), ("mmmm", ""), ("nnnn", "")]


def test_a_table_drops_and_cuts_columns_until_it_fits() -> None:
    """The least wanted column goes first; a name is cut before another column goes."""
    shown = {
        width: [text_of(line) for line in table(COLUMNS, [ROW], width)] for width in (40, 20, 13)
    }
    assert shown[40] == ["name         calls  more  most", "a-long-name     17  mmmm  nnnn"]
    assert shown[20] == ["name     calls  more", "a-long…     17  mmmm"]
    assert [text_of(line) for line in table(COLUMNS, [ROW], 13)] == [
        "name    calls",
        "a-lon…     17",
    ]


@given(
    st.lists(st.lists(st.text(max_size=30), min_size=4, max_size=4), max_size=4),
    st.integers(1, 100),
)
def test_no_line_of_a_table_is_wider_than_it_may_be(rows: list[list[str]], width: int) -> None:
    """Down to a width of one."""
    cells = [[(text, "") for text in row] for row in rows]
    assert all(len(text_of(line)) <= width for line in table(COLUMNS, cells, width))
    assert all(len(cut(text, width)) <= width for row in rows for text in row)
