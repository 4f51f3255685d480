"""Reading by the thousand: the fold takes from payloads what decoding each would give."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tests.ledger.ledger_scene import NOW_MS
from tests.ledger.test_ledger_records import records

from tidegate.ids import attempt_id, request_id
from tidegate.ledger.reading import Records, values_of
from tidegate.ledger.records import OPEN_TAG, Open, Progress, Record, Settle, encode_record

usual_opens = st.builds(
    Open,
    attempt_id=st.builds(attempt_id, st.builds(request_id), st.integers(1, 300)),
    ordinal=st.integers(0, 300),
    at_ms=st.integers(NOW_MS - 5, NOW_MS + 5),
    key_id=st.sampled_from(["", "key_a"]),
    endpoint=st.just("chat_completions"),
    model=st.sampled_from(["fast", "große"]),
    provider=st.just("acme"),
    target_model=st.just("acme-large"),
    stream=st.booleans(),
)
USUAL = Open(attempt_id(request_id(), 1), 1, NOW_MS, "k", "e", "m", "p", "t", False)
END = Settle(USUAL.attempt_id, NOW_MS, "ok", 200, 1, 0, 0, 1, 0, "provider", 5, None, 9, 3)


def in_parts(payloads: list[bytes], size: int) -> Records:
    """Return what is read of *payloads*, given some at a time as chunks of a file are."""
    found = Records()
    for start in range(0, len(payloads), size):
        found.add(payloads[start : start + size])
    return found


def opens_of(found: Records) -> list[tuple[Any, ...]]:
    """Return openings as tag and fields, sorted."""
    opens = [(OPEN_TAG, *head, *alike) for alike, heads in found.opens.items() for head in heads]
    return sorted(opens, key=repr)


@given(st.lists(st.one_of(usual_opens, records), max_size=12), st.integers(1, 12))
@example([USUAL, END], 2)
def test_what_is_read_is_what_was_written(these: list[Record], size: int) -> None:
    """Usual records and any others: every opening once, the ends in their order."""
    found = in_parts([encode_record(record) for record in these], size)
    values = [values_of(record) for record in these]
    assert opens_of(found) == sorted((v for v in values if v[0] == OPEN_TAG), key=repr)
    assert found.ends == [v for v in values if v[0] != OPEN_TAG]
    assert found.unknown == 0


@given(st.lists(usual_opens, max_size=30))
def test_openings_that_are_alike_are_kept_together(these: list[Open]) -> None:
    """One group for each set of fields that is alike, each in the order of the file."""
    found = in_parts([encode_record(record) for record in these], 7)
    groups: dict[tuple[Any, ...], list[list[Any]]] = {}
    for record in these:
        fields = msgspec.structs.astuple(record)
        groups.setdefault(fields[3:], []).append(list(fields[:3]))
    assert found.opens == groups


def other(values: list[Any]) -> bytes:
    """Return a payload that no present version writes."""
    return msgspec.msgpack.encode(values)


@pytest.mark.parametrize(
    ("payload", "unknown"),
    [
        (other([*values_of(USUAL), "a new field"]), 0),
        (other([*values_of(USUAL)[:10]]), 0),
        (other([*values_of(END), "a new field", 7]), 0),
        (other([9, *values_of(USUAL)[1:]]), 1),
        (other([9, *values_of(END)[1:]]), 1),
        (other([*values_of(USUAL)[:-1], 7]), 1),
        (other([*values_of(END)[:-1], "seven"]), 1),
        (other([OPEN_TAG]), 1),
        (other([]), 1),
        (b"\x9d", 1),
        (b"\x9f", 1),
        (b"\x9d\x01\xd9\x20" + b"\xff" * 80, 1),
        (b"\x9f\x03" + b"\xc1" * 20, 1),
        (b"\xc1", 1),
    ],
)
def test_records_of_another_version_spoil_no_other(payload: bytes, unknown: int) -> None:
    """With more fields, with fewer, of a new kind, or no record at all: counted and left out."""
    usual = [encode_record(USUAL), encode_record(END)]
    found = in_parts([usual[0], payload, usual[1]], 3)
    assert found.unknown == unknown
    assert found.ends[-1] == values_of(END)
    assert values_of(USUAL) in opens_of(found)
    count = sum(map(len, found.opens.values())) + len(found.ends)
    assert count == 3 - unknown
    assert all(type(values[0]) is int and len(values) in (8, 15) for values in found.ends)


def test_progress_keeps_its_place_before_the_end() -> None:
    """The newest progress counts, and none behind the end."""
    progress = Progress(USUAL.attempt_id, NOW_MS, 1, 2, None, None, 3)
    found = in_parts([encode_record(record) for record in (USUAL, progress, END, progress)], 4)
    assert [values[0] for values in found.ends] == [2, 3, 2]
