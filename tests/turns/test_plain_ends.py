"""A plain request that is refused, or whose client leaves, ends as it does on the long way."""

from __future__ import annotations

import errno
import json
import os
import socket
import struct
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager

import pytest
from tests.edge.wire import Answer
from tests.turns.stand import (
    CHAT_ANSWER,
    OTHER_SECRET,
    Connection,
    Gate,
    Provider,
    Stand,
    answering,
    chat,
    config,
    request,
    until,
)
from tests.turns.two_ways import Scene, Seen, play

from tidegate.ledger import journal as journal_module
from tidegate.memory import LIMITER_LOCK

MakeStand = Callable[..., Stand]
FEW = (
    "  few: {per: key, requests: 2, window: 1h}\n  many: {per: global, requests: 1000, window: 1h}"
)


async def both(
    make_stand: MakeStand, text: str, scene: Scene, *providers: Provider
) -> tuple[Seen, Seen]:
    """Play *scene* on the short way and on the long way."""
    short = await play(make_stand(text), scene, *providers)
    return short, await play(make_stand(text, short=False), scene, *providers)


def assert_alike(short: Seen, long: Seen) -> None:
    """All but the number of tasks is the same."""
    assert short.answers == long.answers
    assert short.asked == long.asked
    assert short.rows == long.rows
    assert short.counted == long.counted
    assert short.lines == long.lines


# Limits


async def test_what_a_limit_refuses_is_refused_as_on_the_long_way(
    make_stand: MakeStand, up: Provider
) -> None:
    """The same 429, the same counts and log lines; the provider hears of none of it."""
    text = config(up, limits=FEW, default="few, many")

    async def scene(stand: Stand, connection: Connection) -> list[Answer]:
        return [await connection.ask(chat()) for _ in range(4)]

    short, long = await both(make_stand, text, scene, up)
    assert [answer[0] for answer in short.answers] == [200, 429, 429, 429]
    assert len(short.asked[0]) == 1
    assert short.tasks == 0
    assert_alike(short, long)


@pytest.mark.parametrize("model", ["fast", "wise"])
async def test_a_refused_message_is_refused_in_its_own_dialect(
    make_stand: MakeStand, up: Provider, claude: Provider, model: str
) -> None:
    """The error's shape is Anthropic's, whatever the provider speaks."""
    text = config(up, claude, limits="  few: {per: key, requests: 2, window: 1h}", default="few")
    body = {"model": model, "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}]}

    async def scene(stand: Stand, connection: Connection) -> list[Answer]:
        return [await connection.ask(request("/v1/messages", body)) for _ in range(2)]

    short, long = await both(make_stand, text, scene, up, claude)
    assert [answer[0] for answer in short.answers] == [429, 429]
    assert json.loads(short.answers[0][2])["type"] == "error"
    assert_alike(short, long)


async def test_a_refused_request_uses_up_no_limit_and_keeps_no_connection(
    make_stand: MakeStand, up: Provider
) -> None:
    """Another key's request finds the shared limit as it was, and the connection free."""
    stand = make_stand(config(up, limits=FEW, default="few, many"))
    connection = await stand.connect()
    left = []
    for secret in (None, None, None, None, None, OTHER_SECRET):
        data = chat() if secret is None else chat(secret=secret)
        answer = await connection.ask(data)
        left.append((answer.status, int(answer.headers["ratelimit"].partition('many";r=')[2][:3])))
    assert left == [(200, 999), (200, 998), (429, 998), (429, 998), (429, 998), (200, 997)]
    assert up.connections == 1
    assert len(up.asked) == 3
    assert stand.tasks == 1  # the first found no connection


async def test_a_place_under_a_limit_is_free_before_the_answers_last_byte(
    make_stand: MakeStand, up: Provider
) -> None:
    """A client that sends its next request at once is never refused for the one before."""
    text = config(up, limits="  one: {per: key, concurrency: 1}", default="one")
    stand = make_stand(text)
    connection = await stand.connect()
    assert [(await connection.ask(chat())).status for _ in range(20)] == [200] * 20
    assert stand.tasks == 1


async def test_a_place_under_a_limit_is_held_while_the_provider_works(
    make_stand: MakeStand, up: Provider
) -> None:
    """One more is refused meanwhile; when the client leaves, its place is free."""
    text = config(up, limits="  one: {per: key, concurrency: 1}", default="one")
    stand = make_stand(text)
    first, second = await stand.connect(), await stand.connect()
    assert (await first.ask(chat())).status == 200
    up.behave = gate = Gate()
    first.send(chat())
    await until(lambda: gate.waiting == 1)
    assert stand.tasks == 1
    assert (await second.ask(chat())).status == 429
    first.leave()
    await until(lambda: gate.ended == 1)
    up.behave = answering(CHAT_ANSWER)
    assert (await second.ask(chat())).status == 200


@contextmanager
def another_worker_holds_the_lock(stand: Stand) -> Iterator[None]:
    """Let another process of the instance hold the limiter's lock."""
    program = (
        "import fcntl, sys\n"
        f"fcntl.lockf({stand.segment.fd}, fcntl.LOCK_EX, 1, {LIMITER_LOCK})\n"
        "print('held', flush=True)\n"
        "sys.stdin.read()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        pass_fds=[stand.segment.fd],
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdin is not None
        assert holder.stdout.readline() == b"held\n"
        try:
            yield
        finally:
            holder.stdin.close()
            holder.wait()


async def test_a_lock_that_another_worker_holds_is_waited_for_without_stopping_the_loop(
    make_stand: MakeStand, up: Provider
) -> None:
    """Requests wait in tasks of their own, and are answered, each counted once."""
    text = config(up, limits="  many: {per: key, requests: 1000, window: 1h}", default="many")
    stand = make_stand(text)
    connections = [await stand.connect() for _ in range(3)]
    assert (await connections[0].ask(chat())).status == 200
    before = await stand.page()
    with another_worker_holds_the_lock(stand):
        for connection in connections:
            connection.send(chat())
        await until(lambda: stand.tasks >= 1 + len(connections))
        assert (await stand.page())["rate_limit_allowed_total"] == 1
        assert len(up.asked) == 1
    assert [(await connection.answer()).status for connection in connections] == [200] * 3
    after = await stand.page()
    counted = 'tidegate_requests_total{endpoint="chat_completions",status="200"}'
    for name in ("rate_limit_allowed_total", counted):
        assert after[name] - before[name] == 3
    assert await stand.in_flight() == 0
    assert up.connections == 3  # the one that had been taken was given back
    await stand.close()
    assert len(stand.rows()) == len(stand.lines()) == 4


# The ledger has no room


class Disk:
    """Stands where a journal's `os.write` stands: full when told so."""

    is_full = False

    def write(self, descriptor: int, data: bytes) -> int:
        """See `os.write`."""
        if self.is_full:
            raise OSError(errno.ENOSPC, "No space left on device")
        return os.write(descriptor, data)


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    """The disk under every journal."""
    disk = Disk()
    monkeypatch.setattr(journal_module, "_write", disk.write)
    return disk


@pytest.mark.parametrize(("policy", "status"), [("stop", 503), ("serve", 200)])
async def test_without_room_in_the_ledger_the_policy_decides(
    make_stand: MakeStand, up: Provider, disk: Disk, policy: str, status: int
) -> None:
    """`stop` answers 503 and sends nothing, `serve` answers without a row; as on the long way."""
    text = config(
        up,
        limits="  one: {per: key, concurrency: 1}",
        default="one",
        more=f"ledger: {{when_full: {policy}}}",
    )

    async def scene(stand: Stand, connection: Connection) -> list[Answer]:
        disk.is_full = True
        answers = [await connection.ask(chat()) for _ in range(3)]
        disk.is_full = False
        return answers

    short, long = await both(make_stand, text, scene, up)
    assert [answer[0] for answer in short.answers] == [status] * 3
    assert len(short.asked[0]) == (3 if status == 200 else 0)
    assert short.rows == []
    assert short.tasks == 0
    assert_alike(short, long)


async def test_ends_are_recorded_though_beginnings_find_no_room(
    make_stand: MakeStand, up: Provider, disk: Disk
) -> None:
    """What was in the air when the disk filled up is answered, and settled once there is room."""
    stand = make_stand(config(up))
    first, second = await stand.connect(), await stand.connect()
    assert (await first.ask(chat())).status == 200
    up.behave = gate = Gate()
    first.send(chat())
    await until(lambda: gate.waiting == 1)
    disk.is_full = True
    gate.open()
    assert (await first.answer()).status == 200
    assert (await second.ask(chat())).status == 503
    disk.is_full = False
    await stand.close()
    assert [row["outcome"] for row in stand.rows()] == ["ok", "ok"]


# The client leaves


def hang_up(connection: Connection) -> None:
    """Close."""
    connection.leave()


def reset(connection: Connection) -> None:
    """Reset the connection."""
    sock = connection.writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.writer.transport.abort()


def end_sending(connection: Connection) -> None:
    """End the sending side, and read on."""
    connection.writer.write_eof()


@pytest.mark.parametrize("how", [hang_up, reset, end_sending])
@pytest.mark.parametrize("model", ["fast", "wise"])
async def test_a_client_that_leaves_ends_the_providers_work_and_settles_the_attempt(
    make_stand: MakeStand,
    up: Provider,
    claude: Provider,
    how: Callable[[Connection], None],
    model: str,
) -> None:
    """The provider's connection is closed; ledger, log and counts say what the long way says."""
    provider = claude if model == "wise" else up

    async def scene(stand: Stand, connection: Connection) -> list[Answer]:
        provider.behave = gate = Gate()
        connection.send(chat(model))
        await until(lambda: gate.waiting == 1)
        how(connection)
        await until(lambda: gate.ended == 1 and not stand.server.running)
        return []

    short, long = await both(make_stand, config(up, claude), scene, up, claude)
    assert [row["outcome"] for row in short.rows] == ["client_gone"]
    assert [line["outcome"] for line in short.lines] == ["client_gone"]
    assert_alike(short, long)


async def test_a_client_that_leaves_as_its_request_comes_is_no_plain_one(
    make_stand: MakeStand, up: Provider
) -> None:
    """Nothing is sent for it, nothing counts as in flight, and others go on."""

    async def scene(stand: Stand, connection: Connection) -> list[Answer]:
        leaving = await stand.connect()
        good = stand.server.requests_total
        leaving.send(chat())
        leaving.leave()
        await until(lambda: stand.server.requests_total > good and not stand.server.running)
        return [await connection.ask(chat())]

    short, long = await both(make_stand, config(up), scene, up)
    assert_alike(short, long)


async def test_a_half_closed_client_gets_an_answer_that_comes_soon(
    make_stand: MakeStand, up: Provider
) -> None:
    """It is answered, and its connection is closed after that."""

    async def scene(stand: Stand, connection: Connection) -> list[Answer]:
        connection.send(chat())
        connection.writer.write_eof()
        answer = await connection.answer()
        assert await connection.rest() == b""
        return [answer]

    short, long = await both(make_stand, config(up), scene, up)
    assert short.answers[0][0] == 200
    assert_alike(short, long)


#: What is no plain request, or not one for this key and model, though its head is known.
NOT_PLAIN: dict[str, Callable[[Connection], Awaitable[Answer]]] = {
    "no JSON": lambda c: c.ask(request("/v1/chat/completions", b"{")),
    "no model": lambda c: c.ask(request("/v1/chat/completions", {"messages": []})),
    "a model that is not a text": lambda c: c.ask(request("/v1/chat/completions", {"model": 3})),
    "an unknown model": lambda c: c.ask(chat("unknown")),
    "another key": lambda c: c.ask(chat(secret="tg-wrong")),
    "no body": lambda c: c.ask(request("/v1/chat/completions", b"")),
    "an unknown path": lambda c: c.ask(request("/v1/nothing", {"model": "fast"})),
    "an endpoint that is not plain": lambda c: c.ask(
        request("/v1/embeddings", {"model": "fast", "input": "x"})
    ),
    "another method": lambda c: c.ask(chat().replace(b"POST", b"PUT", 1)),
}


@pytest.mark.parametrize("name", NOT_PLAIN)
async def test_what_is_not_plain_is_served_once_by_the_long_way(
    make_stand: MakeStand, up: Provider, name: str
) -> None:
    """It is refused or answered as ever, and leaves a plain one before and after it alone."""

    async def scene(stand: Stand, connection: Connection) -> list[Answer]:
        return [
            await connection.ask(chat()),
            await NOT_PLAIN[name](connection),
            await connection.ask(chat()),
        ]

    short, long = await both(make_stand, config(up), scene, up)
    assert [short.answers[0][0], short.answers[2][0]] == [200, 200]
    assert short.tasks == 1
    assert_alike(short, long)
