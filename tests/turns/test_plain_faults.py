"""What a provider does otherwise than well is handed over to the long way, once and whole."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import Callable

import msgspec
import pytest
from tests.edge.wire import Answer
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
    in_turn,
    sending,
    until,
)
from tests.turns.two_ways import Seen, play
from tests.upstream.misbehaving import Peer

MakeStand = Callable[..., Stand]
JSON = b"content-type: application/json\r\n"
OK = b"HTTP/1.1 200 OK\r\n" + JSON
WHOLE = OK + b"content-length: %d\r\n\r\n%b" % (len(CHAT_ANSWER), CHAT_ANSWER)
PACKED = gzip.compress(CHAT_ANSWER)
ERROR = b'{"error":{"message":"no","type":"t","param":null,"code":"c"}}'


def long_answer(size: int) -> bytes:
    """Return an answer of *size* bytes and some more."""
    return CHAT_ANSWER.replace(b"Good day.", b"Good day. " * (size // 10))


def chunked(*pieces: bytes) -> bytes:
    """Write a body in chunks."""
    return b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in (*pieces, b""))


class Fault(msgspec.Struct):
    """What a provider does, and what becomes of the request.

    Attributes:
        behave: What it does first; then it behaves.
        status: Of the answer that the client gets.
        attempts: How many it takes.
        by_task: Whether a task has to look at the answer.
    """

    behave: Behave
    status: int = 200
    attempts: int = 1
    by_task: bool = True


FAULTS = {
    "500": Fault(answering(ERROR, status=b"500 Oh"), attempts=2),
    "503 with a wait": Fault(
        answering(ERROR, b"retry-after-ms: 10", status=b"503 Later"), attempts=2
    ),
    "429": Fault(answering(ERROR, b"retry-after-ms: 10", status=b"429 Slow"), attempts=2),
    "401": Fault(answering(ERROR, status=b"401 Who"), attempts=2),
    "302": Fault(answering(b"", b"location: /", status=b"302 There"), attempts=2),
    "202": Fault(answering(b"{}", status=b"202 Taken"), attempts=2),
    "204": Fault(sending(b"HTTP/1.1 204 Nothing\r\n\r\n"), attempts=2),
    "404": Fault(answering(ERROR, status=b"404 What"), attempts=2),
    "400": Fault(answering(ERROR, status=b"400 No"), status=400),
    "422": Fault(answering(ERROR, status=b"422 No"), status=422),
    "closed before the head": Fault(sending(then="close"), attempts=2),
    "reset before the head": Fault(sending(then="reset"), attempts=2),
    "closed in the head": Fault(sending(b"HTTP/1.1 200 O", then="close"), attempts=2),
    "closed behind the head": Fault(sending(WHOLE[:200], then="close"), attempts=2),
    "closed in the body": Fault(sending(WHOLE[:-1], then="close"), attempts=2),
    "reset in the body": Fault(sending(WHOLE[:-1], then="reset"), attempts=2),
    "cut between chunks": Fault(
        sending(
            OK + b"transfer-encoding: chunked\r\n\r\n" + chunked(CHAT_ANSWER)[:-5], then="close"
        ),
        attempts=2,
    ),
    "no HTTP": Fault(sending(b"SSH-2.0-x\r\n\r\n"), attempts=2),
    "a bare LF": Fault(sending(WHOLE.replace(b"OK\r\n", b"OK\n", 1)), attempts=2),
    "two lengths": Fault(
        sending(OK + b"content-length: 2\r\ncontent-length: 3\r\n\r\n{}"), attempts=2
    ),
    "a length that is no number": Fault(sending(OK + b"content-length: +2\r\n\r\n{}"), attempts=2),
    "an upgrade": Fault(sending(b"HTTP/1.1 101 Other\r\n\r\n"), attempts=2),
    "more than its length": Fault(sending(WHOLE + b"!!"), attempts=2),
    "chunked": Fault(sending(OK + b"transfer-encoding: chunked\r\n\r\n" + chunked(CHAT_ANSWER))),
    "chunked, in pieces": Fault(
        sending(
            OK + b"transfer-encoding: chunked\r\n\r\n",
            chunked(CHAT_ANSWER[:9], CHAT_ANSWER[9:])[:20],
            chunked(CHAT_ANSWER[:9], CHAT_ANSWER[9:])[20:],
        )
    ),
    "ended by its close": Fault(sending(OK + b"\r\n" + CHAT_ANSWER, then="close")),
    "HTTP/1.0": Fault(sending(WHOLE.replace(b"1.1", b"1.0", 1), then="close")),
    "with a close": Fault(
        sending(WHOLE.replace(JSON, JSON + b"connection: close\r\n", 1), then="close")
    ),
    "with its time of idleness": Fault(
        sending(WHOLE.replace(JSON, JSON + b"keep-alive: timeout=5\r\n", 1))
    ),
    "packed": Fault(
        sending(
            OK + b"content-encoding: gzip\r\ncontent-length: %d\r\n\r\n%b" % (len(PACKED), PACKED)
        )
    ),
    "an interim answer before it": Fault(sending(b"HTTP/1.1 103 Hints\r\n\r\n" + WHOLE)),
    "an interim answer alone before it": Fault(
        sending(b"HTTP/1.1 103 Hints\r\n\r\n", WHOLE), by_task=False
    ),
    "head and body apart": Fault(sending(WHOLE[: -len(CHAT_ANSWER)], CHAT_ANSWER)),
    "in three pieces": Fault(sending(WHOLE[:30], WHOLE[30:300], WHOLE[300:])),
    "byte by byte": Fault(sending(*(WHOLE[at : at + 1] for at in range(len(WHOLE))))),
    "70 KiB": Fault(answering(long_answer(70 * 1024)), by_task=False),
    "1 MiB": Fault(answering(long_answer(1 << 20))),
    "closed behind the answer": Fault(sending(WHOLE, then="close"), by_task=False),
    "whole": Fault(sending(WHOLE), by_task=False),
}


@pytest.mark.parametrize("name", FAULTS)
async def test_what_a_provider_does_otherwise_ends_as_on_the_long_way(
    make_stand: MakeStand, up: Provider, name: str
) -> None:
    """Retries and fallbacks happen, each attempt is settled once, and the next one is plain."""
    fault = FAULTS[name]
    models = (
        "  first: {targets: [up/first-up], retries: 1, fallbacks: [second]}\n"
        "  second: {targets: [up/second-up], retries: 0}"
    )

    async def scene(stand: Stand, connection: Connection) -> list[Answer]:
        up.behave = in_turn(fault.behave, up.usual)
        return [await connection.ask(chat("first")), await connection.ask(chat("first"))]

    text = config(up, models=models)
    short = await play(make_stand(text), scene, up)
    long = await play(make_stand(text, short=False), scene, up)
    assert [answer[0] for answer in short.answers] == [fault.status, 200]
    assert len(short.asked[0]) == len(short.rows) == fault.attempts + 1
    assert_alike(short, long)
    if fault.by_task:
        assert short.tasks >= 1
    if name == "whole":
        assert short.tasks == 0


def assert_alike(short: Seen, long: Seen) -> None:
    """All but the number of tasks is the same."""
    assert short.answers == long.answers
    assert short.asked == long.asked
    assert short.rows == long.rows
    assert short.counted == long.counted
    assert short.lines == long.lines


@pytest.mark.parametrize("name", ["500", "closed in the body", "chunked", "reset before the head"])
async def test_a_translated_answer_that_is_handed_over_is_still_translated(
    make_stand: MakeStand, claude: Provider, up: Provider, name: str
) -> None:
    """The attempt that was sent is read in the dialect that it was sent in."""
    fault = FAULTS[name]
    body = chat("wise").replace(b"/chat/completions", b"/messages", 1)

    async def scene(stand: Stand, connection: Connection) -> list[Answer]:
        up.behave = in_turn(fault.behave, up.usual)
        message = body.replace(b'"wise"', b'"fast"', 1)
        return [await connection.ask(message), await connection.ask(message)]

    text = config(up, claude)
    short = await play(make_stand(text), scene, up, claude)
    long = await play(make_stand(text, short=False), scene, up, claude)
    assert_alike(short, long)


@pytest.mark.parametrize("setting", ["first_byte_timeout: 100ms", "idle_timeout: 100ms"])
async def test_a_provider_that_falls_silent_is_given_up_in_time(
    make_stand: MakeStand, up: Provider, setting: str
) -> None:
    """Before its answer or in the middle of it: 504, settled as a timeout."""
    pieces = (WHOLE[:-5],) if setting.startswith("idle") else ()

    async def fall_silent(peer: Peer, head: bytes, body: bytes) -> bool:
        await sending(*pieces)(peer, head, body)
        await peer.wait_closed()
        return False

    async def scene(stand: Stand, connection: Connection) -> list[Answer]:
        up.behave = fall_silent
        return [await connection.ask(chat())]

    text = config(up).replace("kind: openai-compatible", f"kind: openai-compatible, {setting}")
    short = await play(make_stand(text), scene, up)
    long = await play(make_stand(text, short=False), scene, up)
    assert short.answers[0][0] == 504
    assert [row["outcome"] for row in short.rows] == ["timeout"]
    assert_alike(short, long)


async def test_a_request_has_its_own_time_over_all_attempts(
    make_stand: MakeStand, up: Provider
) -> None:
    """What the first attempt took counts: a retry for which no time is left is not made."""
    models = "  hasty: {targets: [up/hasty-up], retries: 1, timeout: 1s}"
    fail = answering(ERROR, b"retry-after-ms: 500", status=b"500 Oh")

    async def fail_late(peer: Peer, head: bytes, body: bytes) -> bool:
        await asyncio.sleep(0.6)
        return await fail(peer, head, body)

    async def scene(stand: Stand, connection: Connection) -> list[Answer]:
        up.behave = in_turn(fail_late, up.usual)
        return [await connection.ask(chat("hasty"))]

    text = config(up, models=models)
    short = await play(make_stand(text), scene, up)
    long = await play(make_stand(text, short=False), scene, up)
    assert (short.answers[0][0], len(short.asked[0])) == (502, 1)
    assert_alike(short, long)


async def test_an_answer_in_pieces_keeps_its_client_in_sight(
    make_stand: MakeStand, up: Provider
) -> None:
    """A client that leaves in the middle of it ends the provider's work all the same."""
    ended = 0

    async def begin(peer: Peer, head: bytes, body: bytes) -> bool:
        nonlocal ended
        await peer.send(WHOLE[:-5])
        await peer.wait_closed()
        ended += 1
        return False

    async def scene(stand: Stand, connection: Connection) -> list[Answer]:
        nonlocal ended
        ended = 0
        up.behave = begin
        asked, tasks = len(up.asked), stand.tasks
        connection.send(chat())
        await until(lambda: len(up.asked) > asked and stand.tasks > tasks)
        connection.leave()
        await until(lambda: ended == 1 and not stand.server.running)
        return []

    short = await play(make_stand(config(up)), scene, up)
    long = await play(make_stand(config(up), short=False), scene, up)
    assert [row["outcome"] for row in short.rows] == ["client_gone"]
    assert_alike(short, long)


async def test_an_answer_and_a_client_that_leaves_at_once_settle_one_attempt(
    make_stand: MakeStand, up: Provider
) -> None:
    """Whichever of the two the loop sees first, the attempt has one end, and nobody waits."""
    stand = make_stand(config(up))
    connection = await stand.connect()
    assert (await connection.ask(chat())).status == 200
    for number in range(30):
        up.behave = gate = Gate()
        waiting = gate
        client = await stand.connect()
        client.send(chat())
        await until(lambda gate=waiting: gate.waiting == 1)  # type: ignore[misc]
        gate.open()
        for _ in range(number % 6):
            await asyncio.sleep(0)
        client.leave()
        await until(lambda: not stand.server.running)
    assert await stand.in_flight() == 0
    await stand.close()
    rows = stand.rows()
    assert len(rows) == len(stand.lines()) == 31
    assert {row["outcome"] for row in rows} <= {"ok", "client_gone"}
