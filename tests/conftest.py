"""Servers that tests of several folders share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.postgres_server import PostgresServer, binaries


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """One PostgreSQL server for all tests; a test that stops it starts it again."""
    pytest.importorskip("asyncpg", reason="asyncpg is not installed: the extra `postgres`")
    programs = binaries()
    if programs is None:
        pytest.skip("PostgreSQL's server is not installed (apt install postgresql)")
    server = PostgresServer(programs)
    yield server
    server.remove()


@pytest.fixture
def postgres_url(postgres_server: PostgresServer) -> str:
    """Return the address of an empty database."""
    return postgres_server.new_database()
