"""One gateway before the strict providers, for all tests of this folder."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.cross.matrix import running
from tests.fakes.strict.server import StrictUpstream
from tests.running import RunningGateway


@pytest.fixture(scope="session")
def strict(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[tuple[StrictUpstream, RunningGateway]]:
    with running(tmp_path_factory.mktemp("cross")) as both:
        yield both


@pytest.fixture
def upstream(strict: tuple[StrictUpstream, RunningGateway]) -> StrictUpstream:
    strict[0].refused.clear()
    return strict[0]


@pytest.fixture
def gateway(strict: tuple[StrictUpstream, RunningGateway]) -> RunningGateway:
    return strict[1]
