"""Where an answer's body ends: after its length, with its last chunk, or with the connection."""

from __future__ import annotations

from typing import Protocol

from tidegate.upstream.chunked import ChunkedBody
from tidegate.upstream.head import Head, ProtocolError


class Body(Protocol):
    """Decoder of one body.

    Attributes:
        done: Its end was read.
        rest: Bytes behind its end, which belong to nobody.
    """

    done: bool
    rest: bytes

    def feed(self, data: bytes) -> bytes:
        """Take the next bytes; return what they hold of the body.

        Raises:
            ProtocolError: They break a rule of its framing.
        """


class LengthBody:
    """A body of announced length; see `Body`."""

    __slots__ = ("_missing", "done", "rest")

    def __init__(self, length: int) -> None:
        self.done = length == 0
        self.rest = b""
        self._missing = length

    def feed(self, data: bytes) -> bytes:
        """See `Body.feed`."""
        missing = self._missing = self._missing - len(data)
        if missing > 0:
            return data
        self.done = True
        if missing < 0:
            self.rest = data[missing:]
            start = self.rest[:7]
            if start != b"HTTP/1."[: len(start)]:
                raise ProtocolError("more body than its content-length")
            # A second answer that nobody asked for: this one is whole all the same.
            return data[:missing]
        return data


class OpenBody:
    """A body that ends with the connection; see `Body`."""

    __slots__ = ("done", "rest")

    def __init__(self) -> None:
        self.done = False
        self.rest = b""

    def feed(self, data: bytes) -> bytes:
        """See `Body.feed`."""
        return data


def body_of(head: Head) -> Body:
    """Return the decoder of the body that *head* announces."""
    if head.framing == "length":
        return LengthBody(head.length)
    return ChunkedBody() if head.framing == "chunked" else OpenBody()
