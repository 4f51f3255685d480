"""Work that control does again and again, on its one database thread.

A job is blocking code (SQLite, files). All jobs share one thread, so each of them may
keep a connection or an open file without locks, and the loop stays free for orders and
for the heartbeat.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple, TypeVar

from tidegate.control.eventlog import EventLog

COMPLAIN_EVERY_S = 30.0

_T = TypeVar("_T")


class Job(NamedTuple):
    """Blocking work, done every `every_s` seconds; `at_end` is done once at the end.

    An exception of `run` is logged (at most twice a minute) and the job tried again.
    """

    name: str
    every_s: float
    run: Callable[[], None]
    at_end: Callable[[], None] | None = None


class JobRunner:
    """Runs jobs one at a time until `close`."""

    def __init__(self, log: EventLog) -> None:
        self._log = log
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="database")
        self._jobs: list[Job] = []
        self._tasks: list[asyncio.Task[None]] = []
        self._complained_s: dict[str, float] = {}

    def add(self, job: Job) -> None:
        """Begin to run *job*, the first time `every_s` seconds from now."""
        self._jobs.append(job)
        self._tasks.append(asyncio.get_running_loop().create_task(self._repeat(job)))

    async def call(self, work: Callable[[], _T]) -> _T:
        """Run *work* once on the database thread and return its result."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    async def close(self) -> None:
        """End the repetition, run what is due at the end, give the thread back."""
        for task in self._tasks:
            task.cancel()
        for job in self._jobs:
            if job.at_end is not None:
                await self._run(job._replace(run=job.at_end))
        self._thread.shutdown(wait=False)

    async def _repeat(self, job: Job) -> None:
        while True:
            await asyncio.sleep(job.every_s)
            await self._run(job)

    async def _run(self, job: Job) -> None:
        try:
            await self.call(job.run)
        except Exception as error:  # noqa: BLE001 (a failing store must not end control)
            now = time.monotonic()
            if now - self._complained_s.get(job.name, -COMPLAIN_EVERY_S) >= COMPLAIN_EVERY_S:
                self._complained_s[job.name] = now
                # The type alone: a database error's text may quote the values of a statement.
                self._log.error("a job failed", job=job.name, error=type(error).__name__)
