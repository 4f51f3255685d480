"""What is deleted stays deleted, whoever reads it at the same moment."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tidegate.config.snapshot import ResponsesSnapshot
from tidegate.endpoints.responses_ends import ended
from tidegate.responses.record import Record
from tidegate.responses.record_files import Missing, held, remove, write_whole
from tidegate.responses.store import ResponseStore

LOST = Record(response=b'{"status":"in_progress"}', background=True, running=True)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[ResponseStore]:
    made = ResponseStore(tmp_path, ResponsesSnapshot(True, 86_400, 1 << 30))
    yield made
    made.close()


def _lost(store: ResponseStore) -> Path:
    """Keep a response whose maker was killed; return its place."""
    store.put("k", "r", Record(**{name: getattr(LOST, name) for name in LOST.__struct_fields__}),
              None)  # fmt: skip
    return store._place("k", "r")


def test_a_reader_does_not_bring_a_response_back(
    store: ResponseStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One worker ends a lost response while another deletes it: it is gone, in either order."""
    place = _lost(store)
    deleting = threading.Thread(target=remove, args=(place,))

    def end(response: bytes) -> bytes:
        deleting.start()
        deleting.join(0.2)  # it has to wait for us
        return b"{}"

    monkeypatch.setattr("tidegate.endpoints.responses_ends._failed", end)
    assert asyncio.run(ended(store, "k", "r")).response == b"{}"
    deleting.join(5)
    assert not place.exists()


def test_what_is_deleted_just_before_its_end_is_written_is_missing(
    store: ResponseStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The reader is told so, and writes nothing."""
    place = _lost(store)

    def look(where: Path) -> bool:
        remove(where)
        return False

    monkeypatch.setattr("tidegate.responses.store.is_live", look)
    with pytest.raises(Missing):
        asyncio.run(ended(store, "k", "r"))
    assert not place.exists()


def test_a_holder_of_what_was_replaced_holds_the_new_one(tmp_path: Path) -> None:
    """It waits for the lock of a file that is no longer there, and looks again."""
    place = tmp_path / "a"
    write_whole(place, b"1")
    seen: list[bytes] = []

    def hold() -> None:
        with held(place):
            seen.append(place.read_bytes())

    waiting = threading.Thread(target=hold)
    with held(place):
        waiting.start()
        waiting.join(0.1)
        write_whole(place, b"2")
    waiting.join(5)
    assert seen == [b"2"]


def test_the_end_of_a_lost_response_leaves_its_large_input_apart(store: ResponseStore) -> None:
    """It is not written a second time."""

    async def play() -> Record:
        staged = await store.stage(b"[" + b" " * 200_000 + b"]")
        store.put("k", "r", Record(response=b"{}", background=True, running=True), staged)
        return await ended(store, "k", "r")

    record = asyncio.run(play())
    assert (len(record.input), record.running) == (200_002, False)
    assert store._place("k", "r").stat().st_size < 1_000
    assert len(asyncio.run(store.get("k", "r")).input) == 200_002


def test_a_chain_may_be_deleted_while_it_is_read(
    store: ResponseStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was read in time is gone on from."""
    store.put("k", "r", Record(response=b"1"), None)

    def gone(path: Path) -> None:
        raise FileNotFoundError(path)

    monkeypatch.setattr("tidegate.responses.store.os.utime", gone)
    assert [record.response for record in asyncio.run(store.chain("k", "r"))] == [b"1"]


_READER = """
import asyncio, sys
from pathlib import Path
from tidegate.config.snapshot import ResponsesSnapshot
from tidegate.endpoints.responses_ends import ended
from tidegate.responses.record_files import Missing
from tidegate.responses.store import ResponseStore
store = ResponseStore(Path(sys.argv[1]), ResponsesSnapshot(True, 1e6, 1 << 30))
async def read():
    print("going", flush=True)
    number = 0
    while True:
        number += 1
        try:
            await ended(store, "k", str(number % 100))
        except Missing:
            pass
asyncio.run(read())
"""


@pytest.mark.process
def test_nothing_comes_back_from_readers_that_are_killed(store: ResponseStore) -> None:
    """Two processes end lost responses and die at any line while a third deletes them all."""
    for _ in range(5):
        for number in range(100):
            store.put("k", str(number), Record(response=b"{}", background=True, running=True), None)
        readers = [
            subprocess.Popen(
                [sys.executable, "-c", _READER, str(store._folder.parent)], stdout=subprocess.PIPE
            )
            for _ in range(2)
        ]
        for reader in readers:
            assert reader.stdout is not None
            assert reader.stdout.readline() == b"going\n"
        places = [store._place("k", str(number)) for number in range(100)]
        for place in places[:50]:
            remove(place)
        for reader in readers:
            reader.send_signal(signal.SIGKILL)
        for place in places[50:]:
            remove(place)
        for reader in readers:
            reader.wait(10)
            assert reader.stdout is not None
            reader.stdout.close()
        assert [place for place in places if os.path.exists(place)] == []
