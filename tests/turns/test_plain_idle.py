"""A connection to a provider that has closed or spoken while it was idle carries no request.

The provider acts at the last moment: the loop has read the client's request, and cannot have
heard of it yet.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Callable

import pytest
from tests.turns.stand import (
    CHAT_ANSWER,
    Connection,
    Gate,
    Provider,
    Stand,
    chat,
    config,
    until,
)
from tests.upstream.misbehaving import Peer

from tidegate.edge.exchange import FreeExchange, Front

MakeStand = Callable[..., Stand]
EVIL = b'HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 6\r\n\r\n"evil"'


def close(sock: socket.socket) -> None:
    """Close."""
    sock.shutdown(socket.SHUT_RDWR)


def reset(sock: socket.socket) -> None:
    """Reset."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


def end_sending(sock: socket.socket) -> None:
    """Send no more, and read on."""
    sock.shutdown(socket.SHUT_WR)


def speak(sock: socket.socket) -> None:
    """Send an answer that nobody has asked for."""
    sock.send(EVIL)


class LastMoment:
    """Stands before a front; acts on idle connections when a request has just been read."""

    def __init__(self, front: Front) -> None:
        self.socks: list[socket.socket] = []
        self.act: Callable[[socket.socket], None] | None = None
        self._front = front

    def take(self, exchange: FreeExchange) -> None:
        """See `Front.take`."""
        act, self.act = self.act, None
        if act is not None:
            for sock in self.socks:
                act(sock)
        self._front.take(exchange)

    def let_go(self, exchange: FreeExchange) -> None:
        """See `Front.let_go`."""
        self._front.let_go(exchange)


async def idle(
    stand: Stand, up: Provider, count: int, *, reads: bool = True
) -> tuple[LastMoment, list[Connection]]:
    """Return what acts on the *count* idle connections to *up*, and as many clients.

    A socket that a provider *reads* from is not closed before it has read.
    """
    front = stand.server.front
    assert front is not None
    stand.server.front = moment = LastMoment(front)
    gate = Gate()
    peers: dict[int, socket.socket] = {}

    async def behave(peer: Peer, head: bytes, body: bytes) -> bool:
        peers[peer.number] = peer.sock
        await gate(peer, head, body)
        if not reads:
            await asyncio.Event().wait()
        return True

    up.behave = behave
    clients = [await stand.connect() for _ in range(count)]
    for client in clients:
        client.send(chat())
    await until(lambda: gate.waiting == count)
    gate.open()
    for client in clients:
        assert (await client.answer()).status == 200
    up.behave = up.usual
    moment.socks = [peers[number] for number in sorted(peers)]
    return moment, clients


@pytest.mark.parametrize("act", [close, reset, end_sending, speak])
@pytest.mark.parametrize("count", [1, 7])
async def test_what_a_provider_did_to_an_idle_connection_is_seen_before_it_is_used(
    make_stand: MakeStand, up: Provider, act: Callable[[socket.socket], None], count: int
) -> None:
    """The request goes out once, on a new connection, and gets its own answer."""
    stand = make_stand(config(up))
    moment, clients = await idle(stand, up, count, reads=False)
    moment.act = act
    asked, tasks = len(up.asked), stand.tasks
    for client in clients:
        client.send(chat())
    answers = [await client.answer() for client in clients]
    assert [(answer.status, answer.body) for answer in answers] == [(200, CHAT_ANSWER)] * count
    assert len(up.asked) - asked == count
    assert up.connections == 2 * count
    assert stand.tasks - tasks == count
    await stand.close()
    rows = stand.rows()
    assert [row["outcome"] for row in rows] == ["ok"] * 2 * count
    assert {row["ordinal"] for row in rows} == {1}


async def test_one_bad_connection_among_good_ones_is_passed_over(
    make_stand: MakeStand, up: Provider
) -> None:
    """The good ones are used, and no task is needed for that."""
    stand = make_stand(config(up))
    moment, clients = await idle(stand, up, 3)
    moment.socks = moment.socks[-1:]
    moment.act = speak
    tasks = stand.tasks
    for client in clients[:2]:
        answer = await client.ask(chat())
        assert (answer.status, answer.body) == (200, CHAT_ANSWER)
    assert stand.tasks == tasks
    assert up.connections == 3


async def test_a_silent_connection_is_used_again_and_again(
    make_stand: MakeStand, up: Provider
) -> None:
    """Those that carry other requests may speak as they like."""
    stand = make_stand(config(up))
    _, clients = await idle(stand, up, 5)
    for _ in range(20):
        for client in clients:
            client.send(chat())
        for client in clients:
            assert (await client.answer()).body == CHAT_ANSWER
    assert up.connections == 5
