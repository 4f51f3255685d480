"""How many responses are made in the background at once: those that wait to begin count."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from scene import ANSWER, FakeAnswer, FakeExchange, FakeUpstream, Scene

from tidegate.config.snapshot import ResponsesSnapshot
from tidegate.endpoints import responses_background
from tidegate.errors import RateLimited
from tidegate.pipeline.handle import admit
from tidegate.responses.jobs import Jobs
from tidegate.responses.store import ResponseStore


def _scene(folder: Path, max_jobs: int) -> Scene:
    scene = Scene({"m": [FakeUpstream(FakeAnswer(body=ANSWER))]})
    scene.gateway.responses = ResponseStore(folder, ResponsesSnapshot(True, 86_400, 1 << 30))
    scene.gateway.jobs = Jobs(asyncio.get_running_loop(), max_jobs=max_jobs)
    return scene


def _begin(scene: Scene) -> asyncio.Task[FakeExchange]:
    body = {"model": "m", "input": "hi", "background": True}
    return asyncio.create_task(scene.run(FakeExchange(path="/v1/responses", body=body)))


async def test_who_waits_for_a_limit_has_a_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many wait while the limiter is busy, no more begin than there are places."""
    free = asyncio.Event()

    async def wait(*given: Any) -> None:
        await free.wait()
        await admit(*given)

    monkeypatch.setattr(responses_background, "admit", wait)
    scene = _scene(tmp_path, 2)
    asked = [_begin(scene) for _ in range(5)]
    while sum(task.done() for task in asked) < 3:
        await asyncio.sleep(0)
    assert [task.result().status for task in asked if task.done()] == [503, 503, 503]
    free.set()
    assert sorted([(await task).status for task in asked]) == [200, 200, 503, 503, 503]
    await scene.gateway.jobs.finish(5)
    assert scene.gateway.jobs.count == 0


async def test_who_is_refused_or_leaves_has_no_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A limit's refusal, a client that goes while it waits: both give it back."""
    scene = _scene(tmp_path, 1)
    jobs = scene.gateway.jobs

    async def refuse(*given: Any) -> None:
        assert jobs.count == 1
        raise RateLimited("Enough.", retry_after_s=1.0)

    monkeypatch.setattr(responses_background, "admit", refuse)
    assert (await _begin(scene)).status == 429
    assert (jobs.count, jobs.size_bytes) == (0, 0)

    async def wait(*given: Any) -> None:
        await asyncio.sleep(60)

    monkeypatch.setattr(responses_background, "admit", wait)
    leaving = _begin(scene)
    while not jobs.count:
        await asyncio.sleep(0)
    leaving.cancel()
    await asyncio.wait([leaving])
    assert (jobs.count, jobs.size_bytes) == (0, 0)
