"""Concurrency limits: held while a request runs, given back however it ends."""

from __future__ import annotations

import asyncio

from scene import ANSWER, FakeAnswer, FakeExchange, FakeUpstream, Scene, chat

from tidegate.config.snapshot import LimitSnapshot

TWO = LimitSnapshot("two", "key", "concurrency", 2, 1_000_000_000, 2)


async def _running(
    scene: Scene, up: FakeUpstream, count: int
) -> list[tuple[FakeExchange, asyncio.Task[FakeExchange]]]:
    before = len(up.sent)
    started = []
    for _ in range(count):
        exchange = FakeExchange(body=chat())
        started.append((exchange, asyncio.create_task(scene.run(exchange))))
    while len(up.sent) < before + count:
        await asyncio.sleep(0)
    return started


async def test_a_third_request_at_once_is_refused_and_the_first_end_makes_room() -> None:
    """A whole answer, a refusal upstream and a client that leaves all give the place back."""
    up = FakeUpstream(FakeAnswer(body=ANSWER))
    up.waiting = asyncio.Event()
    scene = Scene({"m": [up]}, limits=(TWO,))
    first, second = await _running(scene, up, 2)
    refused = await scene.run(FakeExchange(body=chat()))
    assert refused.status == 429
    assert refused.answer_headers["retry-after"] == "1"
    assert 'qu="concurrent-requests"' in refused.answer_headers["ratelimit-policy"]
    assert "x-ratelimit-limit-requests" not in refused.answer_headers
    assert (scene.count("allowed"), scene.count("blocked")) == (2, 1)
    first[0].leave()
    await first[1]
    third = (await _running(scene, up, 1))[0]
    assert (await scene.run(FakeExchange(body=chat()))).status == 429
    up.waiting.set()
    done = [await second[1], await third[1]]
    assert [exchange.status for exchange in done] == [200, 200]
    assert (await scene.run(FakeExchange(body=chat()))).status == 200


async def test_a_finished_stream_has_given_its_place_back() -> None:
    """The client's next request is admitted although the upstream has not ended its body."""
    first, last = (
        b'data: {"choices":[{"index":0,"delta":{"content":"a"},"finish_reason":%s}]}\n\n' % reason
        for reason in (b"null", b'"stop"')
    )
    gate = asyncio.Event()
    up = FakeUpstream(FakeAnswer(pieces=[first, last + b"data: [DONE]\n\n", gate]))
    one = LimitSnapshot("one", "key", "concurrency", 1, 1_000_000_000, 1)
    scene = Scene({"m": [up]}, limits=(one,))
    exchange = FakeExchange(body=chat(stream=True))
    task = asyncio.create_task(scene.run(exchange))
    while not exchange.ended:
        await asyncio.sleep(0)
    up.script = [FakeAnswer(body=ANSWER)]
    assert (await scene.run(FakeExchange(body=chat()))).status == 200
    gate.set()
    await task
