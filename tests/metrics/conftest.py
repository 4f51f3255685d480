"""A segment for each test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tidegate.memory import Segment


@pytest.fixture
def segment() -> Iterator[Segment]:
    """One with four worker slots."""
    made = Segment.create(worker_slots=4)
    yield made
    made.close()
