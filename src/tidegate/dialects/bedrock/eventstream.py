"""Amazon's binary event stream: frames out of bytes that are cut anywhere.

    frame    u32 total length, u32 length of headers, u32 crc of these eight bytes,
             headers, payload, u32 crc of all before it (big endian)
    header   u8 length, name, u8 type (7: text), u16 length, value

Source: the encoding's description in the AWS SDKs' documentation.
"""

from __future__ import annotations

import struct
import zlib
from typing import Final, NamedTuple

_PRELUDE: Final = struct.Struct(">III")
_CRC: Final = struct.Struct(">I")
_LEAST_FRAME: Final = _PRELUDE.size + _CRC.size
_TEXT_TYPE: Final = 7
#: Sizes of header values whose type says their length: booleans, numbers, time, UUID.
_FIXED_SIZES: Final = {0: 0, 1: 0, 2: 1, 3: 2, 4: 4, 5: 8, 8: 8, 9: 16}
_BYTES_TYPE: Final = 6


class BadFrame(Exception):
    """Bytes that are no frame, or one over the cap; nothing after them can be read."""


class Frame(NamedTuple):
    """One message: its text headers by name, and its payload."""

    headers: dict[str, str]
    payload: bytes


class FrameReader:
    """Gives the frames of one stream."""

    __slots__ = ("_held", "_max_frame_bytes")

    def __init__(self, max_frame_bytes: int) -> None:
        self._held = bytearray()
        self._max_frame_bytes = max_frame_bytes

    @property
    def is_inside(self) -> bool:
        """Whether a frame has begun that is not whole yet."""
        return bool(self._held)

    def feed(self, data: bytes) -> list[Frame]:
        """Take what was read; return the frames that it completes. Raises `BadFrame`."""
        held = self._held
        held += data
        frames: list[Frame] = []
        start = 0
        while len(held) - start >= _LEAST_FRAME:
            total, headers_length, checksum = _PRELUDE.unpack_from(held, start)
            if zlib.crc32(held[start : start + 8]) != checksum:
                raise BadFrame("the prelude's checksum is wrong")
            if total > self._max_frame_bytes or total < _LEAST_FRAME + headers_length:
                raise BadFrame("the frame's length makes no sense")
            if len(held) - start < total:
                break
            frame = bytes(held[start : start + total])
            if zlib.crc32(frame[:-4]) != _CRC.unpack_from(frame, total - 4)[0]:
                raise BadFrame("the frame's checksum is wrong")
            first = _PRELUDE.size
            headers = _headers(frame[first : first + headers_length])
            frames.append(Frame(headers, frame[first + headers_length : -4]))
            start += total
        del held[:start]
        return frames


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
                    raise BadFrame("a header is cut")
                if kind == _TEXT_TYPE:
                    found[name] = data[at : at + length].decode("utf-8")
                at += length
            else:
                at += _FIXED_SIZES[kind]
    except (IndexError, KeyError, UnicodeDecodeError) as error:
        raise BadFrame("a header cannot be read") from error
    return found
