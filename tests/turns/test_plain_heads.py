"""Over sockets, too, a client whose head is known gets what it would get as a stranger."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable

import msgspec
import pytest
from tests.turns.stand import CHAT_ANSWER, Provider, Stand, answering, chat, config, request

MakeStand = Callable[..., Stand]
LAST_WORD = b"GET /nothing HTTP/1.1\r\nhost: gateway\r\nconnection: close\r\n\r\n"
HEAD, _, BODY = chat().partition(b"\r\n\r\n")
LENGTH = b"content-length: %d" % len(BODY)


def with_body(body: bytes) -> bytes:
    """Return a request with the known head and another body."""
    return HEAD.replace(LENGTH, b"content-length: %d" % len(body)) + b"\r\n\r\n" + body


def with_length(digits: bytes) -> bytes:
    """Return the known request, its length written otherwise."""
    return chat().replace(LENGTH, b"content-length: " + digits)


#: What a client sends in place of its next request, in packets.
PLAYS: dict[str, tuple[bytes, ...]] = {
    "the same": (chat(),),
    "a longer body": (chat(user="x" * 300),),
    "a shorter body": (with_body(b'{"model":"fast","messages":[]}'),),
    "no body": (with_body(b""),),
    "a length with zeros before it": (with_length(b"00%d" % len(BODY)),),
    "a length of nineteen digits": (with_length(b"%019d" % len(BODY)),),
    "a length that is no number": (with_length(b"+%d" % len(BODY)),),
    "a length that is too short": (with_length(b"%d" % (len(BODY) - 1)),),
    "two in one packet": (chat() + chat(),),
    "two and a half": (chat() + chat() + chat()[:100], chat()[100:]),
    "half a head": (chat()[:70], chat()[70:]),
    "half a body": (chat()[:-10], chat()[-10:]),
    "a head alone": (HEAD + b"\r\n\r\n", BODY),
    "a blank line before it": (b"\r\n" + chat(),),
    "a blank line by itself": (b"\r\n", chat()),
    "two blank lines": (b"\r\n\r\n" + chat(),),
    "HEAD": (chat().replace(b"POST", b"HEAD", 1),),
    "HTTP/1.0": (chat().replace(b"HTTP/1.1", b"HTTP/1.0", 1),),
    "HTTP/1.0 that stays": (
        chat("fast", "connection: keep-alive").replace(b"HTTP/1.1", b"HTTP/1.0", 1),
    ),
    "close": (chat("fast", "connection: close"),),
    "expect": (chat("fast", "expect: 100-continue"),),
    "chunked": (
        HEAD.replace(LENGTH, b"transfer-encoding: chunked")
        + b"\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (len(BODY), BODY),
    ),
    "both lengths": (
        HEAD + b"\r\ntransfer-encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (len(BODY), BODY),
    ),
    "no host": (chat().replace(b"host: gateway\r\n", b"", 1),),
    "another header": (chat("fast", "x-other: 1"),),
    "a body over 64 KiB": (chat(user="x" * 100_000),),
    "another path": (chat().replace(b"/v1/chat/completions", b"/v1/chat/completionz", 1),),
}


async def talk(stand: Stand, pieces: tuple[bytes, ...], before: bytes | None) -> bytes:
    """Return all that a connection gets for *pieces*; *before* has made its head known."""
    stranger = await stand.connect()
    assert (await stranger.ask(chat("warm", "x-stranger: 1"))).status == 200
    connection = await stand.connect()
    if before is not None:
        for _ in range(4):
            assert (await connection.ask(before)).status == 200
    for piece in pieces:
        connection.send(piece)
        await connection.writer.drain()
        await asyncio.sleep(0.002)
    connection.send(LAST_WORD)
    data = await connection.rest()
    return re.sub(rb"(date|x-request-id): [^\r]*\r\n", rb"\1: x\r\n", data)


@pytest.mark.parametrize("name", PLAYS)
async def test_a_known_client_gets_the_bytes_that_a_stranger_gets(
    make_stand: MakeStand, up: Provider, name: str
) -> None:
    """To the last one, on the short way and on the long way."""
    known = await talk(make_stand(config(up)), PLAYS[name], chat())
    new = await talk(make_stand(config(up)), PLAYS[name], None)
    long = await talk(make_stand(config(up), short=False), PLAYS[name], chat())
    assert known == new
    assert long == new


async def test_a_known_request_may_be_split_at_every_byte(
    make_stand: MakeStand, up: Provider
) -> None:
    """Whatever packets it comes in, it is answered whole and once."""
    stand = make_stand(config(up))
    connection = await stand.connect()
    data = chat()
    for _ in range(4):
        assert (await connection.ask(data)).status == 200
    for at in range(1, len(data)):
        connection.send(data[:at])
        await asyncio.sleep(0.001)
        answer = await connection.ask(data[at:])
        assert (answer.status, answer.body) == (200, CHAT_ANSWER)
    assert len(up.asked) == len(data) + 3


async def test_a_smaller_cap_on_bodies_holds_for_a_client_that_is_known(
    make_stand: MakeStand, up: Provider
) -> None:
    """413 for what was good before the change; nothing is sent for it."""
    stand = make_stand(config(up))
    connection = await stand.connect()
    for _ in range(4):
        assert (await connection.ask(chat())).status == 200
    caps = stand.server.caps
    stand.server.configure(msgspec.structs.replace(caps, max_body_bytes=len(BODY) - 1))
    assert (await connection.ask(chat())).status == 413
    assert len(up.asked) == 4
    stand.server.configure(caps)
    assert (await (await stand.connect()).ask(chat())).status == 200


async def test_answers_of_any_size_reach_a_client_that_is_known(
    make_stand: MakeStand, up: Provider
) -> None:
    """Below and above what is copied into one buffer, and what a socket takes at once."""
    stand = make_stand(config(up))
    connection = await stand.connect()
    for size in (0, 1, 100, 8_000, 8_191, 8_192, 8_193, 60_000, 300_000, 5_000_000, 10):
        body = CHAT_ANSWER.replace(b"Good day.", b"x" * size)
        up.behave = answering(body)
        for _ in range(3):
            answer = await connection.ask(chat())
            assert (answer.status, answer.body) == (200, body)


async def test_bodies_of_any_size_reach_the_provider_from_a_client_that_is_known(
    make_stand: MakeStand, up: Provider
) -> None:
    """Those that come in one packet and those that do not."""
    stand = make_stand(config(up))
    connection = await stand.connect()
    for size in (0, 1, 100, 16_000, 17_000, 70_000, 300_000, 3_000_000, 10):
        for _ in range(3):
            data = request("/v1/chat/completions", {"model": "same-up", "user": "x" * size})
            assert (await connection.ask(data)).status == 200
            assert up.asked[-1][1] == data.partition(b"\r\n\r\n")[2]
