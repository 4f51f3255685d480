"""Length-framed messages over one end of a socketpair.

A frame is a 4-byte big-endian length and that many bytes of MessagePack. The supervisor
uses `Channel` without ever blocking (it belongs to its selector); a child reads its
first message, which carries descriptors, with `receive_attach`, and then hands the
socket to `AsyncChannel`.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final, cast

from tidegate.control.messages import Attach, Message, decode_message, encode_message

if TYPE_CHECKING:
    from typing_extensions import override
else:

    def override(method):  # noqa: ANN001, ANN201, D103 (a worker does without the package)
        return method


MAX_FRAME_BYTES = 256 * 1024 * 1024
"""A longer frame is a broken peer (a million keys are about 90 MB)."""

CHILD_CHANNEL_FD: Final = 3
"""The descriptor number of a child's end."""

_READ_BYTES = 256 * 1024
_LENGTH_BYTES = 4


class ChannelClosed(Exception):
    """The other end is gone, or sent what is not a frame."""


def frame(message: Message) -> bytes:
    """One message as the bytes that travel."""
    data = encode_message(message)
    return len(data).to_bytes(_LENGTH_BYTES, "big") + data


class FrameReader:
    """Cuts a byte stream into messages."""

    __slots__ = ("_buffer",)

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[Message]:
        """Return the messages that *data* completes, in order.

        Raises:
            ChannelClosed: A length over `MAX_FRAME_BYTES`.
            msgspec.ValidationError: A frame that is no message.
        """
        buffer = self._buffer
        buffer += data
        messages: list[Message] = []
        start = 0
        while len(buffer) - start >= _LENGTH_BYTES:
            length = int.from_bytes(buffer[start : start + _LENGTH_BYTES], "big")
            if length > MAX_FRAME_BYTES:
                raise ChannelClosed(f"a frame of {length} bytes")
            end = start + _LENGTH_BYTES + length
            if len(buffer) < end:
                break
            messages.append(decode_message(bytes(buffer[start + _LENGTH_BYTES : end])))
            start = end
        if start:
            del buffer[:start]
        return messages


class Channel:
    """The supervisor's end: non-blocking, buffered, driven by a selector.

    Attributes:
        sock: Register it for reading, and for writing while `wants_write`.
    """

    __slots__ = ("_out", "_reader", "sock")

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self.sock = sock
        self._reader = FrameReader()
        self._out = bytearray()

    @property
    def wants_write(self) -> bool:
        """True while bytes wait for room in the socket."""
        return bool(self._out)

    @property
    def pending_bytes(self) -> int:
        """Bytes that the child has not taken yet."""
        return len(self._out)

    def send(self, message: Message) -> None:
        """Queue *message* and write what fits.

        A child that is gone swallows it silently: its end is seen elsewhere.
        """
        self._out += frame(message)
        self.flush()

    def send_attach(self, message: Attach, descriptors: Sequence[int]) -> None:
        """Send the first message with *descriptors* attached.

        Only on a fresh socket, whose buffer always has room for it. Raises `OSError` when
        the child is already gone.
        """
        socket.send_fds(self.sock, [frame(message)], list(descriptors))

    def flush(self) -> None:
        """Write as much as the socket takes now."""
        out = self._out
        while out:
            try:
                sent = self.sock.send(memoryview(out)[:_READ_BYTES])
            except BlockingIOError:
                return
            except OSError:
                out.clear()
                return
            del out[:sent]

    def receive(self) -> list[Message]:
        """Return the messages that have arrived; raises `ChannelClosed` at the end."""
        messages: list[Message] = []
        while True:
            try:
                data = self.sock.recv(_READ_BYTES)
            except BlockingIOError:
                return messages
            except OSError as error:
                raise ChannelClosed(str(error)) from error
            if not data:
                if messages:
                    return messages  # the end is seen again at the next call
                raise ChannelClosed("closed")
            messages += self._reader.feed(data)

    def close(self) -> None:
        """Close this end; the child takes that as the order to stop at once."""
        self.sock.close()


def receive_attach(sock: socket.socket) -> tuple[Attach, list[int]]:
    """Wait for the first message of a child's life, with its descriptors.

    Blocks; the supervisor's death ends it with `ChannelClosed`.
    """
    head, descriptors, _, _ = socket.recv_fds(sock, _LENGTH_BYTES, 8)
    length = int.from_bytes(head, "big")
    if len(head) < _LENGTH_BYTES or length > MAX_FRAME_BYTES:
        raise ChannelClosed("closed before the first message")
    data = sock.recv(length, socket.MSG_WAITALL)
    if len(data) < length:
        raise ChannelClosed("closed inside the first message")
    message = decode_message(data)
    if not isinstance(message, Attach):
        raise ChannelClosed("the first message is not Attach")
    return message, descriptors


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

    def send(self, message: Message) -> None:
        """Queue *message*; lost when the supervisor is gone."""
        if self._transport is not None:
            self._transport.write(frame(message))

    async def flush(self) -> None:
        """Wait until all that was sent has reached the socket (or the supervisor is gone)."""
        await self._is_flushed.wait()
