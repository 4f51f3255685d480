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


class Place:
    """Room for one job, from before anything is awaited for it until it has ended.

    Attributes:
        size_bytes: Of its request.
    """

    def __init__(self, jobs: Jobs, size_bytes: int) -> None:
        self._jobs: Jobs | None = jobs
        self.size_bytes = size_bytes

    def give_back(self) -> None:
        """Let another have it; more than once does no harm."""
        if self._jobs is not None:
            self._jobs.count -= 1
            self._jobs.size_bytes -= self.size_bytes
            self._jobs = None


class Job:
    """One response in the making.

    Attributes:
        log: Its events; closed by the job itself.
        place: Given back when it has ended.
        is_cancelled: Whether it ends because a client asked for that, and not because we stop.
        task: Runs it.
    """

    def __init__(self, log: EventLog, place: Place) -> None:
        self.log = log
        self.place = place
        self.is_cancelled = False
        self.task: asyncio.Task[None] | None = None

    def cancel(self, *, asked: bool) -> None:
        """End it; *asked* by a client, or because the worker ends."""
        if self.task is not None:
            self.is_cancelled = self.is_cancelled or asked
            # Not at once: a task that has not begun would end without seeing to its end.
            self.task.get_loop().call_soon(self.task.cancel)


class Jobs:
    """All jobs of one worker.

    Attributes:
        count: Places that are taken.
        size_bytes: Of the requests that have them.
    """

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
        self.count = 0
        self.size_bytes = 0
        self._looks = 0
        self._is_looking = False

    def __len__(self) -> int:
        return len(self._jobs)

    def take_place(self, size_bytes: int) -> Place:
        """Return a place for a request of that size; raises `TooManyJobs` where there is none.

        Whoever takes it gives it back, unless a job that it was given to is started.
        """
        if self.count >= self._max_jobs or self.size_bytes + size_bytes > self._max_bytes:
            raise TooManyJobs
        self.count += 1
        self.size_bytes += size_bytes
        return Place(self, size_bytes)

    def start(self, job: Job, work: Coroutine[None, None, None]) -> None:
        """Begin *work*, which takes care of whatever happens to it."""
        self._jobs.add(job)
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
        job.place.give_back()

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
