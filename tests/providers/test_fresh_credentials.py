"""A credential that ages is fetched once, renewed ahead of its end, and never served after it."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, cast

import pytest

from tidegate.providers.fresh import AHEAD_S, DOUBT_S, RETRY_S, Fetched, Fresh, NoCredential
from tidegate.upstream.answer import UpstreamFault


class _Loop:
    """The running loop with a clock of its own."""

    def __init__(self) -> None:
        self.now = 1000.0

    def time(self) -> float:
        return self.now

    def create_task(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        return asyncio.get_running_loop().create_task(work)


class _Source:
    """Gives numbers, when it is let."""

    def __init__(self) -> None:
        self.calls = 0
        self.lifetime_s = 3600.0
        self.error: Exception | None = None
        self.gate = asyncio.Event()
        self.gate.set()

    async def fetch(self) -> Fetched[int]:
        self.calls += 1
        number = self.calls
        await self.gate.wait()
        if self.error is not None:
            raise self.error
        return Fetched(number, self.lifetime_s)


def _fresh() -> tuple[Fresh[int], _Loop, _Source]:
    loop, source = _Loop(), _Source()
    return Fresh(cast(asyncio.AbstractEventLoop, loop), "acme", source.fetch), loop, source


async def test_all_who_wait_share_one_fetch() -> None:
    """A thousand requests at a cold start are one to the token endpoint."""
    fresh, _, source = _fresh()
    source.gate.clear()
    waiting = [asyncio.ensure_future(fresh.get()) for _ in range(1000)]
    await asyncio.sleep(0)
    source.gate.set()
    assert set(await asyncio.gather(*waiting)) == {1}
    assert source.calls == 1


async def test_whoever_leaves_does_not_stop_the_others() -> None:
    """A client that vanishes cancels its own wait only."""
    fresh, _, source = _fresh()
    source.gate.clear()
    leaver, stayer = asyncio.ensure_future(fresh.get()), asyncio.ensure_future(fresh.get())
    await asyncio.sleep(0)
    leaver.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leaver
    source.gate.set()
    assert await stayer == 1


async def test_it_is_renewed_ahead_and_nobody_waits() -> None:
    """From five minutes before its end, the old one is served while a new one is fetched."""
    fresh, loop, source = _fresh()
    assert await fresh.get() == 1
    loop.now += source.lifetime_s - AHEAD_S - 1
    assert await fresh.get() == 1
    assert source.calls == 1
    loop.now += 2
    source.gate.clear()
    assert await fresh.get() == 1
    source.gate.set()
    await asyncio.sleep(0.001)
    assert await fresh.get() == 2


async def test_a_failed_renewal_keeps_the_old_one_to_its_end() -> None:
    """And not a moment longer."""
    fresh, loop, source = _fresh()
    assert await fresh.get() == 1
    source.error = NoCredential("the token endpoint answered 503")
    loop.now += source.lifetime_s - 10
    for _ in range(3):
        assert await fresh.get() == 1
        await asyncio.sleep(0.001)
    assert source.calls == 2  # it is not hammered
    loop.now += 11
    with pytest.raises(UpstreamFault, match="answered 503") as failed:
        await fresh.get()
    assert (failed.value.kind, failed.value.sent) == ("connect", False)
    source.error = None
    loop.now += RETRY_S
    assert await fresh.get() == 4


async def test_a_failure_is_told_at_once_for_a_second() -> None:
    """A dead token endpoint costs one attempt a second, whatever the traffic."""
    fresh, loop, source = _fresh()
    source.error = NoCredential("down")
    for _ in range(10):
        with pytest.raises(UpstreamFault, match="down"):
            await fresh.get()
    assert source.calls == 1
    loop.now += RETRY_S
    with pytest.raises(UpstreamFault):
        await fresh.get()
    assert source.calls == 2


async def test_a_library_s_words_are_not_repeated() -> None:
    """They may quote what it was given: the kind of its error is enough."""
    fresh, _, source = _fresh()
    source.error = RuntimeError("bad secret hunter2")
    with pytest.raises(UpstreamFault) as failed:
        await fresh.get()
    assert str(failed.value) == "no credential: RuntimeError"


@pytest.mark.parametrize("lifetime_s", [0.0, -5.0])
async def test_one_that_has_ended_is_none(lifetime_s: float) -> None:
    """Whatever the endpoint says of it."""
    fresh, _, source = _fresh()
    source.lifetime_s = lifetime_s
    with pytest.raises(UpstreamFault, match="had ended"):
        await fresh.get()


async def test_a_refused_one_is_given_up() -> None:
    """The next request fetches; a provider that refuses everything does not make all fetch."""
    fresh, loop, source = _fresh()
    assert await fresh.get() == 1
    fresh.doubt()
    assert await fresh.get() == 1
    loop.now += DOUBT_S
    fresh.doubt()
    assert await fresh.get() == 2
    fresh.doubt()
    assert await fresh.get() == 2
    assert source.calls == 2
