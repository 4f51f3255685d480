"""Stands run on the loop that workers run on, and end with their test."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
import uvloop
from tests.turns.stand import CHAT_ANSWER, MESSAGE_ANSWER, Provider, Stand

from tidegate.control import log_handler


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Use uvloop, as workers do."""
    return {"uvloop": uvloop.new_event_loop}


@pytest.fixture(autouse=True)
def _own_logging(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave the process's logging to pytest."""
    monkeypatch.setattr(log_handler, "install", lambda log: None)


@pytest.fixture
async def up() -> AsyncIterator[Provider]:
    """A provider that speaks OpenAI's dialect."""
    provider = Provider(CHAT_ANSWER)
    await provider.start()
    yield provider
    await provider.stop()


@pytest.fixture
async def claude() -> AsyncIterator[Provider]:
    """A provider that speaks Anthropic's dialect."""
    provider = Provider(MESSAGE_ANSWER)
    await provider.start()
    yield provider
    await provider.stop()


@pytest.fixture
async def make_stand(tmp_path: Path) -> AsyncIterator[Callable[..., Stand]]:
    """Make workers, the short way open unless told otherwise; nothing may be left of them."""
    stands: list[Stand] = []

    def make(text: str, *, short: bool = True) -> Stand:
        stand = Stand(tmp_path / f"data-{len(stands)}", text, short=short)
        stands.append(stand)
        return stand

    yield make
    for stand in stands:
        await stand.close()
        assert stand.errors == []
