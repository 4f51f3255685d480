"""Undoes a content coding that nobody asked for, with memory that stays flat.

Requests say `accept-encoding: identity`; some upstreams compress all the same. What comes
out is capped in relation to what came in, so that a bomb is found within its first megabytes.
"""

from __future__ import annotations

import zlib
from typing import Final

from tidegate.upstream.head import ProtocolError

#: Output allowed whatever the input, and per byte of input. JSON shrinks 5 to 30 times.
FREE_BYTES: Final = 1024 * 1024
MAX_RATIO: Final = 64
_STEP_BYTES: Final = 16 * 1024


class Inflater:
    """Decoder of one `gzip` or `deflate` body."""

    __slots__ = ("_decoder", "_head", "_in", "_is_gzip", "_out")

    def __init__(self, coding: bytes) -> None:
        self._is_gzip = coding != b"deflate"
        self._decoder = zlib.decompressobj(zlib.MAX_WBITS | 16) if self._is_gzip else None
        self._head = b""
        self._in = 0
        self._out = 0

    def feed(self, data: bytes) -> bytes:
        """Decode the next bytes.

        Raises:
            ProtocolError: Not the announced coding, bytes after its end, or a bomb.
        """
        decoder = self._decoder
        if decoder is None:
            data = self._head + data
            if len(data) < 2:
                self._head = data
                return b""
            # `deflate` means zlib's format; some send the bare one. Its first two bytes tell.
            is_zlib = data[0] & 0x0F == 8 and (data[0] << 8 | data[1]) % 31 == 0
            decoder = zlib.decompressobj(zlib.MAX_WBITS if is_zlib else -zlib.MAX_WBITS)
            self._decoder = decoder
        pieces: list[bytes] = []
        try:
            for start in range(0, len(data), _STEP_BYTES):
                self._step(decoder, data[start : start + _STEP_BYTES], pieces)
        except zlib.error:
            raise ProtocolError("body does not fit its content-encoding") from None
        return b"".join(pieces)

    def _step(self, decoder: zlib._Decompress, data: bytes, pieces: list[bytes]) -> None:
        self._in += len(data)
        if decoder.eof:
            raise ProtocolError("bytes after the end of a compressed body")
        allowed = FREE_BYTES + MAX_RATIO * self._in - self._out
        piece = decoder.decompress(data, allowed + 1)
        if len(piece) > allowed:
            raise ProtocolError("compressed body inflates over the cap")
        if decoder.unused_data:
            raise ProtocolError("bytes after the end of a compressed body")
        self._out += len(piece)
        if piece:
            pieces.append(piece)

    @property
    def whole(self) -> bool:
        """True when the compressed stream has reached its own end (or was empty)."""
        if self._decoder is None:
            return not self._head
        return self._decoder.eof or self._in == 0
