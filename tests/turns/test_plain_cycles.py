"""What served a plain request is gone with its answer: nothing is left for the collector."""

from __future__ import annotations

import gc
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from tests.turns.stand import (
    CHAT_ANSWER,
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

MakeStand = Callable[..., Stand]
OF_A_REQUEST = ("Flight", "Reply", "HttpExchange", "Call", "AttemptRecord", "ModelRequest")
REQUESTS = 200


@contextmanager
def collector_at_rest() -> Iterator[Callable[[], Counter[str]]]:
    """Stop the collector; gives what counts the objects of requests that only it would find."""

    def unreachable() -> Counter[str]:
        gc.set_debug(gc.DEBUG_SAVEALL)
        gc.collect()
        gc.set_debug(0)
        names = Counter(type(each).__name__ for each in gc.garbage)
        gc.garbage.clear()
        return Counter({name: names[name] for name in OF_A_REQUEST if names[name]})

    gc.collect()
    gc.disable()
    try:
        yield unreachable
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()


async def test_the_count_of_what_is_unreachable_finds_a_circle() -> None:
    """Else the tests below could not fail."""

    class Reply:
        """A name that is looked for."""

    with collector_at_rest() as unreachable:
        assert unreachable() == {}
        for _ in range(3):
            reply = Reply()
            reply.itself = reply  # type: ignore[attr-defined]
        del reply
        assert unreachable() == {"Reply": 3}


LIMITS: dict[str, Any] = {
    "limits": "  many: {per: key, requests: 10000, window: 1h}",
    "default": "many",
}
CHUNKED = sending(
    b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n"
    b"%x\r\n%b\r\n0\r\n\r\n" % (len(CHAT_ANSWER), CHAT_ANSWER)
)
CASES: dict[str, tuple[bytes, Behave, dict[str, Any], int]] = {
    "plain": (chat(), answering(CHAT_ANSWER), {}, 200),
    "limited": (chat(), answering(CHAT_ANSWER), LIMITS, 200),
    "held": (
        chat(),
        answering(CHAT_ANSWER),
        {"limits": "  few: {per: key, concurrency: 9}", "default": "few"},
        200,
    ),
    "without a usage": (chat(), answering(b"{}"), {}, 200),
    "translated": (chat("wise"), answering(CHAT_ANSWER), {}, 200),
    "refused by a limit": (
        chat(),
        answering(CHAT_ANSWER),
        {"limits": "  few: {per: key, requests: 4, window: 1h}", "default": "few"},
        429,
    ),
    "handed over": (chat(), CHUNKED, {}, 200),
    "refused by the provider": (
        chat(),
        answering(b'{"error": {"message": "No."}}', status=b"400 Bad Request"),
        {},
        400,
    ),
}


@pytest.mark.parametrize("name", CASES)
async def test_requests_leave_nothing_for_the_collector(
    make_stand: MakeStand, up: Provider, claude: Provider, name: str
) -> None:
    """Of 200 requests none stays in memory until somebody looks for circles."""
    data, behave, settings, status = CASES[name]
    stand = make_stand(config(up, claude, **settings))
    connection = await stand.connect()
    up.behave = behave
    for _ in range(4):
        await connection.ask(data)
    with collector_at_rest() as unreachable:
        for _ in range(REQUESTS):
            assert (await connection.ask(data)).status == status
        assert unreachable() == {}


async def test_requests_of_one_turn_leave_nothing_for_the_collector(
    make_stand: MakeStand, up: Provider
) -> None:
    """Nor do those that are served together."""
    stand = make_stand(config(up, **LIMITS))
    crowd = [await stand.connect() for _ in range(20)]

    async def ask_all() -> None:
        for connection in crowd:
            connection.send(chat())
        for connection in crowd:
            assert (await connection.answer()).status == 200

    up.behave = gate = Gate()
    for connection in crowd:
        connection.send(chat())
    await until(lambda: gate.waiting == len(crowd))
    gate.open()
    for connection in crowd:
        await connection.answer()
    up.behave = up.usual
    tasks = stand.tasks
    with collector_at_rest() as unreachable:
        for _ in range(REQUESTS // len(crowd)):
            await ask_all()
        assert unreachable() == {}
    assert stand.tasks == tasks


async def test_clients_that_leave_take_their_requests_with_them(
    make_stand: MakeStand, up: Provider
) -> None:
    """A request that was given up is gone as well as one that was answered."""
    stand = make_stand(config(up))
    client = await stand.connect()
    assert (await client.ask(chat())).status == 200

    async def leave() -> Connection:
        connection = await stand.connect()
        up.behave = gate = Gate()
        connection.send(chat())
        await until(lambda: gate.waiting == 1)
        connection.leave()
        await until(lambda: gate.ended == 1 and not stand.server.running)
        return connection

    await leave()
    with collector_at_rest() as unreachable:
        for _ in range(4):
            await leave()
        assert unreachable() == {}
