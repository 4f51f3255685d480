"""Plays every SDK against every provider, prints the table and writes docs/reference/fidelity.md.

.venv/bin/python scripts/fidelity_matrix.py
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.cross.fidelity_page import PAGE, render, table  # the root is no package
from tests.cross.matrix import Matrix, running


def main() -> None:
    """Play all cells; a cell that fails ends the run."""
    with tempfile.TemporaryDirectory() as folder, running(Path(folder)) as (upstream, gateway):
        matrix = Matrix(upstream, gateway)
        cells = matrix.play_all()
        matrix.close()
    print(table(cells))  # noqa: T201  # it is what the script is for
    PAGE.write_text(render(cells))


if __name__ == "__main__":
    main()
