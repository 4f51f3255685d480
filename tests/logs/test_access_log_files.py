"""The access log in a file: whole lines in their order, and every one that is lost is counted."""

from __future__ import annotations

import asyncio
import errno
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.pipeline.scene import (
    ANSWER,
    PEPPER,
    SECRET,
    FakeAnswer,
    FakeExchange,
    FakeUpstream,
    Scene,
    chat,
)

from tidegate.config.snapshot import KeySnapshot
from tidegate.keys.secrets import digest
from tidegate.pipeline import access_log as access_log_module
from tidegate.pipeline.access_log import AccessLog

IN_TIME_S = 5.0


class Log:
    """A gateway in memory whose access log is a file.

    Attributes:
        sent: Request ids in the order of their answers.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self.scene = Scene({"m": [FakeUpstream(FakeAnswer(body=ANSWER))]})
        self.log.use(self.descriptor)
        self.sent: list[str] = []

    @property
    def log(self) -> AccessLog:
        """What is tested."""
        return self.scene.gateway.access_log

    async def ask(self, count: int) -> None:
        """Serve *count* requests."""
        for _ in range(count):
            exchange = await self.scene.run(FakeExchange(body=chat()))
            self.sent.append(exchange.answer_headers["x-request-id"])

    @property
    def lines(self) -> list[dict[str, Any]]:
        """What stands in the file, each line read as JSON."""
        return [json.loads(line) for line in self.path.read_text().splitlines()]

    @property
    def ids(self) -> list[str]:
        """The request ids that stand in the file."""
        return [line["request_id"] for line in self.lines]


@pytest.fixture
async def log(tmp_path: Path) -> Log:
    """A log in a new file."""
    return Log(tmp_path / "access.log")


class FullDisk:
    """Stands where `os` stands in the access log: its disk has *room* for so many bytes."""

    def __init__(self) -> None:
        self.room: int | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(os, name)

    def write(self, descriptor: int, data: bytes) -> int:
        """See `os.write`: a disk that fills up takes a part, and then refuses."""
        if self.room is None:
            return os.write(descriptor, data)
        if not self.room:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        taken = os.write(descriptor, data[: self.room])
        self.room -= taken
        return taken


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Iterator[FullDisk]:
    """The disk under the log."""
    disk = FullDisk()
    monkeypatch.setattr(access_log_module, "os", disk)
    yield disk
    disk.room = None


async def test_lines_are_whole_and_in_the_order_of_their_requests(log: Log) -> None:
    """However many are written at once: more than a pipe would take in one piece."""
    for count in (1, 2, 300):
        await log.ask(count)
        log.log.flush()
        assert log.ids == log.sent
    assert log.log.dropped == 0
    assert all(line["status"] == 200 and line["outcome"] == "ok" for line in log.lines)


async def test_lines_are_in_the_file_soon_without_anybody_asking(log: Log) -> None:
    """A timer writes what has collected, and again what collects after that."""
    for _ in range(2):
        await log.ask(3)
        async with asyncio.timeout(IN_TIME_S):
            while log.ids != log.sent:
                await asyncio.sleep(0.01)


async def test_each_process_adds_to_the_end_of_the_file(log: Log) -> None:
    """Writers of one file never overwrite each other's lines."""
    other = AccessLog(asyncio.get_running_loop(), os.open(log.path, os.O_WRONLY | os.O_APPEND))
    await log.ask(5)
    log.log.flush()
    first, log.scene.gateway.access_log = log.log, other
    await log.ask(5)
    other.flush()
    log.scene.gateway.access_log = first
    await log.ask(5)
    first.flush()
    assert log.ids == log.sent


async def test_a_full_disk_costs_lines_and_each_is_counted(log: Log, disk: FullDisk) -> None:
    """Requests go on; when there is room again, so does the log."""
    await log.ask(2)
    log.log.flush()
    disk.room = 0
    await log.ask(3)
    log.log.flush()
    assert log.log.dropped == 3
    disk.room = None
    await log.ask(4)
    log.log.flush()
    assert log.ids == log.sent[:2] + log.sent[5:]
    assert log.log.dropped == 3


async def test_a_disk_that_fills_up_in_a_line_spoils_no_other(log: Log, disk: FullDisk) -> None:
    """What is written later begins a line of its own, and what was lost is counted."""
    await log.ask(1)
    log.log.flush()
    disk.room = log.path.stat().st_size * 5 // 2  # two lines of the same length, and half a one
    await log.ask(5)
    log.log.flush()
    disk.room = None
    await log.ask(2)
    log.log.flush()
    whole = []
    for line in log.path.read_text().splitlines():
        try:
            whole.append(json.loads(line)["request_id"])
        except ValueError:
            continue
    assert whole[:3] == log.sent[:3]
    assert whole[-2:] == log.sent[-2:]
    assert len(whole) + log.log.dropped == len(log.sent)


async def test_a_descriptor_that_cannot_be_written_costs_lines_and_each_is_counted(
    log: Log,
) -> None:
    """Open for reading alone, or closed already."""
    log.log.use(os.open(log.path, os.O_RDONLY))
    await log.ask(3)
    log.log.flush()
    assert log.log.dropped == 3
    closed = os.open(log.path, os.O_WRONLY | os.O_APPEND)
    log.log.use(closed)
    os.close(closed)
    await log.ask(2)
    log.log.flush()
    assert log.log.dropped == 5
    log.log.use(log.descriptor)
    await log.ask(1)
    log.log.flush()
    assert log.ids == log.sent[-1:]


async def test_another_descriptor_gets_what_comes_after_it(log: Log, tmp_path: Path) -> None:
    """The old one has all of what came before; None keeps no log, and counts nothing as lost."""
    await log.ask(3)
    second = tmp_path / "second.log"
    log.log.use(os.open(second, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600))
    assert log.ids == log.sent
    await log.ask(2)
    log.log.use(None)
    await log.ask(2)
    log.log.flush()
    log.log.use(log.descriptor)
    await log.ask(1)
    log.log.flush()
    assert log.ids == [*log.sent[:3], log.sent[-1]]
    ids = [json.loads(line)["request_id"] for line in second.read_text().splitlines()]
    assert ids == log.sent[3:5]
    assert log.log.dropped == 0


async def test_a_line_may_hold_any_name(log: Log) -> None:
    """Names of keys and teams are an operator's own words, in any alphabet."""
    key = KeySnapshot("k", 'Gäste "世界"\n', digest(SECRET.encode(), PEPPER), team="\x00\u2028")
    log.scene.gateway.directory.replace((key,), 2)
    await log.ask(2)
    log.log.flush()
    lines = log.path.read_bytes().split(b"\n")
    assert lines.pop() == b""
    assert [json.loads(line)["key"] for line in lines] == ['Gäste "世界"\n'] * 2
