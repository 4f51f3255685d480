"""Whose the items are of responses that providers keep."""

from __future__ import annotations

import asyncio
import math
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tidegate.config.snapshot import ResponsesSnapshot
from tidegate.responses.item_owners import MAX_ITEMS, ItemOwners
from tidegate.responses.store import ResponseStore


@pytest.fixture
def items(tmp_path: Path) -> ItemOwners:
    return ItemOwners(tmp_path)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[ResponseStore]:
    made = ResponseStore(tmp_path, ResponsesSnapshot(True, 86_400, 1 << 20))
    yield made
    made.close()


def test_the_first_who_was_given_an_item_owns_it(items: ItemOwners) -> None:
    """Nobody gets another's by sending an item of that id and having it listed."""
    assert items.standing("ann", "msg_1") == "unknown"
    assert items.note("ann", ["msg_1", "rs_1"]) == 2
    assert items.note("ben", ["msg_1", "msg_2"]) == 1
    assert [items.standing("ann", name) for name in ("msg_1", "rs_1", "msg_2")] == [
        "own", "own", "other",
    ]  # fmt: skip
    assert items.standing("ben", "msg_1") == "other"


def test_what_a_killed_writer_left_is_nobodys(items: ItemOwners) -> None:
    """It had made the file, and not yet written who owns it."""
    items.note("ann", ["msg_1"])
    items._place("msg_1").write_bytes(b"")
    assert items.standing("ann", "msg_1") == "unknown"


def test_an_answer_of_very_many_items_is_remembered_in_part(items: ItemOwners) -> None:
    """Nobody fills the disk with one answer."""
    assert items.note("ann", (f"msg_{number}" for number in range(MAX_ITEMS + 5))) == MAX_ITEMS


def test_items_go_by_age_like_responses(store: ResponseStore) -> None:
    """What is used stays, and is its owner's still."""
    store._sweep_at = math.inf  # none of its own
    store.note_items("ann", ["used", "unused"])
    now = time.time()
    for name in ("used", "unused"):
        os.utime(store._items._place(name), (now - 90_000, now - 90_000))
    assert asyncio.run(store.item_standings("ann", {"used"})) == {"used": "own"}
    store.sweep(now)
    found = asyncio.run(store.item_standings("ben", {"used", "unused"}))
    assert found == {"used": "other", "unused": "unknown"}


def test_a_disk_that_takes_nothing_is_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The answer goes out all the same."""
    (tmp_path / "responses").write_text("in the way")
    store = ResponseStore(tmp_path, ResponsesSnapshot(True, 86_400, 1 << 20))
    store.note_items("ann", ["msg_1"])
    assert [record.message for record in caplog.records] == ["a response could not be kept"]
    store.close()
