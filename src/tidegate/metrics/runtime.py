"""Figures that no request writes: processes from `/proc`, the collector of garbage, versions.

Unlabelled `process_*` are sums over all processes of the instance. A process that ends takes
its `/proc` entry with it, so the supervisor writes down its CPU time as it reaps it (`reaping`
and `bury`), and readers repeat what they read while that was going on: the sum never falls.
Where there is no `/proc` these figures are missing.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import platform
import resource
import time
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from tidegate import __version__
from tidegate.memory import InstanceWord, Segment, SlotState, SlotWord
from tidegate.metrics.families import build, configuration, process, python, requests, workers
from tidegate.metrics.families.series import SERIES
from tidegate.metrics.family import Family
from tidegate.metrics.registry import Registry

Samples = list[tuple[tuple[str, ...], float]]

LATEST_SHOWN_S = 120.0
"""How long the page shows what somebody told us once; later it may be true no more."""

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
_READS_A_STEP = 8
_TRIES = 20
_RETRY_S = 0.005


class ProcessReading(NamedTuple):
    """One process at one moment."""

    cpu_s: float
    resident_bytes: int
    virtual_bytes: int
    threads: int
    open_fds: int
    max_fds: int


def read_process(pid: int) -> ProcessReading | None:
    """Read a process's figures (about 50 µs), or None when there is no such process."""
    try:
        with open(f"/proc/{pid}/stat", "rb", buffering=0) as file:
            stat = file.read()
    except OSError:
        return None
    # The second field is the program's name in brackets, which may itself hold brackets.
    fields = stat[stat.rindex(b")") + 2 :].split()
    return ProcessReading(
        cpu_s=(int(fields[11]) + int(fields[12])) / _TICKS_PER_S,
        resident_bytes=int(fields[21]) * _PAGE_BYTES,
        virtual_bytes=int(fields[20]),
        threads=int(fields[17]),
        open_fds=_open_fds(pid),
        max_fds=_max_fds(pid),
    )


def _open_fds(pid: int) -> int:
    path = f"/proc/{pid}/fd"
    try:
        # Linux 6.2 and later tell the number as the folder's size; listing 10,000 takes 5 ms.
        return os.stat(path).st_size or len(os.listdir(path))
    except OSError:
        return 0  # a zombie, or just gone


def _max_fds(pid: int) -> int:
    try:
        soft, _ = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    except OSError:
        return 0
    return soft


@contextlib.contextmanager
def reaping(segment: Segment) -> Iterator[None]:
    """Mark the time in which the supervisor waits for dead children and buries them.

    Wrap both `waitpid` and `bury` in it: between them a child's CPU time is in neither place.
    """
    words = segment.words
    words[InstanceWord.REAPS] |= 1
    try:
        yield
    finally:
        words[InstanceWord.REAPS] = (words[InstanceWord.REAPS] | 1) + 1


def bury(registry: Registry, slot: int, usage: resource.struct_rusage | None) -> None:
    """Free *slot* once `waitpid` has returned for its owner; keep what it has used.

    Its gauges become zero, its counters stay for the next owner.

    Args:
        registry: The supervisor's.
        slot: The dead process's slot.
        usage: What `os.wait4` returned, if it could be had.
    """
    segment = registry.segment
    registry.release_gauges(slot)
    if usage is not None:
        cpu_s = usage.ru_utime + usage.ru_stime
        registry.counter(process.CPU).series.inc(cpu_s)
        if slot in segment.worker_slots:
            registry.counter(workers.WORKER_CPU).labels(str(slot)).inc(cpu_s)
    segment.release(slot)


class GarbageCounters:
    """This process's `gc` statistics as counters that go on where a predecessor's ended.

    From `gc.get_stats`, not from its callbacks: those run in whatever thread collected, and
    only the loop's thread writes cells.
    """

    __slots__ = ("_last", "_series")

    def __init__(self, registry: Registry) -> None:
        families = {
            "collections": python.GC_COLLECTIONS,
            "collected": python.GC_OBJECTS_COLLECTED,
            "uncollectable": python.GC_OBJECTS_UNCOLLECTABLE,
        }
        self._series = [
            (generation, key, registry.counter(family).labels(str(generation)))
            for generation in range(3)
            for key, family in families.items()
        ]
        self._last = [dict.fromkeys(families, 0) for _ in range(3)]

    def store(self) -> None:
        """Bring the cells up to date (2 µs). Call about once a second, and before a render."""
        stats = gc.get_stats()
        for generation, key, series in self._series:
            grown = stats[generation][key] - self._last[generation][key]
            if grown:
                series.inc(grown)
        self._last = stats


class RuntimeFigures:
    """Works out the families that are declared `computed`."""

    __slots__ = ("_info", "_registry", "_segment")

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._segment = registry.segment
        major, minor, patchlevel = platform.python_version_tuple()
        implementation, version = platform.python_implementation(), platform.python_version()
        self._info = (implementation, major, minor, patchlevel, version)

    async def read(self) -> dict[str, Samples]:
        """Return the samples of every computed family, by name; pauses between processes."""
        segment = self._segment
        readings, dead_cpu_s, worker_dead_cpu_s = await self._read_processes()
        found: dict[str, Samples] = {}

        def single(family: Family, value: float) -> None:
            found[family.name] = [((), value)]

        everyone = readings.values()
        single(process.CPU, dead_cpu_s + sum(one.cpu_s for one in everyone))
        single(process.RESIDENT_MEMORY, sum(one.resident_bytes for one in everyone))
        single(process.VIRTUAL_MEMORY, sum(one.virtual_bytes for one in everyone))
        single(process.OPEN_FDS, sum(one.open_fds for one in everyone))
        single(process.MAX_FDS, sum(one.max_fds for one in everyone))
        single(process.START_TIME, segment.started_at_s)
        single(python.PYTHON_THREADS, sum(one.threads for one in everyone))
        single(configuration.CONFIG_GENERATION, segment.words[InstanceWord.GENERATION])
        found[python.PYTHON_INFO.name] = [(self._info, 1.0)]
        found[build.BUILD_INFO.name] = [((__version__,), 1.0)]
        latest = [f for f in self._registry.families.values() if f.merge == "latest"]
        found[SERIES.name] = [
            ((name,), float(len(self._registry.places_of(family))))
            for name, family in self._registry.families.items()
            if not family.computed or family in latest
        ]
        for family in latest:
            found[family.name] = self._latest(family)
        found.update(self._of_workers(readings, worker_dead_cpu_s))
        return found

    async def _read_processes(
        self,
    ) -> tuple[dict[int, ProcessReading], float, Mapping[int, float]]:
        """Return the live processes by slot, the CPU seconds of the dead ones, and by slot.

        What is read while the supervisor moves figures from the first to the second is thrown
        away. A supervisor that stands still for over 100 ms in there is not waited for.
        """
        words = self._segment.words
        for _ in range(_TRIES):
            before = words[InstanceWord.REAPS]
            readings = await self._read_live()
            dead_cpu_s = self._counted(process.CPU)[()]
            by_slot = {
                int(labels[0]): value for labels, value in self._counted(workers.WORKER_CPU).items()
            }
            if not before & 1 and words[InstanceWord.REAPS] == before:
                break
            await asyncio.sleep(_RETRY_S)
        return readings, dead_cpu_s, by_slot

    async def _read_live(self) -> dict[int, ProcessReading]:
        readings = {}
        for slot in range(self._segment.slots):
            pid = self._segment.get(slot, SlotWord.PID)
            reading = read_process(pid) if pid else None
            if reading is not None:
                readings[slot] = reading
                if len(readings) % _READS_A_STEP == 0:
                    await asyncio.sleep(0)
        return readings

    def _counted(self, family: Family) -> dict[tuple[str, ...], float]:
        """Return the series of a counter, summed over all slots."""
        segment = self._segment
        return {
            labels: sum(segment.cells(slot)[first] for slot in range(segment.slots))
            for labels, first in self._registry.places_of(family).items()
        }

    def _latest(self, family: Family) -> Samples:
        """Return of each series the value stored last by any process, while it is recent."""
        views = [self._segment.cells(slot) for slot in range(self._segment.slots)]
        since_s = time.monotonic() - LATEST_SHOWN_S
        samples: Samples = []
        for labels, first in self._registry.places_of(family).items():
            stored_s, value = max((cells[first + 1], cells[first]) for cells in views)
            if stored_s >= since_s and stored_s > 0.0:
                samples.append((labels, value))
        return samples

    def _of_workers(
        self, readings: Mapping[int, ProcessReading], dead_cpu_s: Mapping[int, float]
    ) -> dict[str, Samples]:
        segment = self._segment
        found: dict[str, Samples] = {}
        in_flight = self._registry.places_of(requests.REQUESTS_IN_FLIGHT).get(())
        nothing = ProcessReading(0.0, 0, 0, 0, 0, 0)
        for slot in segment.worker_slots:
            if not segment.get(slot, SlotWord.INCARNATION):
                continue
            one = readings.get(slot, nothing)
            ready = segment.get(slot, SlotWord.STATE) == SlotState.READY
            figures: dict[Family, float] = {
                workers.WORKER_UP: float(ready and slot in readings),
                workers.WORKER_CPU: one.cpu_s + dead_cpu_s.get(slot, 0.0),
                workers.WORKER_MEMORY: one.resident_bytes,
                workers.WORKER_OPEN_FDS: one.open_fds,
                workers.WORKER_MAX_FDS: one.max_fds,
                workers.WORKER_IN_FLIGHT: (
                    0.0 if in_flight is None else segment.cells(slot)[in_flight]
                ),
                workers.WORKER_CONNECTIONS: segment.get(slot, SlotWord.CONNECTIONS),
                workers.WORKER_GENERATION: segment.get(slot, SlotWord.GENERATION),
            }
            for family, value in figures.items():
                found.setdefault(family.name, []).append(((str(slot),), value))
        return found
