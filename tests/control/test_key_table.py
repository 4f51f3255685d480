"""The key table that control publishes, and the jobs it lives in."""

from __future__ import annotations

import asyncio
import json
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tidegate.config.digest import key_digest
from tidegate.config.snapshot import KeySnapshot
from tidegate.control.eventlog import EventLog
from tidegate.control.jobs import Job, JobRunner
from tidegate.control.keytable import KeyTable
from tidegate.control.messages import decode_keys
from tidegate.stores.database import open_database
from tidegate.stores.keys import KeyStore
from tidegate.stores.protocols import Database

PEPPER = b"p" * 32


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    """A store of its own."""
    opened = open_database(tmp_path)
    yield opened
    opened.close()


def named(name: str, secret: str) -> KeySnapshot:
    return KeySnapshot(f"cfg_{name}", name, key_digest(PEPPER, secret))


def test_the_table_is_published_at_each_change_and_only_then(database: Database) -> None:
    """Made, revoked, or changed in the file."""
    store = KeyStore(database, PEPPER)
    published: list[set[str]] = []
    table = KeyTable(store, lambda packed: published.append({k.name for k in decode_keys(packed)}))
    table.poll()
    table.poll()
    assert published == [set()]
    other = KeyStore(database, PEPPER)  # as another process would
    other.create("a", now_ms=1)
    table.poll()
    table.poll()
    table.set_config_keys((named("file", "tg-file"),))
    table.poll()
    other.revoke("a", now_ms=2)
    table.poll()
    assert published == [set(), {"a"}, {"a", "file"}, {"file"}]


def test_a_secret_in_both_places_counts_as_the_file_says(database: Database) -> None:
    """One digest is one key."""
    store = KeyStore(database, PEPPER)
    created = store.create("stored", now_ms=1)
    published: list[bytes] = []
    table = KeyTable(store, published.append)
    table.set_config_keys((named("file", created.secret),))
    table.poll()
    assert [key.name for key in decode_keys(published[-1])] == ["file"]


def test_the_first_key_is_made_once_in_the_life_of_a_store(database: Database) -> None:
    """A store whose keys were all revoked has had its first key."""
    store = KeyStore(database, PEPPER)
    table = KeyTable(store, lambda _: None)
    assert table.is_empty()
    assert table.make_first()
    assert not table.is_empty()
    store.revoke("default", now_ms=2)
    assert table.is_empty()
    assert table.make_first() is None


async def test_a_failing_job_is_told_of_and_tried_again() -> None:
    """Without the error's text, and without stopping the others."""
    reader, writer = os.pipe()
    runs: list[str] = []
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()

    def fails() -> None:
        runs.append("fails")
        raise RuntimeError("INSERT INTO keys VALUES ('tg-secret')")

    def works() -> None:
        runs.append(threading.current_thread().name)
        if runs.count("fails") > 3:
            loop.call_soon_threadsafe(ended.set)

    runner = JobRunner(EventLog("test", stream_fd=writer, human=False))
    runner.add(Job("fails", 0.005, fails))
    runner.add(Job("works", 0.005, works, at_end=works))
    async with asyncio.timeout(5):
        await ended.wait()
    before = len(runs)
    await runner.close()
    assert runs[before:][-1].startswith("database")
    os.close(writer)
    lines = os.read(reader, 10_000).decode().splitlines()
    os.close(reader)
    assert len(lines) == 1  # complained of once, not at each try
    assert json.loads(lines[0])["error"] == "RuntimeError"
    assert "secret" not in lines[0]


def test_a_reader_of_the_log_that_stands_still_stops_nobody() -> None:
    """Events that have no room are lost; the writer goes on."""
    reader, writer = os.pipe()
    log = EventLog("test", stream_fd=writer, human=False)
    for number in range(5_000):
        log.info("noise", number=number, text="x" * 100)
    first = json.loads(os.read(reader, 1 << 20).splitlines()[0])
    assert (first["event"], first["level"], first["process"]) == ("noise", "info", "test")
    os.close(reader)
    log.error("nobody reads")
    os.close(writer)
    log.error("closed")


def test_a_terminal_gets_words_and_levels_are_kept() -> None:
    """Not JSON; and what is below the level is not written."""
    reader, writer = os.pipe()
    log = EventLog("test", stream_fd=writer, human=True, level="warning")
    log.info("hidden")
    log.warning("seen", reason="two words", count=3)
    os.close(writer)
    text = os.read(reader, 1_000).decode()
    os.close(reader)
    assert text.endswith('warning test: seen reason="two words" count=3\n')
    assert "hidden" not in text
