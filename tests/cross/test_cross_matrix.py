"""Any SDK in, any provider out: nothing is lost without a name."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.cross.fidelity_page import PAGE, render, table
from tests.cross.matrix import BACKS, FRONTS, Matrix
from tests.cross.seen import SCENARIOS
from tests.fakes.strict.server import StrictUpstream
from tests.running import RunningGateway

pytestmark = pytest.mark.process


@pytest.fixture(scope="module")
def matrix(strict: tuple[StrictUpstream, RunningGateway]) -> Iterator[Matrix]:
    playing = Matrix(*strict)
    yield playing
    playing.close()


@pytest.mark.parametrize("scenario", SCENARIOS)
@pytest.mark.parametrize("back", BACKS)
@pytest.mark.parametrize("front", FRONTS)
def test_a_cell_of_the_matrix(matrix: Matrix, front: str, back: str, scenario: str) -> None:
    """What the SDK sent arrived or is named, and what the model answered is seen."""
    matrix.play(front, back, scenario)


def test_the_page_says_what_the_matrix_found(matrix: Matrix) -> None:
    """`docs/reference/fidelity.md` is this run's; scripts/fidelity_matrix.py writes it again."""
    cells = matrix.play_all()
    print(table(cells))  # noqa: T201  # shown by `pytest -s`
    assert PAGE.read_text() == render(cells)
