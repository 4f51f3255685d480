"""The chunked coding of a body, decoded strictly.

Sizes are hexadecimal digits and nothing else (Python's `int` would take `0x`, `+`, `_` and
spaces), lines end in CRLF only, extensions and trailers are capped and thrown away.

Event streams come as many small chunks in one read. Split at CRLF, such a read is size, data,
size, data …; when every piece is exactly as long as its size says, that is also what reading
it line by line would find. It costs 0.25 µs a chunk, against 1 µs in the loop.
"""

from __future__ import annotations

import re
from typing import Final

from tidegate.upstream.head import ProtocolError

MAX_SIZE_LINE_BYTES: Final = 1024
MAX_TRAILER_BYTES: Final = 16 * 1024
MAX_TRAILERS: Final = 64

_SIZE_LINE = re.compile(rb"([0-9A-Fa-f]{1,15})(?:[ \t]*;[^\x00-\x08\x0a-\x1f\x7f]*)?").fullmatch
_TRAILER = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+:[^\x00-\x08\x0a-\x1f\x7f]*").fullmatch

_SIZE, _DATA, _TRAILERS = 0, 1, 2

#: Splitting pays from here on.
_SPLIT_BYTES: Final = 512

#: Size lines found good before, for all bodies: events of a stream have few lengths. None is 0.
_known_sizes: dict[bytes, int] = {}
_MAX_KNOWN_SIZES: Final = 4096


class ChunkedBody:
    """Decoder of one chunked body.

    Attributes:
        done: True once the closing blank line has been read.
        rest: Bytes after the body's end, which belong to nobody.
    """

    __slots__ = ("_missing", "_pending", "_state", "_trailer_bytes", "_trailers", "done", "rest")

    def __init__(self) -> None:
        self.done = False
        self.rest = b""
        self._state = _SIZE
        self._missing = 0  # of the current chunk, its CRLF not counted
        self._pending = b""  # a line or CRLF that is not yet whole
        self._trailers = 0
        self._trailer_bytes = 0

    def feed(self, data: bytes) -> bytes:
        """Decode the next bytes; returns what they hold of the body, as one piece.

        Raises:
            ProtocolError: A bad size or line, or one over its cap.
        """
        if self._pending:
            data = self._pending + data
            self._pending = b""
        elif self._state == _SIZE:
            # Most reads of a stream are exactly one chunk.
            end = data.find(b"\r\n")
            size = _known_sizes.get(data[:end])
            if size and len(data) == end + size + 4 and data.endswith(b"\r\n"):
                return data[end + 2 : -2]
        if self._state == _TRAILERS:
            self._read_trailers(data, 0)
            return b""
        pieces: list[bytes] = []
        position = 0
        available = len(data)
        if available >= _SPLIT_BYTES and self._state == _SIZE:
            pieces, position = _whole_chunks(data)
        missing = self._missing
        in_data = self._state == _DATA
        while True:
            if not in_data:
                end = data.find(b"\r\n", position)
                if end < 0:
                    self._keep_line(data[position:], MAX_SIZE_LINE_BYTES)
                    break
                missing = _size(data[position:end])
                position = end + 2
                if missing == 0:
                    self._state = _TRAILERS
                    self._read_trailers(data, position)
                    return pieces[0] if len(pieces) == 1 else b"".join(pieces)
                in_data = True
            stop = position + missing
            if stop + 2 <= available:
                if not data.startswith(b"\r\n", stop):
                    raise ProtocolError("chunk longer than its size")
                if missing:
                    pieces.append(data[position:stop])
                position = stop + 2
                missing = 0
                in_data = False
                continue
            if stop <= available:
                pieces.append(data[position:stop])
                missing = 0
                self._pending = data[stop:]
                if self._pending and self._pending != b"\r":
                    raise ProtocolError("chunk longer than its size")
            else:
                pieces.append(data[position:])
                missing -= available - position
            break
        self._missing = missing
        self._state = _DATA if in_data else _SIZE
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def _read_trailers(self, data: bytes, position: int) -> None:
        """Read on to the blank line; trailers are checked, counted and dropped."""
        while True:
            end = data.find(b"\r\n", position)
            if end < 0:
                self._keep_line(data[position:], MAX_TRAILER_BYTES)
                return
            if end == position:
                self.done = True
                self.rest = data[end + 2 :]
                return
            self._trailers += 1
            self._trailer_bytes += end - position
            if self._trailers > MAX_TRAILERS or self._trailer_bytes > MAX_TRAILER_BYTES:
                raise ProtocolError("trailers over the cap")
            if _TRAILER(data[position:end]) is None:
                raise ProtocolError("bad trailer line")
            position = end + 2

    def _keep_line(self, line: bytes, max_bytes: int) -> None:
        """Keep an unfinished line, unless it is already too long or holds a bare LF."""
        if len(line) > max_bytes:
            raise ProtocolError("line of the chunked coding over the cap")
        if b"\n" in line:
            raise ProtocolError("bare LF in the chunked coding")
        self._pending = line


def _whole_chunks(data: bytes) -> tuple[list[bytes], int]:
    """Return the pieces of the whole chunks that *data* begins with, and where they end.

    Nothing and 0 when *data* is not so simple: a size not seen before, an extension, CRLF
    inside a piece, a piece that goes on. The caller then reads line by line, and judges.
    """
    parts = data.split(b"\r\n")
    # The last part is behind the last CRLF. A size without its data stays behind as well, and
    # so does the closing chunk of size 0.
    last = parts.pop()
    end = len(data) - len(last)
    if len(parts) & 1:
        end -= len(parts.pop()) + 2
    elif not last and len(parts) >= 2 and parts[-2] == b"0" and not parts[-1]:
        end -= 5
        del parts[-2:]
    pieces = parts[1::2]
    if list(map(len, pieces)) != list(map(_known_sizes.get, parts[::2])):
        return [], 0
    return pieces, end


def _size(line: bytes) -> int:
    """Return the size on a chunk's first line."""
    # The usual line has digits only. `int` would also take the prefix 0x.
    if line.isalnum() and len(line) < 16 and b"x" not in line and b"X" not in line:
        try:
            size = int(line, 16)
        except ValueError:
            raise ProtocolError("bad chunk size") from None
        if size and len(_known_sizes) < _MAX_KNOWN_SIZES:
            _known_sizes[line] = size
        return size
    if len(line) > MAX_SIZE_LINE_BYTES:
        raise ProtocolError("line of the chunked coding over the cap")
    match = _SIZE_LINE(line)
    if match is None:
        raise ProtocolError("bad chunk size")
    return int(match[1], 16)
