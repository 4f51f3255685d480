"""What control does while its database is away: it says so, goes on, and says that it is back."""

from __future__ import annotations

import asyncio
import json
import os
import threading
from collections.abc import Sequence
from pathlib import Path

import pytest

from tidegate.config.snapshot import KeySnapshot
from tidegate.control.eventlog import EventLog
from tidegate.control.jobs import Job, JobRunner
from tidegate.control.keycache import CACHE_FILE, KeyCache
from tidegate.control.keytable import KeyTable
from tidegate.control.messages import decode_keys
from tidegate.ledger.store import StoreDown
from tidegate.stores.database import open_database
from tidegate.stores.keys import KeyStore
from tidegate.stores.protocols import StoreError

PEPPER = b"p" * 32


async def test_one_database_is_complained_of_once_however_many_jobs_need_it() -> None:
    """With its reason; and once more when the last of them works again."""
    reader, writer = os.pipe()
    away = threading.Event()
    away.set()
    runs = {"keys": 0, "ledger": 0}

    def job_of(name: str, error: Exception) -> Job:
        def run() -> None:
            runs[name] += 1
            if away.is_set():
                raise error

        return Job(name, 0.002, run, thread=name)

    runner = JobRunner(EventLog("test", stream_fd=writer, human=False))
    runner.add(job_of("keys", StoreError("no answer within 5 s")))
    runner.add(job_of("ledger", StoreDown("no answer within 6 s")))
    async with asyncio.timeout(10):
        for phase_ends in range(2):
            before = dict(runs)
            while any(runs[name] < before[name] + 5 for name in runs):
                await asyncio.sleep(0.002)
            if phase_ends == 0:
                away.clear()
    await runner.close()
    os.close(writer)
    lines = [json.loads(line) for line in os.read(reader, 10_000).splitlines()]
    os.close(reader)
    assert [line["event"] for line in lines] == ["a job failed", "works again"]
    assert lines[0]["reason"].startswith("no answer within")
    assert lines[1]["what"] == "the database"


async def test_a_job_that_hangs_holds_up_only_its_own_thread() -> None:
    """Limits are saved and journals made durable while the keys wait for a server."""
    hanging, release = threading.Event(), threading.Event()
    runs: list[str] = []

    def hang() -> None:
        hanging.set()
        release.wait(10)

    runner = JobRunner(EventLog("test", stream_fd=2))
    runner.add(Job("keys", 0.001, hang))
    runner.add(Job("limits", 0.001, lambda: runs.append("limits"), thread="limits"))
    async with asyncio.timeout(5):
        while not hanging.is_set() or len(runs) < 5:
            await asyncio.sleep(0.001)
    assert not release.is_set()
    release.set()
    await runner.close()


def test_the_table_of_the_last_time_stands_in_for_the_store(tmp_path: Path) -> None:
    """Merged with the keys of the file; without a last time there is none."""
    published: list[Sequence[KeySnapshot]] = []
    database = open_database(tmp_path)

    def table() -> KeyTable:
        cache = KeyCache(tmp_path, PEPPER, "postgresql://db/x")
        return KeyTable(
            KeyStore(database, PEPPER), lambda packed: published.append(decode_keys(packed)), cache
        )

    first = table()
    assert first.publish_cached() is None
    KeyStore(database, PEPPER).create("stored", now_ms=1)
    first.poll()
    database.close()
    later = table()
    later.set_config_keys((KeySnapshot("cfg_file", "file", b"d" * 32),))
    assert later.publish_cached() == 1
    assert [[key.name for key in keys] for keys in published] == [["stored"], ["file", "stored"]]


def test_a_cache_that_could_not_be_written_is_written_later(tmp_path: Path) -> None:
    """The table is published all the same, and once."""
    published: list[bytes] = []
    database = open_database(tmp_path)
    KeyStore(database, PEPPER).create("stored", now_ms=1)
    cache = KeyCache(tmp_path, PEPPER, "postgresql://db/x")
    table = KeyTable(KeyStore(database, PEPPER), published.append, cache)
    (tmp_path / "keys.new").mkdir()  # in the way of the draft
    for _ in range(2):
        with pytest.raises(OSError, match="directory"):
            table.poll()
    (tmp_path / "keys.new").rmdir()
    table.poll()
    assert len(published) == 1
    assert (tmp_path / CACHE_FILE).exists()
    database.close()
