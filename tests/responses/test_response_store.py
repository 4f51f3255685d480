"""What the store of responses keeps, for whom, and for how long."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tidegate.config.snapshot import ResponsesSnapshot
from tidegate.responses.record import Record
from tidegate.responses.record_files import Missing
from tidegate.responses.store import MAX_CHAIN, ResponseStore

DAY_S = 86_400.0


@pytest.fixture
def store(tmp_path: Path) -> Iterator[ResponseStore]:
    made = ResponseStore(tmp_path, ResponsesSnapshot(True, DAY_S, 1 << 30))
    yield made
    made.close()


def _get(store: ResponseStore, key: str, name: str) -> Record:
    return asyncio.run(store.get(key, name))


def _chain(store: ResponseStore, name: str) -> list[bytes]:
    return [record.response for record in asyncio.run(store.chain("k", name))]


def _files(store: ResponseStore) -> list[Path]:
    folder = store._folder
    return sorted(path for path in folder.rglob("*") if path.is_file() and path.suffix != ".lock")


def _bytes_in(store: ResponseStore) -> int:
    """Sum up files that a sweep may be deleting."""
    total = 0
    for path in _files(store):
        with contextlib.suppress(FileNotFoundError):
            total += path.stat().st_size
    return total


def test_a_response_is_found_by_its_key_alone(store: ResponseStore) -> None:
    """Keys and ids cannot be shifted into each other; files are their owner's alone."""
    store.put("key", "1resp", Record(response=b"{}"), None)
    assert _get(store, "key", "1resp").response == b"{}"
    for key, name in (("key1", "resp"), ("other", "1resp"), ("", "key1resp"), ("key", "../1resp")):
        with pytest.raises(Missing):
            _get(store, key, name)
    (path,) = _files(store)
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700


def test_a_chain_is_read_oldest_first(store: ResponseStore) -> None:
    """It ends at a response that a provider keeps; a gap or a circle makes it unreadable."""
    store.put("k", "a", Record(response=b"1"), None)
    store.put("k", "b", Record(response=b"2", previous="a"), None)
    store.put("k", "c", Record(response=b"3", previous="b"), None)
    assert _chain(store, "c") == [b"1", b"2", b"3"]
    store.put("k", "pin", Record(provider="p", previous="gone"), None)
    assert [record.provider for record in asyncio.run(store.chain("k", "pin"))] == ["p"]
    asyncio.run(store.delete("k", "b"))
    with pytest.raises(Missing):
        _chain(store, "c")
    store.put("k", "b", Record(response=b"2", previous="c"), None)
    with pytest.raises(Missing):
        _chain(store, "c")


def test_a_chain_has_an_end(store: ResponseStore) -> None:
    """Nobody makes a worker read without bound."""
    for number in range(MAX_CHAIN + 1):
        store.put("k", f"r{number}", Record(previous=f"r{number - 1}" if number else ""), None)
    assert len(_chain(store, f"r{MAX_CHAIN - 1}")) == MAX_CHAIN
    with pytest.raises(Missing):
        _chain(store, f"r{MAX_CHAIN}")


def test_a_large_input_stands_beside(store: ResponseStore) -> None:
    """It is read with its response, and goes with it."""
    staged = asyncio.run(store.stage(b"[1]"))
    assert staged is not None
    store.put("k", "a", Record(response=b"{}"), staged)
    assert _get(store, "k", "a").input == b"[1]"
    assert len(_files(store)) == 2
    asyncio.run(store.delete("k", "a"))
    assert _files(store) == []
    left = asyncio.run(store.stage(b"[2]"))
    assert left is not None
    asyncio.run(store.discard(left))
    assert _files(store) == []


@pytest.mark.parametrize("damage", [b"", b"\x00" * 40, None])
def test_a_damaged_file_is_no_response(store: ResponseStore, damage: bytes | None) -> None:
    """Empty, zeroed or cut short, as after a power failure: as if it had never been."""
    store.put("k", "a", Record(response=b"x" * 100), None)
    (path,) = _files(store)
    path.write_bytes(path.read_bytes()[:-10] if damage is None else damage)
    with pytest.raises(Missing):
        _get(store, "k", "a")


def test_what_was_not_used_for_long_is_deleted(store: ResponseStore) -> None:
    """Age counts from the last use, and is observed before the sweep comes."""
    for name in ("old", "used", "new"):
        store.put("k", name, Record(response=name.encode()), None)
    places = {name: store._place("k", name) for name in ("old", "used")}
    almost = time.time() - DAY_S + 60
    for place in places.values():
        os.utime(place, (almost, almost))
    assert _chain(store, "used") == [b"used"]
    store.sweep(time.time() + 120)
    assert not places["old"].exists()
    assert places["used"].exists()
    past = time.time() - DAY_S - 1
    os.utime(places["used"], (past, past))
    with pytest.raises(Missing):
        _get(store, "k", "used")
    assert _get(store, "k", "new").response == b"new"


def test_room_is_made_by_deleting_the_longest_unused(tmp_path: Path) -> None:
    """What is over the bound goes, oldest first; leftovers of killed processes go after an hour."""
    store = ResponseStore(tmp_path, ResponsesSnapshot(True, DAY_S, 1 << 20))
    now = time.time()
    for number in range(100):
        store.put("k", str(number), Record(response=b"x" * 16_000), None)
        stamp = now - 1000 + number
        os.utime(store._place("k", str(number)), (stamp, stamp))
    orphan = store._folder / "1-1.part"
    orphan.write_bytes(b"x")
    os.utime(orphan, (now - 3700, now - 3700))
    store.sweep(now)
    left = [path.stat().st_size for path in _files(store)]
    assert 0.8 * (1 << 20) < sum(left) <= (1 << 20)
    assert not orphan.exists()
    with pytest.raises(Missing):
        _get(store, "k", "0")
    assert _get(store, "k", "99").response
    store.close()


def test_writing_makes_room_by_itself(tmp_path: Path) -> None:
    """Nobody has to call the sweep: a sixteenth written brings one."""
    store = ResponseStore(tmp_path, ResponsesSnapshot(True, DAY_S, 1 << 20))
    for number in range(400):
        store.put("k", str(number), Record(response=b"x" * 16_000), None)
    deadline = time.monotonic() + 10
    while _bytes_in(store) > 1.2 * (1 << 20):
        assert time.monotonic() < deadline
        store.put("k", "more", Record(response=b"x" * 70_000), None)
        time.sleep(0.01)
    store.close()


def test_a_disk_that_takes_nothing_is_told_and_survived(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The answer goes out all the same; the operator reads why, once a minute."""
    (tmp_path / "responses").write_text("in the way")
    store = ResponseStore(tmp_path, ResponsesSnapshot(True, DAY_S, 1 << 20))
    assert not store.put("k", "a", Record(), None)
    assert not store.put("k", "b", Record(), None)
    assert asyncio.run(store.stage(b"[]")) is None
    assert [record.message for record in caplog.records] == ["a response could not be kept"]
    store.close()


_WRITER = """
import sys
from pathlib import Path
from tidegate.config.snapshot import ResponsesSnapshot
from tidegate.responses.record import Record
from tidegate.responses.store import ResponseStore
store = ResponseStore(Path(sys.argv[1]), ResponsesSnapshot(True, 1e6, 1 << 30))
for number in range(100_000):
    store.put("k", f"{number % 50}", Record(response=b"%d" % number * 5_000), None)
    if number == 50:
        print("going", flush=True)
"""


def test_writers_that_are_killed_leave_whole_responses(store: ResponseStore) -> None:
    """Two processes write the same ids and die at any line: each read is whole or nothing."""
    for _ in range(5):
        writers = [
            subprocess.Popen(
                [sys.executable, "-c", _WRITER, str(store._folder.parent)],
                stdout=subprocess.PIPE,
            )
            for _ in range(2)
        ]
        for writer in writers:
            assert writer.stdout is not None
            assert writer.stdout.readline() == b"going\n"
        for name in [str(number) for number in range(50)] * 4:
            data = _get(store, "k", name).response
            assert data == data[: len(data) // 5_000] * 5_000
        for writer in writers:
            writer.send_signal(signal.SIGKILL)
            writer.wait(10)
            assert writer.stdout is not None
            writer.stdout.close()
    for number in range(50):
        data = _get(store, "k", str(number)).response
        assert data == data[: len(data) // 5_000] * 5_000
