"""The format of journals: of any file, a prefix of what was written is read."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegate.ledger.records import (
    FRAME_BYTES,
    HEADER_BYTES,
    MAX_RECORD_BYTES,
    FileHeader,
    Open,
    Progress,
    Record,
    Settle,
    decode_header,
    encode_header,
    encode_record,
    frame,
    parse_file_name,
    scan,
)

counts = st.integers(0, (1 << 32) - 1)
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
maybe = st.one_of(st.none(), counts)
records = st.one_of(
    st.builds(
        Open,
        attempt_id=texts,
        ordinal=counts,
        at_ms=counts,
        key_id=texts,
        endpoint=texts,
        model=texts,
        provider=texts,
        target_model=texts,
        stream=st.booleans(),
        estimate_tokens=counts,
        estimate_nano_usd=maybe,
        price_version=texts,
    ),
    st.builds(Progress, texts, counts, counts, counts, maybe, maybe, counts),
    st.builds(
        Settle,
        texts,
        counts,
        texts,
        counts,
        counts,
        counts,
        counts,
        counts,
        counts,
        texts,
        maybe,
        maybe,
        counts,
        counts,
    ),
)


def read(data: bytes) -> list[Record]:
    """Return the records that are in *data*."""
    return [record for record, _ in scan(data).records]


def written(these: list[Record]) -> bytes:
    """Return *these* as a file holds them."""
    return b"".join(frame(encode_record(record)) for record in these)


@given(st.lists(records, max_size=6))
def test_what_is_read_is_what_was_written(these: list[Record]) -> None:
    """Each record with the offset behind it, the last one at the end of the data."""
    data = written(these)
    result = scan(data)
    assert [record for record, _ in result.records] == these
    assert (result.offset, result.why, result.unknown) == (len(data), "end", 0)
    for count, (_, end) in enumerate(result.records, start=1):
        assert read(data[:end]) == these[:count]


@given(st.lists(records, min_size=1, max_size=4), st.data())
def test_a_torn_tail_hides_only_the_record_that_it_tore(
    these: list[Record], data: st.DataObject
) -> None:
    """Cut anywhere: the whole records before the cut, and an offset to go on from."""
    whole = written(these)
    cut = data.draw(st.integers(0, len(whole)))
    result = scan(whole[:cut])
    count = len(result.records)
    assert [record for record, _ in result.records] == these[:count]
    assert result.why == ("end" if result.offset == cut else "partial")
    # Going on from there with the rest finds the rest.
    assert [r for r, _ in scan(whole, result.offset).records] == these[count:]


@given(st.lists(records, min_size=1, max_size=4), st.data())
def test_damage_never_makes_a_record_that_was_not_written(
    these: list[Record], data: st.DataObject
) -> None:
    """Any byte changed: the records before it, nothing else."""
    whole = bytearray(written(these))
    where = data.draw(st.integers(0, len(whole) - 1))
    whole[where] ^= data.draw(st.integers(1, 255))
    found = scan(bytes(whole))
    got = [record for record, _ in found.records]
    assert got == these[: len(got)]
    assert found.offset <= where
    assert found.why in ("bad", "partial")


@given(st.lists(records, max_size=3), st.binary(max_size=64))
def test_bytes_behind_a_record_are_never_taken_for_one(these: list[Record], tail: bytes) -> None:
    """Garbage and holes of zeros after a power loss end the file."""
    for rest in (tail, bytes(len(tail))):
        got = read(written(these) + rest)
        assert got[: len(these)] == these
        assert len(got) == len(these)


def test_a_length_over_the_cap_is_no_record() -> None:
    """A reader never waits for gigabytes that a flipped bit promises."""
    assert scan(frame(bytes(MAX_RECORD_BYTES + 1))).why == "bad"
    assert scan((0).to_bytes(FRAME_BYTES, "little")).why == "bad"


def test_fields_and_kinds_of_a_newer_version_are_passed_over() -> None:
    """During an upgrade workers of two versions write beside each other."""
    settle = Settle("r:1", 1, "ok", 200, 1, 0, 0, 1, 0, "provider", 5, None, 9, 3)
    longer = msgspec.msgpack.encode([3, *msgspec.structs.astuple(settle), "new field", 7])
    other = msgspec.msgpack.encode([9, "a kind that does not exist yet"])
    result = scan(frame(other) + frame(longer))
    assert [record for record, _ in result.records] == [settle]
    assert (result.unknown, result.why) == (1, "end")


@given(
    st.builds(
        FileHeader,
        st.integers(0, 65535),
        st.integers(0, (1 << 32) - 1),
        st.integers(0, (1 << 64) - 1),
        st.integers(1, (1 << 32) - 1),
        st.integers(0, 1 << 50),
    )
)
def test_headers_and_names_tell_whose_file_it_is(header: FileHeader) -> None:
    """Both come back; a header with any byte changed is none."""
    data = encode_header(header)
    assert len(data) == HEADER_BYTES
    assert decode_header(data) == header
    for where in range(HEADER_BYTES):
        changed = bytearray(data)
        changed[where] ^= 0x40
        assert decode_header(bytes(changed)) is None
    assert decode_header(data[:-1]) is None
    name = parse_file_name(Path(header.file_name))
    assert name is not None
    assert name.file_name == header.file_name
    assert name.writer == header.writer


@pytest.mark.parametrize(
    "name",
    ["reserve", "instance", "2.1.0000000000000001.1.new", "2.1.1.1.journal", "a.1.0.1.journal", ""],
)
def test_other_files_are_not_taken_for_journals(name: str) -> None:
    """The directory also holds the reserve, the lock, and files about to be named."""
    assert parse_file_name(Path(name)) is None
