"""Whatever clients and providers do at random, the figures add up and nothing stays held."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Callable

import pytest
from tests.turns.stand import (
    CHAT_ANSWER,
    OTHER_SECRET,
    Behave,
    Connection,
    Gate,
    Provider,
    Stand,
    answering,
    chat,
    config,
    sending,
    until,
)
from tests.turns.two_ways import check_settled
from tests.upstream.misbehaving import Peer

MakeStand = Callable[..., Stand]
CLIENTS, ROUNDS, PLACES = 25, 30, 60
WHOLE = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b" % (
    len(CHAT_ANSWER),
    CHAT_ANSWER,
)
MOSTLY: list[Behave] = [answering(CHAT_ANSWER)] * 12
FAULTS: list[Behave] = [
    answering(b"{}", status=b"500 Oh"),
    answering(b'{"error":{"message":"no"}}', status=b"400 No"),
    answering(b"{}"),
    sending(WHOLE, then="close"),
    sending(WHOLE[:-3], then="reset"),
    sending(WHOLE[:50], WHOLE[50:]),
    sending(then="close"),
    sending(WHOLE + b"more"),
]


class Life:
    """One client's rounds.

    Attributes:
        answered: Statuses that it was sent.
        left: Requests that it did not wait for.
    """

    def __init__(self, stand: Stand, chance: random.Random) -> None:
        self.answered: Counter[int] = Counter()
        self.left = 0
        self._stand = stand
        self._chance = chance

    async def run(self) -> None:
        """Ask, wait, leave, and come back."""
        connection = await self._stand.connect()
        for _ in range(ROUNDS):
            if self._chance.random() < 0.1:
                await self._leave(connection)
                connection = await self._stand.connect()
            else:
                await self._ask(connection)

    async def _ask(self, connection: Connection) -> None:
        count = self._chance.choice((1, 1, 1, 2, 3))
        connection.send(b"".join(self._request() for _ in range(count)))
        for _ in range(count):
            self.answered[(await connection.answer()).status] += 1

    async def _leave(self, connection: Connection) -> None:
        connection.send(self._request())
        before = self._stand.server.requests_total
        for _ in range(self._chance.randrange(8)):
            await asyncio.sleep(0)
        self.left += 1
        if self._stand.server.requests_total == before:
            await connection.writer.drain()
        connection.writer.transport.abort()

    def _request(self) -> bytes:
        model = self._chance.choice(("fast", "fast", "same-up", "free", "unknown"))
        secret = self._chance.choice(("", OTHER_SECRET))
        return chat(model, secret=secret) if secret else chat(model)


@pytest.mark.parametrize("seed", range(3))
async def test_figures_add_up_and_nothing_stays_held(
    make_stand: MakeStand, up: Provider, seed: int
) -> None:
    """Each request is counted, logged and settled once, and all places are free at the end."""
    chance = random.Random(seed)

    async def behave(peer: Peer, head: bytes, body: bytes) -> bool:
        if chance.random() < 0.3:
            await asyncio.sleep(chance.random() * 0.005)
        return await chance.choice(MOSTLY + FAULTS)(peer, head, body)

    limits = f"  places: {{per: global, concurrency: {PLACES}}}"
    stand = make_stand(config(up, limits=limits, default="places"))
    up.behave = behave
    lives = [Life(stand, random.Random(chance.random())) for _ in range(CLIENTS)]
    await asyncio.gather(*(life.run() for life in lives))
    await until(lambda: not stand.server.running)
    good = stand.server.requests_total
    page = await stand.page()
    assert page["tidegate_requests_in_flight"] - 1 == 0
    answered = sum((life.answered for life in lives), Counter())
    counted = Counter(
        {
            int(name.partition('status="')[2][:-2].rstrip('"')): int(value)
            for name, value in page.items()
            if name.startswith('tidegate_requests_total{endpoint="chat_completions"') and value
        }
    )
    left = sum(life.left for life in lives)
    assert sum(counted.values()) == good
    assert answered.total() <= good <= answered.total() + left
    assert all(0 <= counted[status] - count <= left for status, count in answered.items())
    assert page["rate_limit_allowed_total"] + counted[404] == good
    up.behave = gate = Gate()
    crowd = [await stand.connect() for _ in range(PLACES + 1)]
    for connection in crowd[:-1]:
        connection.send(chat())
    await until(lambda: gate.waiting == PLACES)
    assert (await crowd[-1].ask(chat())).status == 429
    gate.open()
    assert {(await connection.answer()).status for connection in crowd[:-1]} == {200}
    assert await stand.in_flight() == 0
    await stand.close()
    check_settled(stand)
    lines = Counter(line["status"] for line in stand.lines())
    assert lines == counted + Counter({200: PLACES, 429: 1})


@pytest.mark.parametrize("seed", range(12))
async def test_a_worker_that_stops_at_any_moment_settles_all_that_it_began(
    make_stand: MakeStand, up: Provider, seed: int
) -> None:
    """Every good request has its line, every attempt its one end, and no client waits for ever."""
    chance = random.Random(seed)

    async def behave(peer: Peer, head: bytes, body: bytes) -> bool:
        if chance.random() < 0.3:
            await asyncio.sleep(chance.random() * 0.01)
        return await chance.choice(MOSTLY + FAULTS)(peer, head, body)

    stand = make_stand(config(up))
    up.behave = behave
    lives = [Life(stand, random.Random(chance.random())) for _ in range(CLIENTS)]
    running = [asyncio.ensure_future(life.run()) for life in lives]
    for _ in range(chance.randrange(40, 400)):
        await asyncio.sleep(0)
    if seed % 2:
        await stand.server.stop()
    else:
        await stand.server.drain(0.02)
    assert not stand.server.running
    assert not stand.server.connections
    for life in running:
        life.cancel()
    await asyncio.gather(*running, return_exceptions=True)
    good = stand.server.requests_total
    assert good
    await stand.close()
    check_settled(stand)
    assert len(stand.lines()) == good
