"""Many plain requests at once, one behind another, and at the end of a worker: none is lost."""

from __future__ import annotations

import asyncio
import errno
import json
from collections.abc import Callable

import pytest
from tests.edge.wire import Answer
from tests.turns.stand import (
    CHAT_ANSWER,
    Connection,
    Gate,
    Provider,
    Stand,
    answering,
    chat,
    config,
    until,
)
from tests.turns.two_ways import check_settled, lines_of, play, rows_of, unlike_times
from tests.upstream.misbehaving import Peer

from tidegate.edge.exchange import FreeExchange, Front
from tidegate.ledger import journal as journal_module
from tidegate.pipeline.turn import MAX_TOGETHER

MakeStand = Callable[..., Stand]
OK_TOTAL = 'tidegate_requests_total{endpoint="chat_completions",status="200"}'


async def echo(peer: Peer, head: bytes, body: bytes) -> bool:
    """Answer with the number that stands in the request's field `user`."""
    answer = CHAT_ANSWER.replace(b"Good day.", json.loads(body)["user"].encode())
    return await answering(answer)(peer, head, body)


def number_in(answer: Answer) -> str:
    """Return what `echo` has answered."""
    assert answer.status == 200
    return str(json.loads(answer.body)["choices"][0]["message"]["content"])


class TurnCount:
    """Stands before a front; counts how many requests one turn of the loop has brought.

    Attributes:
        most: The greatest number of all turns.
    """

    def __init__(self, front: Front) -> None:
        self.most = 0
        self._front = front
        self._now = 0

    def take(self, exchange: FreeExchange) -> None:
        """See `Front.take`."""
        if not self._now:
            asyncio.get_running_loop().call_soon(self._end_turn)
        self._now += 1
        self.most = max(self.most, self._now)
        self._front.take(exchange)

    def let_go(self, exchange: FreeExchange) -> None:
        """See `Front.let_go`."""
        self._front.let_go(exchange)

    def _end_turn(self) -> None:
        self._now = 0


async def crowd_of(stand: Stand, up: Provider, size: int) -> list[Connection]:
    """Return *size* client connections of a stand that has as many free ones to its provider."""
    crowd = [await stand.connect() for _ in range(size)]
    up.behave = gate = Gate()
    for connection in crowd:
        connection.send(chat("warm"))
    await until(lambda: gate.waiting == size)
    gate.open()
    for connection in crowd:
        assert (await connection.answer()).status == 200
    up.behave = up.usual
    return crowd


# Many at once


@pytest.mark.parametrize("size", [MAX_TOGETHER, MAX_TOGETHER + 1, 3 * MAX_TOGETHER + 5])
async def test_more_than_a_turn_serves_are_all_answered_and_each_counted_once(
    make_stand: MakeStand, up: Provider, size: int
) -> None:
    """No request is forgotten between two turns; everybody gets the answer to its own."""
    limits = "  many: {per: key, requests: 10000, window: 1h}"
    stand = make_stand(config(up, limits=limits, default="many"))
    crowd = await crowd_of(stand, up, size)
    assert stand.server.front is not None
    stand.server.front = count = TurnCount(stand.server.front)
    up.behave = echo
    before, tasks = await stand.page(), stand.tasks
    for number, connection in enumerate(crowd):
        connection.send(chat(user=f"<{number}>"))
    answers = [await connection.answer() for connection in crowd]
    assert [number_in(answer) for answer in answers] == [f"<{n}>" for n in range(size)]
    assert count.most == size
    left = sorted(int(a.headers["x-ratelimit-remaining-requests"]) for a in answers)
    assert left == list(range(10_000 - 2 * size, 10_000 - size))
    after = await stand.page()
    assert stand.tasks - tasks == 1  # the page itself
    for name, each in {
        OK_TOTAL: 1,
        "rate_limit_allowed_total": 1,
        'tidegate_rate_limit_decisions_total{limit="many",decision="allowed"}': 1,
        'tidegate_tokens_total{provider="up",model="fast-up",type="input"}': 30,
        'tidegate_tokens_total{provider="up",model="fast-up",type="output"}': 20,
        'tidegate_request_duration_seconds_count{endpoint="chat_completions",stream="false"}': 1,
        'tidegate_ledger_records_total{record="open"}': 1,
        'tidegate_ledger_records_total{record="settle"}': 1,
    }.items():
        assert after[name] - before.get(name, 0) == each * size, name
    assert await stand.in_flight() == 0
    await stand.close()
    check_settled(stand)
    assert len(rows_of(stand)) == len(lines_of(stand)) == size
    assert len({answer.headers["x-request-id"] for answer in answers}) == size


async def test_a_limit_lets_pass_as_many_of_a_turn_as_it_allows(
    make_stand: MakeStand, up: Provider
) -> None:
    """Of those that come together the first pass and the rest are refused, to the last one."""
    limits = "  few: {per: model, requests: 20, window: 1h}"
    stand = make_stand(config(up, limits=limits, default="few"))
    crowd = await crowd_of(stand, up, 20)
    up.asked.clear()
    for connection in crowd:
        for _ in range(2):
            connection.send(chat())
    answers = [await connection.answer() for connection in crowd for _ in range(2)]
    statuses = [answer.status for answer in answers]
    assert (statuses.count(200), statuses.count(429)) == (20, 20)
    assert len(up.asked) == 20
    page = await stand.page()
    assert page["rate_limit_blocked_total"] == 20
    assert page["rate_limit_allowed_total"] == 40


async def test_a_turn_of_many_models_keys_and_faults_gives_each_its_own(
    make_stand: MakeStand, up: Provider, claude: Provider
) -> None:
    """What one request of a turn is or does changes nothing for the others of it."""
    stand = make_stand(config(up, claude))
    crowd = await crowd_of(stand, up, 12)
    assert (await crowd[0].ask(chat("warm-claude"))).status == 200
    wanted = []
    for number, connection in enumerate(crowd):
        data, status = [
            (chat(), 200),
            (chat("same-up"), 200),
            (chat("unknown"), 404),
            (chat(secret="tg-wrong"), 401),
            (chat("wise"), 200),
            (chat(stream=True), 200),
        ][number % 6]
        wanted.append(status)
        connection.send(data)
    up.behave = up.usual
    got = []
    for number, connection in enumerate(crowd):
        if number % 6 == 5:
            head = await connection.reader.readuntil(b"\r\n\r\n")
            got.append(int(head.split()[1]))
        else:
            got.append((await connection.answer()).status)
    assert got == wanted


async def test_one_connection_to_the_provider_serves_many_clients_in_turn(
    make_stand: MakeStand, up: Provider
) -> None:
    """Who finds none free waits in a task; nobody gets the answer to another's request."""
    text = config(up).replace(
        "kind: openai-compatible", "kind: openai-compatible, max_connections: 1"
    )
    stand = make_stand(text)
    crowd = await crowd_of(stand, up, 1)
    crowd += [await stand.connect() for _ in range(30)]
    up.behave = echo
    for round_number in range(3):
        for number, connection in enumerate(crowd):
            connection.send(chat(user=f"<{round_number} {number}>"))
        answers = [await connection.answer() for connection in crowd]
        assert [number_in(a) for a in answers] == [f"<{round_number} {n}>" for n in range(31)]
    assert up.connections == 1


# One behind another


@pytest.mark.parametrize("count", [2, 40])
async def test_requests_in_one_packet_are_answered_in_their_order(
    make_stand: MakeStand, up: Provider, count: int
) -> None:
    """Each is sent when the one before it is answered, as on the long way."""

    async def scene(stand: Stand, connection: Connection) -> list[Answer]:
        up.behave = echo
        connection.send(b"".join(chat(user=f"<{number}>") for number in range(count)))
        answers = [await connection.answer() for _ in range(count)]
        assert [number_in(answer) for answer in answers] == [f"<{n}>" for n in range(count)]
        return answers

    short = await play(make_stand(config(up)), scene, up)
    long = await play(make_stand(config(up), short=False), scene, up)
    assert short.tasks == 0
    assert (short.answers, short.asked, short.rows) == (long.answers, long.asked, long.rows)
    assert (short.counted, short.lines) == (long.counted, long.lines)
    assert up.connections == 2


async def test_a_request_behind_one_that_is_served_waits_for_its_answer(
    make_stand: MakeStand, up: Provider
) -> None:
    """It is not even sent before; and one that is not plain keeps its place in the line."""
    stand = make_stand(config(up))
    connection = await stand.connect()
    assert (await connection.ask(chat())).status == 200
    up.behave = gate = Gate()
    connection.send(chat())
    await until(lambda: gate.waiting == 1)
    connection.send(b"GET /v1/models HTTP/1.1\r\nhost: x\r\n\r\n")
    connection.send(chat("unknown") + chat("same-up"))
    await asyncio.sleep(0.05)
    assert len(up.asked) == 2
    assert stand.server.requests_total == 2
    gate.open()
    answers = [await connection.answer() for _ in range(4)]
    assert [answer.status for answer in answers] == [200, 401, 404, 200]


async def test_a_client_that_asks_for_more_than_it_reads_is_waited_for(
    make_stand: MakeStand, up: Provider
) -> None:
    """Answers that nobody takes stop the connection, and all of them are read in the end."""
    answer = CHAT_ANSWER.replace(b"Good day.", b"Good day. " * 5_000)
    stand = make_stand(config(up))
    connection = await stand.connect()
    assert (await connection.ask(chat())).status == 200
    up.behave = answering(answer)
    count = 200
    connection.send(chat() * count)
    before = -1
    while before != len(up.asked):
        before = len(up.asked)
        await asyncio.sleep(0.3)
    assert 1 < len(up.asked) < count
    for _ in range(count):
        assert (await connection.answer()).body == answer
    assert await stand.in_flight() == 0


# The end of a worker


async def ends(stand: Stand, up: Provider, how: str) -> list[object]:
    """Let a worker end while it serves; return what clients, ledger and log have of it."""
    crowd = await crowd_of(stand, up, 5)
    up.behave = gate = Gate()
    for connection in crowd:
        connection.send(chat())
    await until(lambda: gate.waiting == 5)
    if how == "drained":
        draining = asyncio.ensure_future(stand.server.drain(10.0))
        await asyncio.sleep(0.05)
        gate.open()
        assert await draining is True
    elif how == "drained for too long":
        assert await stand.server.drain(0.1) is False
    else:
        await stand.server.stop()
    answers = [unlike_times(await connection.answer()) for connection in crowd]
    assert [await connection.rest() for connection in crowd] == [b""] * 5
    await stand.close()
    check_settled(stand)
    return [answers, rows_of(stand), lines_of(stand)]


@pytest.mark.parametrize(
    ("how", "status"), [("drained", 200), ("drained for too long", 503), ("stopped", 503)]
)
async def test_a_worker_that_ends_answers_what_is_in_the_air(
    make_stand: MakeStand, up: Provider, how: str, status: int
) -> None:
    """Requests end with their answers, or are told why not; each attempt is settled once."""
    short = await ends(make_stand(config(up)), up, how)
    up.behave = up.usual
    long = await ends(make_stand(config(up), short=False), up, how)
    answers = short[0]
    assert isinstance(answers, list)
    assert [answer[0] for answer in answers] == [status] * 5
    assert short == long


async def test_an_answer_of_a_worker_that_ends_says_that_its_connection_does(
    make_stand: MakeStand, up: Provider
) -> None:
    """Whether the worker drains or stops at once, and however well the client is known."""
    for how in ("drained", "stopped"):
        up.behave = up.usual
        answers = (await ends(make_stand(config(up)), up, how))[0]
        assert isinstance(answers, list)
        assert [answer[1].get("connection") for answer in answers] == ["close"] * 5, how


async def test_requests_that_have_just_come_when_a_worker_stops_are_told_so(
    make_stand: MakeStand, up: Provider
) -> None:
    """Those that no turn has begun yet are not lost either."""
    stand = make_stand(config(up))
    crowd = await crowd_of(stand, up, 40)
    up.behave = Gate()
    good = stand.server.requests_total
    for connection in crowd:
        connection.send(chat())
    while stand.server.requests_total == good:
        await asyncio.sleep(0)
    began = len(up.asked)
    await stand.server.stop()
    answers = [await connection.answer() for connection in crowd]
    assert {answer.status for answer in answers} == {503}
    assert began == 40  # as the crowd was made; of these none had been sent yet
    await stand.close()
    check_settled(stand)
    assert len(lines_of(stand)) == 40


async def test_a_crowd_leaves_the_same_on_both_ways(
    make_stand: MakeStand, up: Provider, claude: Provider
) -> None:
    """Counted together or one by one, the sums are the same."""

    async def scene(stand: Stand, connection: Connection) -> list[Answer]:
        crowd = await crowd_of(stand, up, 30)
        crowd += [await stand.connect() for _ in range(5)]
        for number, each in enumerate(crowd):
            each.send(
                [chat(), chat("same-up"), chat("free"), chat("unknown"), chat("wise")][number % 5]
            )
        return [await each.answer() for each in crowd]

    short = await play(make_stand(config(up, claude)), scene, up, claude)
    long = await play(make_stand(config(up, claude), short=False), scene, up, claude)
    assert short.answers == long.answers
    assert (short.rows, short.lines) == (long.rows, long.lines)
    assert short.counted == pytest.approx(long.counted)
    assert len(short.rows) == 28


async def test_a_full_ledger_refuses_all_of_a_turn_and_keeps_nothing_of_it(
    make_stand: MakeStand, up: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Connections, places and the gauge are as they were; what is in the air is answered."""
    limits = "  places: {per: key, concurrency: 40}"
    stand = make_stand(config(up, limits=limits, default="places"))
    crowd = await crowd_of(stand, up, 30)
    up.behave = gate = Gate()
    crowd[0].send(chat())
    await until(lambda: gate.waiting == 1)

    def full(descriptor: int, data: bytes) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(journal_module, "_write", full)
        for connection in crowd[1:]:
            connection.send(chat())
        assert {(await connection.answer()).status for connection in crowd[1:]} == {503}
        assert await stand.in_flight() == 1
        gate.open()
        assert (await crowd[0].answer()).status == 200
    assert up.connections == 30
    await asyncio.sleep(0.3)  # the journal looks for room no oftener
    for connection in crowd:
        connection.send(chat())
    assert {(await connection.answer()).status for connection in crowd} == {200}
    assert up.connections == 30
    await stand.close()
    check_settled(stand)
    assert [row["outcome"] for row in rows_of(stand)] == ["ok"] * 31


async def test_a_client_that_is_cut_as_its_answer_comes_takes_nobody_elses_away(
    make_stand: MakeStand, up: Provider
) -> None:
    """Its request ends as one whose client has left, the others of the turn with their answers."""
    stand = make_stand(config(up))
    crowd = await crowd_of(stand, up, 5)
    peers: list[Peer] = []

    async def wait(peer: Peer, head: bytes, body: bytes) -> bool:
        peers.append(peer)
        await peer.wait_closed()
        return False

    up.behave = wait
    for connection in crowd:
        connection.send(chat())
    await until(lambda: len(peers) == 5)
    cut = crowd[2].writer.get_extra_info("sockname")
    (victim,) = (
        each for each in stand.server.connections
        if each.transport.get_extra_info("peername") == cut
    )  # fmt: skip
    answer = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b"
    for peer in peers:
        peer.sock.send(answer % (len(CHAT_ANSWER), CHAT_ANSWER))
    await asyncio.sleep(0)  # the loop has read the answers, and not yet looked at them
    victim.abort()
    for number, connection in enumerate(crowd):
        if number != 2:
            assert (await connection.answer()).status == 200
    await until(lambda: not stand.server.running)
    assert await stand.in_flight() == 0
    await stand.close()
    check_settled(stand)
    assert len(lines_of(stand)) == len(rows_of(stand)) == 5
