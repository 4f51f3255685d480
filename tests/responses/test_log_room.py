"""How much all responses in the making may write, over all workers and however they end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tidegate.config.snapshot import ResponsesSnapshot
from tidegate.responses.event_log import EventLog, EventReader
from tidegate.responses.log_room import ALL_PART, ONE_PART, SHARES, LogFull, LogRoom
from tidegate.responses.store import ResponseStore

MIB = 1024 * 1024
SHARE = MIB // ALL_PART // SHARES


@pytest.fixture
def room(tmp_path: Path) -> Iterator[LogRoom]:
    made = LogRoom(tmp_path, MIB)
    yield made
    made.close()


def test_one_log_has_an_end(tmp_path: Path, room: LogRoom) -> None:
    """What is over it is not written, not even in part; the end of a response always is."""
    log = EventLog(tmp_path / "a", room)
    piece = b"data: " + b"x" * 9_992 + b"\n\n"
    fitting = MIB // ONE_PART // len(piece)
    for _ in range(fitting):
        log.append(piece)
    with pytest.raises(LogFull, match=r"131072 bytes, an eighth of 'responses.max_bytes'"):
        log.append(piece)
    path = tmp_path / "a.events"
    assert path.stat().st_size == fitting * len(piece)
    log.append(piece, is_end=True)
    assert path.stat().st_size == (fitting + 1) * len(piece)
    log.close()


def test_what_has_ended_makes_room(room: LogRoom) -> None:
    """All of it, and at once; until then there is none for another."""
    whole = MIB // ALL_PART
    for _ in range(3):
        room.take(whole - SHARE)
        room.take(SHARE)
        with pytest.raises(LogFull, match=r"524288 bytes, half of 'responses.max_bytes'"):
            room.take(1)
        room.give_back(whole - SHARE)
        room.give_back(SHARE)


_WORKER = """
import sys
from pathlib import Path
from tidegate.responses.log_room import LogFull, LogRoom
room, taken = LogRoom(Path(sys.argv[1]), 1 << 20), 0
try:
    while True:
        room.take(64)
        taken += 64
except LogFull:
    print(taken, flush=True)
sys.stdin.read()
"""


@pytest.mark.process
def test_workers_share_it_and_a_killed_one_gives_it_back(tmp_path: Path, room: LogRoom) -> None:
    """Together they take what there is and no more; the kernel lets go of a dead one's."""
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", _WORKER, str(tmp_path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        for _ in range(3)
    ]
    try:
        taken = []
        for worker in workers:
            assert worker.stdout is not None
            taken.append(int(worker.stdout.readline()))
        assert sum(taken) == MIB // ALL_PART
        with pytest.raises(LogFull):
            room.take(1)
    finally:
        for worker in workers:
            worker.send_signal(signal.SIGKILL)
            worker.wait(10)
            for pipe in (worker.stdin, worker.stdout):
                assert pipe is not None
                pipe.close()
    room.take(MIB // ALL_PART)


def test_a_log_is_locked_before_anybody_finds_it(
    tmp_path: Path, room: LogRoom, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else who looks at that moment would take it for one whose maker was killed."""
    import fcntl

    seen: list[list[str]] = []
    lock = fcntl.flock

    def look(file: int, how: int) -> None:
        seen.append([path.name for path in tmp_path.iterdir()])
        lock(file, how)

    monkeypatch.setattr("tidegate.responses.event_log.fcntl.flock", look)
    EventLog(tmp_path / "a", room).close()
    assert seen == [["a.events.part"]]
    assert [path.name for path in tmp_path.iterdir()] == ["a.events"]


def test_half_an_event_on_a_full_disk_spoils_no_other(
    tmp_path: Path, room: LogRoom, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next one begins behind a blank line."""
    log = EventLog(tmp_path / "a", room)
    write = os.write

    def half(file: int, data: memoryview) -> int:
        monkeypatch.setattr("tidegate.responses.event_log.os.write", full)
        return write(file, data[: len(data) // 2])

    def full(file: int, data: memoryview) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("tidegate.responses.event_log.os.write", half)
    with pytest.raises(OSError, match="No space"):
        log.append(b"data: {1234567}\n\n")
    monkeypatch.setattr("tidegate.responses.event_log.os.write", write)
    log.append(b"data: {}\n\n", is_end=True)
    log.close()
    with EventReader(tmp_path / "a") as reader:
        assert reader.read()[1:] == [b"data: {}\n\n"]


def test_a_large_input_is_kept_while_its_response_is_made(tmp_path: Path, room: LogRoom) -> None:
    """It is not swept for its age: the response could not be gone on from."""
    for name in ("a", "a.input"):
        (tmp_path / name).write_bytes(b"")
        os.utime(tmp_path / name, (1, 1))
    log = EventLog(tmp_path / "a", room)
    log.touch()
    log.close()
    assert min((tmp_path / name).stat().st_mtime for name in ("a", "a.input")) > 1


def test_logs_count_for_the_next_sweep(tmp_path: Path) -> None:
    """What many logs have written is looked at as soon as what responses have."""
    store = ResponseStore(tmp_path, ResponsesSnapshot(True, 86_400, MIB))
    for number in range(40):
        log = store.open_log("key", f"resp_{number}")
        log.append(b"x" * 100_000)
        log.close()
    deadline = time.monotonic() + 10
    while sum(path.stat().st_size for path in tmp_path.rglob("*.events")) > 1.2 * MIB:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert {path.name for path in tmp_path.rglob("*.lock")} == {"sweep.lock", "room.lock"}
    store.close()
