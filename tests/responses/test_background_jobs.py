"""What is made in the background: its log, who is alive, and how much of it there may be."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from pathlib import Path

import pytest

from tidegate.config.snapshot import ResponsesSnapshot
from tidegate.endpoints.background_exchange import told_in
from tidegate.endpoints.responses_events import events_of, renumbered
from tidegate.responses.event_log import EventLog, EventReader, ask_to_cancel, is_live
from tidegate.responses.jobs import Job, Jobs, TooManyJobs
from tidegate.responses.log_room import LogRoom
from tidegate.responses.store import ResponseStore


def _log(place: Path) -> EventLog:
    return EventLog(place, LogRoom(place.parent, 1 << 30))


def test_a_log_is_read_in_whole_events_while_it_grows(tmp_path: Path) -> None:
    """Half an event waits for its other half."""
    log = _log(tmp_path / "a")
    with EventReader(tmp_path / "a") as reader:
        assert reader.read() == []
        log.append(b"data: 1\n\ndata: 2")
        assert reader.read() == [b"data: 1\n\n"]
        assert reader.read() == []
        log.append(b"2\n\n")
        assert reader.read() == [b"data: 22\n\n"]
        assert reader.is_live
        log.close()
        assert not reader.is_live


def test_an_event_longer_than_a_read_is_one_event(tmp_path: Path) -> None:
    """None means the end of what there is, never that an event is long."""
    log = _log(tmp_path / "a")
    long = b"data: " + b"x" * 900_000 + b"\n\n"
    log.append(b"data: 1\n\n" + long + b"data: 2\n\n")
    with EventReader(tmp_path / "a") as reader:
        read: list[bytes] = []
        while events := reader.read():
            read += events
    assert read == [b"data: 1\n\n", long, b"data: 2\n\n"]
    log.close()


def test_no_room_is_made_where_something_is_being_made(tmp_path: Path) -> None:
    """Its client could neither read nor stop it, and its maker would go on."""
    store = ResponseStore(tmp_path, ResponsesSnapshot(True, 86_400, 1 << 20))
    log = store.open_log("key", "resp_1")
    log.append(b"x" * 3 * 1024 * 1024, is_end=True)
    store.sweep(time.time())
    assert store.is_live("key", "resp_1")
    log.close()
    store.sweep(time.time())
    with pytest.raises(OSError, match="No such file"):
        store.read_log("key", "resp_1")


def test_who_asks_does_not_get_in_the_way(tmp_path: Path) -> None:
    """Any number may look whether a log is alive, and ask for its end, which leaves no trace."""
    assert not is_live(tmp_path / "a")
    log = _log(tmp_path / "a")
    assert is_live(tmp_path / "a")
    assert is_live(tmp_path / "a")
    assert not log.is_cancelled
    ask_to_cancel(tmp_path / "a")
    assert log.is_cancelled
    log.close()
    assert not is_live(tmp_path / "a")
    assert [path.name for path in tmp_path.iterdir()] == ["a.events"]


@pytest.mark.process
def test_a_killed_writer_is_not_alive(tmp_path: Path) -> None:
    """The kernel lets go of the lock."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        log = _log(tmp_path / "a")
        os.write(writing, b"x")
        signal.pause()
        log.close()
        os._exit(0)
    os.read(reading, 1)
    assert is_live(tmp_path / "a")
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    assert not is_live(tmp_path / "a")
    os.close(reading)
    os.close(writing)


def _job(jobs: Jobs, folder: Path, name: str, size_bytes: int = 1) -> Job:
    return Job(_log(folder / name), jobs.take_place(size_bytes))


async def _work(job: Job, ends: list[str], seconds: float = 30.0) -> None:
    try:
        await asyncio.sleep(seconds)
        ends.append("done")
    except asyncio.CancelledError:
        ends.append("cancelled" if job.is_cancelled else "stopped")
    finally:
        job.log.close()


def test_a_job_that_is_cancelled_at_once_still_sees_to_its_end(tmp_path: Path) -> None:
    """Else nobody would write down that it has ended."""

    async def play() -> list[str]:
        jobs = Jobs(asyncio.get_running_loop())
        ends: list[str] = []
        job = _job(jobs, tmp_path, "a")
        jobs.start(job, _work(job, ends))
        job.cancel(asked=True)
        await asyncio.sleep(0.05)
        assert len(jobs) == 0
        return ends

    assert asyncio.run(play()) == ["cancelled"]


def test_another_worker_s_wish_is_heard(tmp_path: Path) -> None:
    """It stands beside the log, where this worker looks."""

    async def play() -> list[str]:
        jobs = Jobs(asyncio.get_running_loop())
        ends: list[str] = []
        job = _job(jobs, tmp_path, "a")
        jobs.start(job, _work(job, ends))
        ask_to_cancel(tmp_path / "a")
        assert job.task is not None
        await asyncio.wait([job.task], timeout=5)
        return ends

    assert asyncio.run(play()) == ["cancelled"]


def test_an_end_of_the_worker_waits_as_long_as_it_may(tmp_path: Path) -> None:
    """What is short ends by itself, what is long is stopped."""

    async def play(seconds: float) -> tuple[bool, list[str]]:
        jobs = Jobs(asyncio.get_running_loop())
        ends: list[str] = []
        job = _job(jobs, tmp_path, "a")
        jobs.start(job, _work(job, ends, seconds))
        return await jobs.finish(0.3), ends

    assert asyncio.run(play(0.01)) == (True, ["done"])
    assert asyncio.run(play(30)) == (False, ["stopped"])


def test_their_number_and_their_size_are_bounded(tmp_path: Path) -> None:
    """What has ended makes room."""

    async def play() -> None:
        jobs = Jobs(asyncio.get_running_loop(), max_jobs=2, max_bytes=100)
        ends: list[str] = []
        large = _job(jobs, tmp_path, "a", 90)
        jobs.start(large, _work(large, ends))
        with pytest.raises(TooManyJobs):
            jobs.take_place(11)
        small = _job(jobs, tmp_path, "b", 10)
        with pytest.raises(TooManyJobs):
            jobs.take_place(0)  # what waits for a limit counts, though it has not begun
        jobs.start(small, _work(small, ends))
        await jobs.finish(0)
        refused = jobs.take_place(100)
        refused.give_back()
        refused.give_back()
        jobs.take_place(100)

    asyncio.run(play())


@pytest.mark.parametrize("response", [b"{}", b"[]", b"nonsense", b'{"status":1,"output":[]}'])
def test_a_response_that_cannot_be_read_is_one_event(response: bytes) -> None:
    """There is always a last one."""
    events = events_of(response)
    assert len(events) == 1
    assert events[0].startswith(b"event: response.completed\n")


def test_a_comment_and_half_an_event_tell_nothing() -> None:
    """They are passed over."""
    assert told_in(b": keep-alive\n\n") is None
    assert told_in(b"data: {\n\n") is None


def test_an_end_takes_the_number_behind_what_was_sent() -> None:
    """A reader whose maker was killed sees no number twice."""
    *_, last = events_of(b'{"id":"resp_1","status":"failed","output":[]}')
    told = told_in(renumbered(last, 41))
    assert told is not None
    assert (told.sequence_number, told.is_last) == (41, True)
    assert b'"id":"resp_1"' in bytes(told.response)
