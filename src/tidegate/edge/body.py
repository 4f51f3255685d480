"""Request bodies that did not come whole with their head: a length, or chunks.

Both kinds take bytes as they arrive and say what is left over for the next request.
They hold at most `max_body_bytes` and a bounded line of framing.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from tidegate.edge.head import FIELD_BYTES, SINGLETONS, TOKEN_BYTES
from tidegate.edge.rules import refusal

MAX_EXTENSION_BYTES = 256
"""Cap on the extension of one chunk, which nobody uses."""

MAX_TRAILER_BYTES = 4096
"""Cap on all trailer lines, which are checked and then ignored."""

CHUNKS_PER_TURN = 2048
"""Chunks decoded before the loop gets its turn again (about 2 ms)."""

_SIZE_LINE = re.compile(rb"([0-9A-Fa-f]{1,16})(;[^\r\n]*)?\r\n")
_SIZE_PREFIX = re.compile(rb"[0-9A-Fa-f]{1,16}(;[^\r\n]*)?\r?")
_FORBIDDEN_TRAILERS = SINGLETONS | frozenset(
    b"content-encoding connection keep-alive trailer te upgrade cookie forwarded "
    b"x-forwarded-for x-forwarded-host x-forwarded-proto".split()
)


class LengthBody:
    """A body of a known length.

    Attributes:
        data: What has arrived.
        received: Bytes that have arrived; what the minimum rate is held against.
        unfinished_turn: Always False; see `ChunkedBody`.
    """

    __slots__ = ("_missing", "data", "received", "unfinished_turn")

    def __init__(self, length: int) -> None:
        self._missing = length
        self.data = bytearray()
        self.received = 0
        self.unfinished_turn = False

    def feed(self, data: bytes) -> bytes | None:
        """Take *data*; return what follows the body once it is whole, None before."""
        size = len(data)
        if size < self._missing:
            self.data += data
            self._missing -= size
            self.received += size
            return None
        mine = self._missing
        self.data += data[:mine]
        self.received += mine
        self._missing = 0
        return data[mine:]


class ChunkedBody:
    """A body in chunks, decoded; extensions and trailers are checked and left out.

    Attributes:
        data: What has been decoded.
        received: Bytes decoded so far.
        unfinished_turn: `feed` stopped because it had decoded enough chunks for one turn of
            the loop; it wants to be called again, with or without new bytes.
    """

    __slots__ = ("_max_bytes", "_rest", "_step", "_trailer_bytes", "_unread", "data", "received",
                 "unfinished_turn")  # fmt: skip

    def __init__(self, max_body_bytes: int) -> None:
        self._max_bytes = max_body_bytes
        self._rest = b""
        self._unread = 0  # bytes of the current chunk that have not arrived
        # A plain function, not a bound method: the object must not refer to itself.
        self._step: Callable[[ChunkedBody, bytes, int], int] = ChunkedBody._read_size
        self._trailer_bytes = 0
        self.data = bytearray()
        self.received = 0
        self.unfinished_turn = False

    def feed(self, data: bytes) -> bytes | None:
        """Take *data*; return what follows the body once it is whole, None before.

        Raises `Refusal` when the framing is broken or a cap is passed.
        """
        if self._rest:
            data = self._rest + data
            self._rest = b""
        position = 0
        self.unfinished_turn = False
        for _ in range(3 * CHUNKS_PER_TURN):
            after = self._step(self, data, position)
            if after < 0:  # the step needs more bytes
                self._rest = data[~after:]
                return None
            position = after
            if self._step is ChunkedBody._finished:
                return data[position:]
        self._rest = data[position:]
        self.unfinished_turn = True
        return None

    # Each step takes (data, position), returns the position after what it has read, or the
    # complement (~) of the position to go on from when more bytes have to arrive first.

    def _read_size(self, data: bytes, position: int) -> int:
        match = _SIZE_LINE.match(data, position)
        if match is None:
            self._check_size_prefix(data[position : position + MAX_EXTENSION_BYTES + 20])
            return ~position
        digits, extension = match.groups()
        if extension is not None and (
            len(extension) > MAX_EXTENSION_BYTES or extension.translate(None, FIELD_BYTES)
        ):
            raise refusal("chunk_extension")
        size = int(digits, 16)
        if size > self._max_bytes - self.received:
            raise refusal("body_too_large")
        self._unread = size
        self._step = ChunkedBody._read_data if size else ChunkedBody._read_trailer
        return match.end()

    def _check_size_prefix(self, line: bytes) -> None:
        """Refuse the start of a size line that no further byte can mend."""
        if not line:
            return
        match = _SIZE_PREFIX.fullmatch(line)
        if match is None:
            semicolon = line.find(b";")
            sized = semicolon > 0 and _SIZE_PREFIX.fullmatch(line, 0, semicolon)
            raise refusal("chunk_extension" if sized else "chunk_size")
        if match[1] is not None and len(match[1]) > MAX_EXTENSION_BYTES:
            raise refusal("chunk_extension")

    def _read_data(self, data: bytes, position: int) -> int:
        available = len(data) - position
        if available < self._unread:
            self.data += data[position:]
            self.received += available
            self._unread -= available
            return ~len(data)
        after = position + self._unread
        self.data += data[position:after]
        self.received += self._unread
        self._unread = 0
        self._step = ChunkedBody._read_end
        return after

    def _read_end(self, data: bytes, position: int) -> int:
        end = data[position : position + 2]
        if end == b"\r\n":
            self._step = ChunkedBody._read_size
            return position + 2
        if end in (b"", b"\r"):
            return ~position
        raise refusal("chunk_end")

    def _read_trailer(self, data: bytes, position: int) -> int:
        end = data.find(b"\n", position)
        length = (end + 1 if end >= 0 else len(data)) - position
        if self._trailer_bytes + length > MAX_TRAILER_BYTES:
            raise refusal("trailer_bytes")
        if end < 0:
            return ~position
        self._trailer_bytes += length
        line = data[position:end]
        if not line.endswith(b"\r"):
            raise refusal("trailer_grammar")
        if line == b"\r":
            self._step = ChunkedBody._finished
            return end + 1
        name, colon, value = line[:-1].partition(b":")
        if not (name and colon) or name.translate(None, TOKEN_BYTES):
            raise refusal("trailer_grammar")
        if value.translate(None, FIELD_BYTES):
            raise refusal("trailer_grammar")
        if name.lower() in _FORBIDDEN_TRAILERS:
            raise refusal("trailer_forbidden")
        return end + 1

    def _finished(self, data: bytes, position: int) -> int:
        raise AssertionError("fed after its end")
