"""A child's end of its channel: the first message with its descriptors, then asyncio."""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import Callable
from typing import Final, cast

from typing_extensions import override

from tidegate.control.channel import (
    LENGTH_BYTES,
    MAX_FRAME_BYTES,
    ChannelClosed,
    FrameReader,
    frame,
)
from tidegate.control.eventlog import EventLog
from tidegate.control.messages import Attach, Message, decode_message
from tidegate.memory import Segment, SlotWord

CHILD_CHANNEL_FD: Final = 3
"""The descriptor number of a child's end."""


def inherited_socket() -> socket.socket:
    """Return the socket that the supervisor left us; nobody inherits it from us."""
    os.set_inheritable(CHILD_CHANNEL_FD, False)
    return socket.socket(fileno=CHILD_CHANNEL_FD)


def receive_attach(sock: socket.socket) -> tuple[Attach, list[int]]:
    """Wait for the first message of a child's life, with its descriptors.

    Blocks; the supervisor's death ends it with `ChannelClosed`.
    """
    head, descriptors, _, _ = socket.recv_fds(sock, LENGTH_BYTES, 8)
    length = int.from_bytes(head, "big")
    if len(head) < LENGTH_BYTES or length > MAX_FRAME_BYTES:
        raise ChannelClosed("closed before the first message")
    data = sock.recv(length, socket.MSG_WAITALL)
    if len(data) < length:
        raise ChannelClosed("closed inside the first message")
    message = decode_message(data)
    if not isinstance(message, Attach):
        raise ChannelClosed("the first message is not Attach")
    return message, descriptors


EXIT_OTHER_VERSION: Final = 5
"""What is installed now cannot work with the supervisor that runs; said in the log."""


def attach_segment(attach: Attach, descriptor: int) -> Segment | None:
    """Map the shared memory and write the first heartbeat.

    None when it has the layout of another version: a package was replaced under a running
    gateway, which has to be restarted.
    """
    try:
        segment = Segment.attach(descriptor)
    except ValueError as error:
        log = EventLog(f"slot-{attach.slot}")
        log.error("the installed version does not fit the running one: restart", reason=str(error))
        return None
    segment.set(attach.slot, SlotWord.HEARTBEAT_NS, time.monotonic_ns())
    return segment


class AsyncChannel(asyncio.Protocol):
    """A child's end on its event loop.

    Calls `on_message` for each message and `on_closed` once when the supervisor is gone.
    """

    def __init__(
        self, on_message: Callable[[Message], None], on_closed: Callable[[], None]
    ) -> None:
        self._on_message = on_message
        self._on_closed = on_closed
        self._reader = FrameReader()
        self._transport: asyncio.Transport | None = None
        self._is_flushed = asyncio.Event()
        self._is_flushed.set()

    async def open(self, sock: socket.socket) -> None:
        """Take over *sock* on the running loop; messages may arrive before this returns."""
        sock.setblocking(False)
        await asyncio.get_running_loop().create_connection(lambda: self, sock=sock)

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport (asyncio calls this)."""
        # A cast, as uvloop's transports do not inherit from asyncio's.
        self._transport = cast(asyncio.Transport, transport)
        self._transport.set_write_buffer_limits(high=0)

    @override
    def data_received(self, data: bytes) -> None:
        """Deliver the messages that *data* completes (asyncio calls this)."""
        for message in self._reader.feed(data):
            self._on_message(message)

    @override
    def pause_writing(self) -> None:
        """Bytes wait for room (asyncio calls this)."""
        self._is_flushed.clear()

    @override
    def resume_writing(self) -> None:
        """No byte waits any more (asyncio calls this)."""
        self._is_flushed.set()

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        """Report the end of the supervisor (asyncio calls this)."""
        self._transport = None
        self._is_flushed.set()
        self._on_closed()

    @property
    def is_clear(self) -> bool:
        """Whether all that was sent has reached the socket."""
        return self._is_flushed.is_set()

    def send(self, message: Message) -> None:
        """Queue *message*; lost when the supervisor is gone."""
        if self._transport is not None:
            self._transport.write(frame(message))

    async def flush(self) -> None:
        """Wait until all that was sent has reached the socket (or the supervisor is gone)."""
        await self._is_flushed.wait()
