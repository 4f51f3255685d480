"""Observations that are counted together are counted as each by itself."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tidegate.metrics.series import HistogramSeries

BOUNDS = (0.001, 0.01, 0.1, 1.0, 10.0)
CELLS = len(BOUNDS) + 2


def series() -> tuple[HistogramSeries, memoryview[float]]:
    """Return an empty histogram between two others, and the cells of all three."""
    cells = memoryview(bytearray(8 * CELLS * 3)).cast("d")
    return HistogramSeries(cells, CELLS, BOUNDS), cells


usual = st.floats(0.0, 100.0) | st.sampled_from((0.0, *BOUNDS))
any_number = (
    usual | st.floats() | st.sampled_from((-1.0, -0.0, math.inf, -math.inf, math.nan, 1e18))
)


@given(st.lists(st.lists(usual, max_size=20), max_size=5))
@settings(max_examples=300, deadline=None)
def test_what_is_usual_is_counted_alike(batches: list[list[float]]) -> None:
    """The same buckets, count and sum, and no other series is touched."""
    assert_counted_alike(batches)


@given(st.lists(st.lists(any_number, max_size=8), max_size=4))
@settings(max_examples=500, deadline=None)
def test_what_is_no_observation_is_left_out_of_its_batch_alone(batches: list[list[float]]) -> None:
    """Negative and not finite ones count for nothing, and harm none beside them."""
    assert_counted_alike(batches)


def test_a_number_that_is_none_never_gets_into_the_sum() -> None:
    """Wherever it stands in its batch: a sum that it is in is lost for ever."""
    for batch in ([math.nan, 1.0], [1.0, math.nan], [1.0, math.nan, 2.0], [math.nan]):
        assert_counted_alike([batch])


def assert_counted_alike(batches: list[list[float]]) -> None:
    """One series counts each by itself, the other in batches."""
    (one, one_cells), (together, cells) = series(), series()
    for batch in batches:
        together.observe_all(list(batch))
        for value in batch:
            one.observe(value)
    assert cells.tolist()[:-CELLS] == pytest.approx(one_cells.tolist()[:-CELLS], rel=1e-12)
    assert cells.tolist()[CELLS : 2 * CELLS - 1] == one_cells.tolist()[CELLS : 2 * CELLS - 1]
    assert not any(cells.tolist()[:CELLS])
    assert not any(cells.tolist()[2 * CELLS :])
