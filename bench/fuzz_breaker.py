"""How `bench.fuzz_dialects` breaks what it starts from, always in the same way for one seed.

JSON is mostly broken as JSON is: a value of another kind, a field that is missing or there twice;
sometimes a byte is.
"""

from __future__ import annotations

import json
import random
from typing import Any

from tests.fakes.strict.bedrock_converse import frame

from bench.fuzz_corpus import Event

_DEEP: Any = 0
for _ in range(150):
    _DEEP = [_DEEP]
_VALUES: list[Any] = [
    None, True, False, 0, -1, 1, 2**31, 2**53, 2**63, 2**64, 10**30, -(2**63) - 1, 0.0, -0.0, 0.5,
    1.5, 1e300, -1e300, 1e-300, float("inf"), float("nan"), "", " ", "x", "1", "\u2028", "\x00",
    "\ud800", "\udc80y", "a" * 3000, "[DONE]", "null", '{"a":', "{}", "text", "user", "tool",
    "assistant", "function", "error", "stop", "length", "tool_calls", "tool_use", "end_turn",
    "data:image/png;base64,AAAA", "data:;base64,", "https://x.test/a?b=c", "c2ln", "/", [], [None],
    [[]], [{}], ["x"], {}, {"a": 1}, {"type": "text", "text": "t"}, {"type": "text"}, {"text": "t"},
    {"error": {"message": "m"}}, {"message": "m", "code": 429}, _DEEP, [0] * 50,
]  # fmt: skip
_TOKENS = (
    b"\n", b"\r", b"\r\n", b"\n\n", b"\r\r", b"data:", b"data: ", b"event: error\n", b":", b" ",
    b"\xef\xbb\xbf", b"\xff", b"\xc3", b"\xed\xa0\x80", b"\x00", b"\xe2\x80\xa8", b'"', b"\\", b"{",
    b"}", b"[", b"]", b",", b"null", b"-", b"1e999", b"\\ud800", b"\\u0000", b"[DONE]",
    b"data: [DONE]\n\n", b": ping\n\n", b"id: 1\n", b"retry: 1\n", b"{}" * 20, b"[" * 3000,
)  # fmt: skip


class Breaker:
    """Breaks things, always in the same way for one seed."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)

    def json_text(self, text: bytes) -> bytes:
        """Return *text* with one to four values changed, written in one of several ways."""
        chance = self.chance
        try:
            value = json.loads(text)
        except (ValueError, RecursionError):
            return self.raw(text)
        for _ in range(chance.choice((1, 1, 1, 2, 3, 4))):
            value = self._changed(value)
        ascii_only = chance.random() < 0.5
        indent = 1 if chance.random() < 0.1 else None
        out = json.dumps(value, ensure_ascii=ascii_only, indent=indent)
        found = out.encode("utf-8", "surrogatepass")
        return self.raw(found) if chance.random() < 0.05 else found

    def _changed(self, value: Any) -> Any:
        """Change one place of *value*, mostly one further down."""
        chance = self.chance
        if isinstance(value, dict) and value and chance.random() < 0.9:
            name = chance.choice(list(value))
            kind = chance.randrange(12)
            if kind == 0:
                return {key: item for key, item in value.items() if key != name}
            if kind == 1:
                return {**value, chance.choice(("extra", "type", "error", "", name + "x")): 1}
            if kind == 2:
                other = chance.choice(list(value))
                return {**value, name: value[other], other: value[name]}
            return {**value, name: self._changed(value[name])}
        if isinstance(value, list) and value and chance.random() < 0.9:
            at = chance.randrange(len(value))
            kind = chance.randrange(8)
            if kind == 0:
                return value[:at] + value[at + 1 :]
            if kind == 1:
                return value[:at] + [value[at]] * chance.choice((2, 2, 3, 40)) + value[at + 1 :]
            if kind == 2:
                return [*value[at:], *value[:at]]
            return [*value[:at], self._changed(value[at]), *value[at + 1 :]]
        if isinstance(value, str) and chance.random() < 0.3:
            return value[: len(value) // 2] + chance.choice(("\u2028", "\ud800", "\n", "", '"'))
        return chance.choice(_VALUES)

    def raw(self, data: bytes) -> bytes:
        """Return *data* with one to three bytes, or a few, changed."""
        chance = self.chance
        broken = bytearray(data)
        for _ in range(chance.choice((1, 1, 2, 3))):
            at = chance.randrange(len(broken) + 1)
            kind = chance.randrange(6)
            if kind == 0 and at < len(broken):
                broken[at] ^= 1 << chance.randrange(8)
            elif kind == 1:
                broken[at:at] = chance.choice(_TOKENS)
            elif kind == 2:
                del broken[at : at + chance.randint(1, 12)]
            elif kind == 3:
                broken[at:at] = broken[at : at + chance.randint(1, 60)] * chance.randint(1, 3)
            elif kind == 4:
                token = chance.choice(_TOKENS)
                broken[at : at + len(token)] = token
            elif chance.random() < 0.3:
                del broken[at:]
        return bytes(broken)

    def events(self, events: list[Event], extra: list[Event]) -> list[Event]:
        """Return a stream with some events lost, twice, in another order, or broken within."""
        chance = self.chance
        out = list(events)
        for _ in range(chance.choice((0, 1, 1, 2, 3))):
            if not out:
                break
            at = chance.randrange(len(out))
            kind = chance.randrange(10)
            if kind == 0:
                del out[at]
            elif kind == 1:
                out[at:at] = [out[at]] * chance.choice((1, 1, 2, 30))
            elif kind == 2:
                other = chance.randrange(len(out))
                out[at], out[other] = out[other], out[at]
            elif kind == 3:
                del out[at:]
            elif kind == 4:
                out.insert(at, chance.choice(extra))
            elif kind == 5:
                out += events
            else:
                out[at] = (out[at][0], self.json_text(out[at][1]))
        return out

    def write(self, back: str, events: list[Event]) -> bytes:
        """Return the bytes of a stream, framed in one of the ways that are allowed."""
        chance = self.chance
        if back == "bedrock":
            return b"".join([frame(head, payload) for head, payload in events])
        end = chance.choice((b"\n", b"\n", b"\n", b"\r\n", b"\r"))
        out = b"\xef\xbb\xbf" if chance.random() < 0.05 else b""
        for name, payload in events:
            if chance.random() < 0.03:
                out += chance.choice((b": ping", b"retry: 5", b"id: 1", b"data")) + end + end
            if name:
                out += b"event: " + str(name).encode() + end
            blank = b"" if chance.random() < 0.02 else b" "
            lines = payload.replace(b"\r", b"\n").split(b"\n")
            out += end.join([b"data:" + blank + line for line in lines]) + end + end
        return out

    def pieces(self, data: bytes) -> list[bytes]:
        """Cut *data* in two to eight, or into single bytes."""
        chance = self.chance
        if chance.random() < 0.1 and len(data) < 4000:
            return [data[at : at + 1] for at in range(len(data))]
        cuts = sorted({chance.randrange(len(data) + 1) for _ in range(chance.randint(1, 7))})
        ends = [*cuts, len(data)]
        return [data[a:b] for a, b in zip([0, *cuts], ends, strict=True)]
