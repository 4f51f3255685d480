"""The responses that one worker makes in the background."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine

from tidegate.responses.event_log import EventLog

#: Most at once in one worker, and most bytes of their requests.
MAX_JOBS = 256
MAX_BYTES = 256 * 1024 * 1024
#: How often it is looked whether another worker was asked to cancel one.
_LOOK_S = 0.25
_TOUCH_LOOKS = 80
#: How long what was cancelled may take to write down its end.
_END_S = 5.0


class TooManyJobs(Exception):
    """No more can be begun now."""


class Job:
    """One response in the making.

    Attributes:
        log: Its events; closed by the job itself.
        size_bytes: Of its request.
        is_cancelled: Whether it ends because a client asked for that, and not because we stop.
        task: Runs it.
    """

    def __init__(self, log: EventLog, size_bytes: int) -> None:
        self.log = log
        self.size_bytes = size_bytes
        self.is_cancelled = False
        self.task: asyncio.Task[None] | None = None

    def cancel(self, *, asked: bool) -> None:
        """End it; *asked* by a client, or because the worker ends."""
        if self.task is not None:
            self.is_cancelled = self.is_cancelled or asked
            # Not at once: a task that has not begun would end without seeing to its end.
            self.task.get_loop().call_soon(self.task.cancel)


class Jobs:
    """All jobs of one worker."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        *,
        max_jobs: int = MAX_JOBS,
        max_bytes: int = MAX_BYTES,
    ) -> None:
        self._loop = loop
        self._max_jobs = max_jobs
        self._max_bytes = max_bytes
        self._jobs: set[Job] = set()
        self._bytes = 0
        self._looks = 0
        self._is_looking = False

    def __len__(self) -> int:
        return len(self._jobs)

    def check_room(self, size_bytes: int) -> None:
        """Raise `TooManyJobs` where one of that size cannot be begun now."""
        if len(self._jobs) >= self._max_jobs or self._bytes + size_bytes > self._max_bytes:
            raise TooManyJobs

    def start(self, job: Job, work: Coroutine[None, None, None]) -> None:
        """Begin *work*, which takes care of whatever happens to it."""
        self._jobs.add(job)
        self._bytes += job.size_bytes
        job.task = self._loop.create_task(work)
        job.task.add_done_callback(lambda task: self._end(job))
        if not self._is_looking:
            self._is_looking = True
            self._loop.call_later(_LOOK_S, self._look)

    async def finish(self, within_s: float) -> bool:
        """Wait for all to end, and cancel what is left then; False where that was needed."""
        deadline = self._loop.time() + within_s
        while self._jobs and self._loop.time() < deadline:
            await asyncio.wait(self._tasks(), timeout=deadline - self._loop.time())
        if not self._jobs:
            return True
        for job in self._jobs:
            job.cancel(asked=False)
        await asyncio.wait(self._tasks(), timeout=_END_S)
        return False

    def _tasks(self) -> list[asyncio.Task[None]]:
        return [job.task for job in self._jobs if job.task is not None]

    def _end(self, job: Job) -> None:
        self._jobs.discard(job)
        self._bytes -= job.size_bytes

    def _look(self) -> None:
        """Cancel what another worker was asked to cancel; go on while there are jobs."""
        self._is_looking = bool(self._jobs)
        if not self._jobs:
            return
        self._looks += 1
        for job in tuple(self._jobs):
            if job.log.is_cancelled:
                job.cancel(asked=True)
            elif self._looks % _TOUCH_LOOKS == 0:
                job.log.touch()
        self._loop.call_later(_LOOK_S, self._look)
