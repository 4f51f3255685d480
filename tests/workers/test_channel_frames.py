"""Messages between supervisor and children arrive whole, in order, with their descriptors."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Iterator

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegate.config.snapshot import KeySnapshot
from tidegate.control.channel import Channel, ChannelClosed, FrameReader, frame
from tidegate.control.child_channel import AsyncChannel, receive_attach
from tidegate.control.messages import (
    Applied,
    Attach,
    Configure,
    Drain,
    Drained,
    FirstKey,
    Keys,
    Leaving,
    Message,
    Ready,
    Refused,
    Stop,
    WorkerDied,
    decode_keys,
    encode_keys,
)

EVERY: list[Message] = [
    Attach(2, 1),
    Configure(3, b"snapshot", b"keys", (("a", "b"),), True),
    Keys(4, b"table"),
    Drain(0.5, 600.0, True),
    Stop(),
    WorkerDied(2, 1, 99, "signal"),
    Ready(),
    Applied(3),
    Refused(3, (("server.port", "taken"),)),
    Leaving(),
    Drained(7),
    FirstKey("default", "tg-x"),
]


@given(st.lists(st.sampled_from(EVERY), max_size=12), st.data())
def test_any_split_of_the_bytes_gives_the_same_messages(
    messages: list[Message], data: st.DataObject
) -> None:
    """A frame may arrive in any number of pieces."""
    stream = b"".join(map(frame, messages))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=8)))
    reader = FrameReader()
    found: list[Message] = []
    for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        found += reader.feed(stream[start:end])
    assert found == messages
    assert reader.pending == b""


def test_a_reader_goes_on_where_another_stopped() -> None:
    """An upgrade hands over what has arrived of a frame."""
    whole = frame(Keys(1, b"x" * 100))
    first = FrameReader()
    assert first.feed(whole[:50]) == []
    assert FrameReader(first.pending).feed(whole[50:]) == [Keys(1, b"x" * 100)]


def test_what_is_no_message_is_told_apart() -> None:
    """A giant length ends the channel, a frame of something else is a decode error."""
    with pytest.raises(ChannelClosed):
        FrameReader().feed(b"\xff\xff\xff\xff")
    with pytest.raises(msgspec.DecodeError):
        FrameReader().feed(b"\x00\x00\x00\x01\xc1")


@pytest.fixture
def pair() -> Iterator[tuple[Channel, socket.socket]]:
    """A supervisor's channel and the child's bare socket."""
    ours, theirs = socket.socketpair()
    channel = Channel(ours)
    yield channel, theirs
    channel.close()
    theirs.close()


def test_a_child_that_does_not_read_never_blocks_the_supervisor(
    pair: tuple[Channel, socket.socket],
) -> None:
    """What has no room waits in the channel and arrives later."""
    channel, theirs = pair
    table = os.urandom(3_000_000)
    channel.send(Keys(1, table))
    assert channel.wants_write
    reader, found = FrameReader(), []
    while not found:
        found = reader.feed(theirs.recv(1 << 20))
        channel.flush()
    assert found == [Keys(1, table)]
    assert not channel.wants_write


def test_a_child_that_is_gone_swallows_messages(pair: tuple[Channel, socket.socket]) -> None:
    """Sending is no error; reading tells the end, after what was still there."""
    channel, theirs = pair
    theirs.sendall(frame(Drained(0)))
    theirs.close()
    assert channel.receive() == [Drained(0)]
    with pytest.raises(ChannelClosed):
        channel.receive()
    channel.send(Stop())
    channel.send(Stop())
    assert not channel.wants_write


def test_the_first_message_brings_the_descriptors(pair: tuple[Channel, socket.socket]) -> None:
    """And leaves the bytes behind it alone."""
    channel, theirs = pair
    reader, writer = os.pipe()
    channel.send_attach(Attach(5, 2), [reader])
    channel.send(Stop())
    os.close(reader)
    attach, descriptors = receive_attach(theirs)
    assert attach == Attach(5, 2)
    os.write(writer, b"same pipe")
    assert os.read(descriptors[0], 100) == b"same pipe"
    assert FrameReader().feed(theirs.recv(100)) == [Stop()]
    os.close(writer)
    os.close(descriptors[0])


def test_a_supervisor_that_dies_first_ends_the_wait(pair: tuple[Channel, socket.socket]) -> None:
    """A child started early must not stay."""
    channel, theirs = pair
    channel.close()
    with pytest.raises(ChannelClosed):
        receive_attach(theirs)


async def test_a_child_hears_and_answers_on_its_loop(pair: tuple[Channel, socket.socket]) -> None:
    """Also a message larger than the socket's buffer; the end is told once."""
    channel, theirs = pair
    heard: list[Message] = []
    closed = asyncio.Event()
    child = AsyncChannel(heard.append, closed.set)
    await child.open(theirs)
    channel.send(Applied(1))
    table = os.urandom(2_000_000)
    child.send(Keys(9, table))
    found: list[Message] = []
    async with asyncio.timeout(5):
        while not found or not heard:
            await asyncio.sleep(0.001)
            found += channel.receive()
        await child.flush()
        assert (heard, found) == ([Applied(1)], [Keys(9, table)])
        channel.close()
        await closed.wait()
        child.send(Ready())
        await child.flush()


def test_a_key_table_survives_the_way() -> None:
    """Also an empty one, and one that was never sent."""
    keys = (KeySnapshot("key_1", "ci", b"\0" * 32, ("a",), None, "team", 5),)
    assert decode_keys(encode_keys(keys)) == keys
    assert decode_keys(encode_keys(())) == ()
    assert decode_keys(b"") == ()
