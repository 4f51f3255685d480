"""The records of a journal and their framing; the format is described in docs/reference/ledger.md.

    file    header (40 bytes), then records
    record  u32 length, u32 crc32 (of the payload, started at the length), payload
    payload MessagePack array: tag, then the fields in the order below

Fields are only ever appended, with a default, and a reader ignores those it does not know,
so workers of two versions can write beside each other during an upgrade.
"""

from __future__ import annotations

import struct
import zlib
from pathlib import Path
from typing import Any, Final, Literal, get_args

import msgspec

FORMAT_VERSION: Final = 1
MAX_RECORD_BYTES: Final = 4096
"""Longest payload. What is longer on disk is no record."""
_TOO_LONG: Final = MAX_RECORD_BYTES + 1

MAX_COUNT: Final = (1 << 32) - 1
MAX_NANO_USD: Final = (1 << 46) - 1
MAX_BYTES: Final = (1 << 48) - 1
"""Greatest figures of one attempt (4.3e9 tokens, 70,368 USD, 281 TB): an upstream that claims
more is recorded with these, so that no sum of an hour can overflow 63 bits."""

Outcome = Literal[
    "ok",  # a whole answer
    "client_error",  # the upstream refused the request: 4xx
    "rate_limited",  # the upstream's own 429
    "upstream_error",  # 5xx, an error event, or not HTTP as it should be
    "connect_error",  # no connection: name, route, TLS, none free in time
    "timeout",  # a deadline of the attempt passed
    "cut",  # the answer ended before it was whole
    "client_gone",  # the client left before the end
    "cancelled",  # ended by the gateway itself: drain, shutdown
    "interrupted",  # the worker died; settled by the fold
]
OUTCOMES: Final[tuple[str, ...]] = get_args(Outcome)

UsageSource = Literal[
    "provider",  # the numbers that the upstream told
    "estimated",  # counted by us from a whole answer
    "partial",  # counted by us from what had arrived when it ended
    "none",  # nothing is known, or nothing was used
]
USAGE_SOURCES: Final[tuple[str, ...]] = get_args(UsageSource)


class Open(msgspec.Struct, frozen=True, array_like=True, tag=1, gc=False):
    """An attempt is about to be sent; written before its first byte leaves.

    Attributes:
        attempt_id: `<request id>:<ordinal>`; unique for ever.
        ordinal: 1 for a request's first attempt.
        at_ms: Unix time.
        key_id: Id of the API key; `""` when none is needed.
        endpoint: Name of the endpoint, such as `chat_completions`.
        model: Configured model name, the public one.
        provider: Configured provider name.
        target_model: The model's name at that provider.
        stream: Whether an event stream was asked for.
        estimate_tokens: Tokens reserved for it (input and output); 0 when nothing is reserved.
        estimate_nano_usd: Money reserved for it, 1e-9 USD; None when nothing is reserved.
        price_version: Version of the table its price is from; `""` when the model has no price.
    """

    attempt_id: str
    ordinal: int
    at_ms: int
    key_id: str
    endpoint: str
    model: str
    provider: str
    target_model: str
    stream: bool
    estimate_tokens: int = 0
    estimate_nano_usd: int | None = None
    price_version: str = ""


class Progress(msgspec.Struct, frozen=True, array_like=True, tag=2, gc=False):
    """What a long answer has used so far, for the case that its worker dies.

    Fields as in `Settle`; the newest one counts.
    """

    attempt_id: str
    at_ms: int
    input_tokens: int
    output_tokens: int
    cost_nano_usd: int | None
    ttft_ms: int | None
    delivered_bytes: int


class Settle(msgspec.Struct, frozen=True, array_like=True, tag=3, gc=False):
    """The end of an attempt; exactly one follows each `Open` of a worker that lives.

    Attributes:
        attempt_id: As in `Open`.
        at_ms: Unix time.
        outcome: See `Outcome`.
        status: HTTP status of the upstream; 0 when it sent none.
        input_tokens: Prompt tokens, cached and cache-written ones included.
        cached_input_tokens: Part of the input that the provider read from its cache.
        cache_write_tokens: Part of the input that the provider wrote to its cache.
        output_tokens: Completion tokens, reasoning included.
        reasoning_tokens: Part of the output that was not shown.
        usage_source: See `UsageSource`.
        cost_nano_usd: 1e-9 USD; None when the model has no price.
        ttft_ms: From the opening to the first byte of the answer's content; None before one.
        duration_ms: From the opening to the end.
        delivered_bytes: Bytes of the answer handed to the client.
    """

    attempt_id: str
    at_ms: int
    outcome: str
    status: int
    input_tokens: int
    cached_input_tokens: int
    cache_write_tokens: int
    output_tokens: int
    reasoning_tokens: int
    usage_source: str
    cost_nano_usd: int | None
    ttft_ms: int | None
    duration_ms: int
    delivered_bytes: int


Record = Open | Progress | Settle

Values = tuple[Any, ...]
"""A record as its tag, then its fields."""

OPEN_TAG: Final = 1
PROGRESS_TAG: Final = 2
SETTLE_TAG: Final = 3

encode_record = msgspec.msgpack.Encoder().encode
decode_record = msgspec.msgpack.Decoder(Record).decode
UNREADABLE: Final = (msgspec.DecodeError, UnicodeDecodeError)
"""What `decode_record` raises at a payload that is none of the three."""

_FRAME = struct.Struct("<II")
FRAME_BYTES: Final = _FRAME.size
pack_frame = _FRAME.pack
_unpack_frame = _FRAME.unpack_from
crc32 = zlib.crc32


def frame(payload: bytes) -> bytes:
    """Return *payload* as it stands in a file."""
    length = len(payload)
    # Started at the length, the checksum covers it too.
    return pack_frame(length, crc32(payload, length)) + payload


ScanEnd = Literal["end", "partial", "bad"]


class Scan:
    """What `scan` found.

    Attributes:
        records: Whole records with the offset behind each, in order.
        offset: Where the scan stopped.
        why: `end`: after a whole record; `partial`: inside one; `bad`: at bytes that are none.
        unknown: Sound records of a kind that this version does not know; skipped.
    """

    __slots__ = ("offset", "records", "unknown", "why")

    def __init__(
        self, records: list[tuple[Record, int]], offset: int, why: ScanEnd, unknown: int
    ) -> None:
        self.records = records
        self.offset = offset
        self.why: ScanEnd = why
        self.unknown = unknown


def cut(data: bytes, offset: int, max_records: int) -> tuple[list[bytes], int, ScanEnd]:
    """Cut *data* into sound payloads; return them, where the scan stopped, and why."""
    payloads: list[bytes] = []
    take = payloads.append
    size = len(data)
    try:
        for _ in range(max_records):
            length, checksum = _unpack_frame(data, offset)
            start = offset + FRAME_BYTES
            end = start + length
            payload = data[start:end]
            if crc32(payload, length) != checksum or end > size or not 0 < length < _TOO_LONG:
                torn = end > size and 0 < length < _TOO_LONG
                return payloads, offset, "partial" if torn else "bad"
            take(payload)
            offset = end
    except struct.error:  # less than a frame is left
        return payloads, offset, "end" if offset == size else "partial"
    return payloads, offset, "end"


def scan(data: bytes, offset: int = 0, max_records: int = 1 << 62) -> Scan:
    """Cut *data* into records, from *offset* on. Never raises, never returns half a record."""
    payloads, stop, why = cut(data, offset, max_records)
    records: list[tuple[Record, int]] = []
    unknown = 0
    for payload in payloads:
        offset += FRAME_BYTES + len(payload)
        try:
            records.append((decode_record(payload), offset))
        except UNREADABLE:
            unknown += 1
    return Scan(records, stop, why, unknown)


_HEADER = struct.Struct("<8sHHIQIQ")
_HEADER_CRC = struct.Struct("<I")
_MAGIC: Final = b"TGLEDGER"
HEADER_BYTES: Final = _HEADER.size + _HEADER_CRC.size
SUFFIX: Final = ".journal"


class FileHeader(msgspec.Struct, frozen=True):
    """Whose file it is.

    Attributes:
        slot: The worker's slot.
        incarnation: Which process of that slot.
        token: 64 random bits of the writer: no two ever have the same, not even over restarts.
        number: Counts the writer's files from 1.
        created_at_ms: Unix time.
    """

    slot: int
    incarnation: int
    token: int
    number: int
    created_at_ms: int

    @property
    def writer(self) -> str:
        """`slot.incarnation.token`: one process's name in rows and files."""
        return f"{self.slot}.{self.incarnation}.{self.token:016x}"

    @property
    def file_name(self) -> str:
        """`slot.incarnation.token.number.journal`."""
        return f"{self.writer}.{self.number}{SUFFIX}"


def encode_header(header: FileHeader) -> bytes:
    """Return the first `HEADER_BYTES` of a file."""
    data = _HEADER.pack(
        _MAGIC,
        FORMAT_VERSION,
        header.slot,
        header.incarnation,
        header.token,
        header.number,
        header.created_at_ms,
    )
    return data + _HEADER_CRC.pack(crc32(data))


def decode_header(data: bytes) -> FileHeader | None:
    """Return the header that *data* begins with; None when there is none of this version."""
    if len(data) < HEADER_BYTES:
        return None
    (checksum,) = _HEADER_CRC.unpack_from(data, _HEADER.size)
    if crc32(data[: _HEADER.size]) != checksum:
        return None
    magic, version, slot, incarnation, token, number, created_at_ms = _HEADER.unpack_from(data)
    if magic != _MAGIC or version != FORMAT_VERSION:
        return None
    return FileHeader(slot, incarnation, token, number, created_at_ms)


def parse_file_name(path: Path) -> FileHeader | None:
    """Return what a journal's name says of its writer; None when it is no journal's name."""
    parts = path.name.removesuffix(SUFFIX).split(".")
    if path.suffix != SUFFIX or len(parts) != 4:
        return None
    try:
        header = FileHeader(int(parts[0]), int(parts[1]), int(parts[2], 16), int(parts[3]), 0)
    except ValueError:
        return None
    return header if header.file_name == path.name else None
