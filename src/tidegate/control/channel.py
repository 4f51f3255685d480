"""Length-framed messages over one end of a socketpair.

A frame is a 4-byte big-endian length and that many bytes of MessagePack. The supervisor
uses `Channel` without ever blocking (it belongs to its selector); a child uses
`control.child_channel`.
"""

from __future__ import annotations

import socket
from collections.abc import Sequence

from tidegate.control.messages import Attach, Message, decode_message, encode_message

MAX_FRAME_BYTES = 256 * 1024 * 1024
"""A longer frame is a broken peer (a million keys are about 90 MB)."""

READ_BYTES = 256 * 1024
LENGTH_BYTES = 4


class ChannelClosed(Exception):
    """The other end is gone, or sent what is not a frame."""


def frame(message: Message) -> bytes:
    """One message as the bytes that travel."""
    data = encode_message(message)
    return len(data).to_bytes(LENGTH_BYTES, "big") + data


class FrameReader:
    """Cuts a byte stream into messages."""

    __slots__ = ("_buffer",)

    def __init__(self, pending: bytes = b"") -> None:
        """Begin with the *pending* bytes of another reader."""
        self._buffer = bytearray(pending)

    @property
    def pending(self) -> bytes:
        """What has arrived of a message that is not complete."""
        return bytes(self._buffer)

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
        while len(buffer) - start >= LENGTH_BYTES:
            length = int.from_bytes(buffer[start : start + LENGTH_BYTES], "big")
            if length > MAX_FRAME_BYTES:
                raise ChannelClosed(f"a frame of {length} bytes")
            end = start + LENGTH_BYTES + length
            if len(buffer) < end:
                break
            messages.append(decode_message(bytes(buffer[start + LENGTH_BYTES : end])))
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

    def __init__(self, sock: socket.socket, *, unread: bytes = b"", unsent: bytes = b"") -> None:
        """Take *sock*, with what another `Channel` on it left unfinished."""
        sock.setblocking(False)
        self.sock = sock
        self._reader = FrameReader(unread)
        self._out = bytearray(unsent)

    @property
    def wants_write(self) -> bool:
        """True while bytes wait for room in the socket."""
        return bool(self._out)

    @property
    def unsent(self) -> bytes:
        """What the child has not taken yet."""
        return bytes(self._out)

    @property
    def unread(self) -> bytes:
        """What has arrived of a message that is not complete."""
        return self._reader.pending

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
                sent = self.sock.send(memoryview(out)[:READ_BYTES])
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
                data = self.sock.recv(READ_BYTES)
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
