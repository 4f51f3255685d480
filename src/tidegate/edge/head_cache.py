"""Heads that were parsed before: the strict parse is done once for each distinct head.

A client sends the same head with every request, except for the length of its body. The key is
the whole head with only those digits cut out, byte for byte, so an equal key cannot mean
anything else than what the full parse made of it; the digits are checked each time.

Measured: 0.6 µs for a known head, 4.5 µs for a new one.
"""

from __future__ import annotations

from tidegate.config.snapshot import EdgeSnapshot
from tidegate.edge.exchange import HeadMemo
from tidegate.edge.head import CHUNKED, RequestHead, parse_head

MAX_HEADS = 1024
"""Heads remembered at once; the oldest is forgotten."""

MAX_HEAD_BYTES = 4096
"""A longer head is parsed each time, so what the cache can hold is bounded to 4 MiB."""

_LENGTH_END = b"ength: "
_LENGTH_LINE = b"\r\ncontent-length: "


class KnownHead:
    """A head's parts, all but the length of its body.

    Attributes:
        front: Its bytes up to the digits of the length.
        back: Its bytes behind them, the empty line included.
        mark: Length of `front`.
        back_bytes: Length of `back`.
        memo: What equal heads share.
    """

    __slots__ = (
        "back",
        "back_bytes",
        "front",
        "has_length",
        "headers",
        "http_1_0",
        "keep_alive",
        "mark",
        "memo",
        "method",
        "path",
        "query",
    )

    def __init__(self, head: RequestHead, memo: HeadMemo, front: bytes, back: bytes) -> None:
        self.method = head.method
        self.path = head.path
        self.query = head.query
        self.headers = head.headers
        self.http_1_0 = head.http_1_0
        self.keep_alive = head.keep_alive
        self.memo = memo
        self.front = front
        self.back = back
        self.mark = len(front)
        self.back_bytes = len(back)
        self.has_length = back != b""


class HeadCache:
    """The heads that one server has parsed under its present caps."""

    __slots__ = ("_caps", "_known", "_max_body_bytes")

    def __init__(self, caps: EdgeSnapshot) -> None:
        self._caps = caps
        self._max_body_bytes = caps.max_body_bytes
        self._known: dict[bytes, KnownHead] = {}

    def read(self, data: bytes, start: int, end: int, into: RequestHead) -> KnownHead | HeadMemo:
        """Fill *into* from the head `data[start:end]`; return what equal heads share.

        That is the whole head where it is known, and else only its memo.

        Raises `Refusal` as `parse_head` does.
        """
        raw = data[start:end]
        mark = raw.find(_LENGTH_END) + 7
        if mark >= 7:
            stop = raw.find(b"\r\n", mark)
            digits = raw[mark:] if stop < 0 else raw[mark:stop]
            key = raw[:mark] if stop < 0 else raw[:mark] + raw[stop:]
        else:
            digits = b""
            key = raw
        known = self._known.get(key)
        if known is not None:
            length = 0
            if known.has_length:
                if not digits.isdigit() or len(digits) > 18:
                    return self._parse(data, start, end, into, key, digits)
                length = int(digits)
                if length > self._max_body_bytes:
                    return self._parse(data, start, end, into, key, digits)
            elif digits:
                # Another header's value (X-Strength) was cut out, unseen by the key.
                return self._parse(data, start, end, into, key, digits)
            into.method = known.method
            into.path = known.path
            into.query = known.query
            into.headers = known.headers
            into.http_1_0 = known.http_1_0
            into.keep_alive = known.keep_alive
            into.expects_continue = False
            into.content_length = length
            return known
        return self._parse(data, start, end, into, key, digits)

    def _parse(
        self, data: bytes, start: int, end: int, into: RequestHead, key: bytes, digits: bytes
    ) -> HeadMemo:
        """Parse in full, and remember the head if it may be recognised safely."""
        parse_head(data, start, end, self._caps, into)
        memo = HeadMemo()
        # Heads that differ in it alone share their headers, so it is not among them.
        announced = into.headers.pop(b"content-length", None)
        has_length = announced is not None
        cut_is_length = announced == digits and key[: key.find(_LENGTH_END) + 7].lower().endswith(
            _LENGTH_LINE
        )
        if (
            len(key) <= MAX_HEAD_BYTES
            and into.content_length != CHUNKED
            and b"expect" not in into.headers
            and (cut_is_length or (not has_length and not digits))
        ):
            if len(self._known) >= MAX_HEADS:
                del self._known[next(iter(self._known))]
            mark = key.find(_LENGTH_END) + 7 if has_length else len(key)
            back = key[mark:] + b"\r\n\r\n" if has_length else b""
            self._known[key] = KnownHead(into, memo, key[:mark], back)
        return memo
