"""The upstream tests run on the loop that workers run on."""

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest
import uvloop
from tests.upstream.misbehaving import Upstream, until

from tidegate.sweep import Sweep
from tidegate.upstream.origin import Origin
from tidegate.upstream.pool import UpstreamPool


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Use uvloop, as workers do."""
    return {"uvloop": uvloop.new_event_loop}


@pytest.fixture
async def upstream() -> AsyncIterator[Upstream]:
    """A server whose behaviour each test scripts."""
    server = Upstream()
    await server.start()
    yield server
    await server.stop()


@pytest.fixture
async def make_pool() -> AsyncIterator[Callable[..., UpstreamPool]]:
    """Make pools with short timers; all their connections must be gone after the test."""
    pools: list[UpstreamPool] = []

    def make(upstream: Upstream | str, **settings: object) -> UpstreamPool:
        loop = asyncio.get_running_loop()
        url = upstream if isinstance(upstream, str) else upstream.url
        defaults: dict[str, object] = {
            "sweep": Sweep(loop, 0.01),
            "ssl_context": None,
            "connect_s": 5.0,
            "first_byte_s": 5.0,
            "idle_s": 5.0,
            "max_connections": 50,
        }
        pool = UpstreamPool(loop, Origin.parse(url), **(defaults | settings))  # type: ignore[arg-type]
        pools.append(pool)
        return pool

    yield make
    for pool in pools:
        pool.close()
    await until(lambda: all(pool.open_connections == 0 for pool in pools))
