"""Amazon's binary event stream: frames out of bytes that are cut anywhere.

    frame    u32 total length, u32 length of headers, u32 crc of these eight bytes,
             headers, payload, u32 crc of all before it (big endian)
    header   u8 length, name, u8 type (7: text), u16 length, value

Source: the encoding's description in the AWS SDKs' documentation.
"""

from __future__ import annotations

import struct
import zlib
from typing import Final, TypeAlias

_PRELUDE: Final = struct.Struct(">III")
_CRC: Final = struct.Struct(">I")
_LEAST_FRAME: Final = _PRELUDE.size + _CRC.size
_TEXT_TYPE: Final = 7
#: Sizes of header values whose type says their length: booleans, numbers, time, UUID.
_FIXED_SIZES: Final = {0: 0, 1: 0, 2: 1, 3: 2, 4: 4, 5: 8, 8: 8, 9: 16}
_BYTES_TYPE: Final = 6


class _BadFrame(Exception):
    """Bytes that are no frame, or one over the cap."""


#: Headers that hold text, by name, and the payload.
Frame: TypeAlias = tuple[dict[str, str], bytes]


class FrameReader:
    """Gives the frames of one stream; see `event_decoder.Framing`.

    Attributes:
        broken: Why nothing that follows can be read.
    """

    __slots__ = ("_held", "_max_frame_bytes", "broken")

    def __init__(self, max_frame_bytes: int) -> None:
        self._held = bytearray()
        self._max_frame_bytes = max_frame_bytes
        self.broken = ""

    def feed(self, data: bytes) -> list[Frame]:
        """Take what was read; return the frames that it completes."""
        held = self._held
        held += data
        frames: list[Frame] = []
        start = 0
        try:
            while (total := self._length_at(start)) > 0:
                frames.append(_read(bytes(memoryview(held)[start : start + total])))
                start += total
        except _BadFrame as error:
            self.broken = f"The provider's stream cannot be read: {error}."
            held.clear()
            return frames
        del held[:start]
        return frames

    def end(self) -> list[Frame]:
        """Take the end of the body: a frame that is not whole by now never was one."""
        return []

    def _length_at(self, start: int) -> int:
        """Return how long the frame at *start* is; 0 if it is not whole yet."""
        held = self._held
        left = len(held) - start
        if left < _PRELUDE.size:
            return 0
        total, headers_length, checksum = _PRELUDE.unpack_from(held, start)
        if zlib.crc32(held[start : start + 8]) != checksum:
            raise _BadFrame("the prelude's checksum is wrong")
        if total > self._max_frame_bytes or total < _LEAST_FRAME + headers_length:
            raise _BadFrame("the frame's length makes no sense")
        return int(total) if left >= total else 0


def _read(frame: bytes) -> Frame:
    if zlib.crc32(memoryview(frame)[:-4]) != _CRC.unpack_from(frame, len(frame) - 4)[0]:
        raise _BadFrame("the frame's checksum is wrong")
    headers_length = _PRELUDE.unpack_from(frame)[1]
    first = _PRELUDE.size
    headers = _headers(frame[first : first + headers_length])
    return headers, frame[first + headers_length : -4]


def _headers(data: bytes) -> dict[str, str]:
    found: dict[str, str] = {}
    at = 0
    try:
        while at < len(data):
            end = at + 1 + data[at]
            name = data[at + 1 : end].decode("ascii")
            kind = data[end]
            at = end + 1
            if kind in (_TEXT_TYPE, _BYTES_TYPE):
                length = int.from_bytes(data[at : at + 2], "big")
                at += 2
                if at + length > len(data):
                    raise _BadFrame("a header is cut")
                if kind == _TEXT_TYPE:
                    found[name] = data[at : at + length].decode("utf-8")
                at += length
            else:
                at += _FIXED_SIZES[kind]
    except (IndexError, KeyError, UnicodeDecodeError) as error:
        raise _BadFrame("a header cannot be read") from error
    return found
