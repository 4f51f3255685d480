"""Reads records by the thousand, for the fold.

Figures (2 shared cores): 0.5 µs for the opening and the end of an attempt; a decoding for
each record would take 2.4.
"""

from __future__ import annotations

import struct
from typing import Any, Final, NamedTuple

import msgspec

from tidegate.ledger.records import (
    OPEN_TAG,
    SETTLE_TAG,
    UNREADABLE,
    Open,
    Progress,
    Settle,
    Values,
    decode_record,
)

Head = list[Any]
"""What of an `Open` is its own: attempt_id, ordinal, at_ms."""


class Alike(NamedTuple):
    """The other fields of an `Open`; thousands have them alike."""

    key_id: str
    endpoint: str
    model: str
    provider: str
    target_model: str
    stream: bool
    estimate_tokens: int
    estimate_nano_usd: int | None
    price_version: str


_HEAD_FIELDS: Final = len(Open.__struct_fields__) - len(Alike._fields)
_FIXED_ARRAY: Final = 0x90
_OPEN_ARRAY: Final = _FIXED_ARRAY + 1 + len(Open.__struct_fields__)
_SETTLE_ARRAY: Final = _FIXED_ARRAY + 1 + len(Settle.__struct_fields__)
_ALIKE_ARRAY: Final = bytes((_FIXED_ARRAY + len(Alike._fields),))

_ID_BYTES: Final = 32
"""Length of nearly every attempt id: a request id (`tidegate.ids`) and `:1`."""
_ID_START: Final = 0xD900 + _ID_BYTES
_SMALL_INTEGERS: Final = 0x80
_UINT64: Final = 0xCF
_HEAD: Final = struct.Struct(f">xBH{_ID_BYTES}sBBQ")
"""An array of up to 15 values, its tag, a text of `_ID_BYTES`, a small integer, a large one."""

_unpack_head = _HEAD.unpack_from
_decode_alike = msgspec.msgpack.Decoder(Alike).decode
_decode_settles = msgspec.msgpack.Decoder(
    list[tuple[int, *(field.type for field in msgspec.structs.fields(Settle))]]  # type: ignore[misc]
).decode
_ODD: Final = (*UNREADABLE, struct.error, LookupError)


class Records:
    """Records of one writer, openings by what they have alike. Ends keep their order.

    A writer opens an attempt before it ends it, so openings may be taken before all ends.

    Attributes:
        opens: The heads of openings, in their order.
        ends: `Settle` and `Progress`, each as its tag and its fields.
        unknown: Records of a kind that this version does not know; left out.
    """

    __slots__ = ("_heads", "ends", "opens", "unknown")

    def __init__(self) -> None:
        self.opens: dict[Alike, list[Head]] = {}
        self.ends: list[Values] = []
        self.unknown = 0
        self._heads: dict[bytes, list[Head]] = {}  # by the bytes of what is alike

    def add(self, payloads: list[bytes]) -> None:
        """Take the records of sound *payloads*."""
        heads_of = self._heads.get
        settles: list[bytes] = []
        for payload in payloads:
            try:
                if payload[0] == _OPEN_ARRAY:
                    tag, id_start, name, ordinal, at_start, at_ms = _unpack_head(payload)
                    if (
                        id_start == _ID_START
                        and at_start == _UINT64
                        and ordinal < _SMALL_INTEGERS
                        and tag == OPEN_TAG
                    ):
                        rest = payload[_HEAD.size :]
                        heads = heads_of(rest)
                        if heads is None:
                            heads = self._heads_like(rest)
                        heads.append([name.decode(), ordinal, at_ms])
                        continue
                elif payload[0] == _SETTLE_ARRAY and payload[1] == SETTLE_TAG:
                    settles.append(payload)
                    continue
            except _ODD:
                pass
            self._add_odd(payload, settles)
        self._add_settles(settles)

    def _heads_like(self, rest: bytes) -> list[Head]:
        alike = _decode_alike(_ALIKE_ARRAY + rest)
        heads = self._heads[rest] = self.opens.setdefault(alike, [])
        return heads

    def _add_odd(self, payload: bytes, settles: list[bytes]) -> None:
        """Take what is not as nearly all are: progress, another version's, an unusual id."""
        try:
            record = decode_record(payload)
        except UNREADABLE:
            self.unknown += 1
            return
        if isinstance(record, Open):
            fields = msgspec.structs.astuple(record)
            heads = self.opens.setdefault(Alike(*fields[_HEAD_FIELDS:]), [])
            heads.append(list(fields[:_HEAD_FIELDS]))
        else:
            self._add_settles(settles)  # those before it
            settles.clear()
            self.ends.append(values_of(record))

    def _add_settles(self, payloads: list[bytes]) -> None:
        count = len(payloads).to_bytes(4, "big")
        try:
            self.ends += _decode_settles(b"\xdd%b%b" % (count, b"".join(payloads)))
        except UNREADABLE:  # one of them is no record after all: which?
            for payload in payloads:
                try:
                    self.ends.append(values_of(decode_record(payload)))
                except UNREADABLE:
                    self.unknown += 1


def values_of(record: Open | Progress | Settle) -> Values:
    """Return *record* as its tag and its fields."""
    return (type(record).__struct_config__.tag, *msgspec.structs.astuple(record))
