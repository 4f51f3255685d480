"""Work that control does again and again, on threads of its own.

A job is blocking code (a database, files). All jobs of one thread may share a connection or
an open file without locks, and the loop stays free for orders and for the heartbeat. What
must not wait for a database that does not answer has another thread.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple, TypeVar

from tidegate.control.eventlog import EventLog
from tidegate.errors import ConfigError
from tidegate.ledger.store import StoreDown
from tidegate.stores.protocols import StoreError

COMPLAIN_EVERY_S = 30.0
DATABASE_THREAD = "database"

_T = TypeVar("_T")


class Job(NamedTuple):
    """Blocking work, done every `every_s` seconds; `at_end` is done once at the end.

    An exception of `run` is logged (at most twice a minute) and the job tried again. Jobs with
    the same `thread` run one at a time.
    """

    name: str
    every_s: float
    run: Callable[[], None]
    at_end: Callable[[], None] | None = None
    thread: str = DATABASE_THREAD


class JobRunner:
    """Runs jobs until `close`."""

    def __init__(self, log: EventLog) -> None:
        self._log = log
        self._threads: dict[str, ThreadPoolExecutor] = {}
        self._jobs: list[Job] = []
        self._tasks: list[asyncio.Task[None]] = []
        self._complained_s: dict[str, float] = {}
        self._failing: dict[str, str] = {}
        self._told: set[str] = set()

    def add(self, job: Job) -> None:
        """Begin to run *job*, the first time `every_s` seconds from now."""
        self._jobs.append(job)
        self._tasks.append(asyncio.get_running_loop().create_task(self._repeat(job)))

    async def call(self, work: Callable[[], _T]) -> _T:
        """Run *work* once on the database thread and return its result."""
        return await self._on_thread(DATABASE_THREAD, work)

    async def _on_thread(self, name: str, work: Callable[[], _T]) -> _T:
        thread = self._threads.get(name)
        if thread is None:
            thread = self._threads[name] = ThreadPoolExecutor(1, thread_name_prefix=name)
        return await asyncio.get_running_loop().run_in_executor(thread, work)

    async def close(self) -> None:
        """End the repetition, run what is due at the end, give the threads back."""
        for task in self._tasks:
            task.cancel()
        for job in self._jobs:
            if job.at_end is not None:
                await self._run(job._replace(run=job.at_end))
        for thread in self._threads.values():
            thread.shutdown(wait=False)

    async def _repeat(self, job: Job) -> None:
        while True:
            await asyncio.sleep(job.every_s)
            await self._run(job)

    async def _run(self, job: Job) -> None:
        try:
            await self._on_thread(job.thread, job.run)
        except Exception as error:  # noqa: BLE001 (a failing store must not end control)
            self.complain(job.name, error)
        else:
            topic = self._failing.pop(job.name, None)
            if topic in self._told and topic not in self._failing.values():
                self._told.discard(topic)
                self._log.info("works again", what=topic)

    def complain(self, job: str, error: Exception) -> None:
        """Log that *job* failed, at most twice a minute; one database is one topic for all."""
        is_database = isinstance(error, StoreError | StoreDown)
        topic = self._failing[job] = "the database" if is_database else job
        now_s = time.monotonic()
        if now_s - self._complained_s.get(topic, -COMPLAIN_EVERY_S) < COMPLAIN_EVERY_S:
            return
        self._complained_s[topic] = now_s
        self._told.add(topic)
        # The type alone: other errors' texts may quote the values of a statement.
        reason = str(error) if is_database or isinstance(error, ConfigError) else ""
        self._log.error("a job failed", job=job, error=type(error).__name__, reason=reason)
