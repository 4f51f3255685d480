"""Many lives of the workers' slots: each writes, is killed with -9, buried, and the next goes on.

What is held against each other is one process's memory, the size of the shared memory and the
time of a page, after a tenth of the lives and after all of them.
"""

from __future__ import annotations

import asyncio
import os
import signal
import statistics
import time
from typing import NamedTuple

from tidegate.memory import SUPERVISOR_SLOT, Segment
from tidegate.metrics.page import MetricsPage
from tidegate.metrics.registry import Registry
from tidegate.metrics.runtime import bury

WORKERS = 4
MODELS = 20


class Lives(NamedTuple):
    """What a run found: KiB, bytes and seconds after its first tenth and at its end."""

    lives: int
    counted: float
    memory_kib: tuple[int, int]
    segment_bytes: tuple[int, int]
    page_s: tuple[float, float]
    page_bytes: tuple[int, int]


def run(lives: int) -> Lives:
    """Let *lives* workers live and die, one after the other in each slot."""
    segment = Segment.create(worker_slots=WORKERS)
    registry = Registry(segment, SUPERVISOR_SLOT)
    memory, sizes, pages, lengths = [], [], [], []
    try:
        for number in range(lives):
            _live_and_die(segment, registry, segment.worker_slots[number % WORKERS], number)
            if number + 1 in (max(1, lives // 10), lives):
                memory.append(_resident_kib())
                sizes.append(os.fstat(segment.fd).st_size)
                spent_s, length = asyncio.run(_page_cost(segment, registry))
                pages.append(spent_s)
                lengths.append(length)
        counted = sum(
            segment.cells(slot)[_place(registry)]
            for slot in (*segment.worker_slots, SUPERVISOR_SLOT)
        )
    finally:
        segment.close()
    return Lives(
        lives,
        counted,
        (memory[0], memory[-1]),
        (sizes[0], sizes[-1]),
        (pages[0], pages[-1]),
        (lengths[0], lengths[-1]),
    )


def _live_and_die(segment: Segment, registry: Registry, slot: int, number: int) -> None:
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            segment.claim(slot)
            own = Registry(segment, slot)
            own.counter(own.families["rate_limit_allowed_total"]).series.inc()
            own.counter(own.families["tidegate_tokens_total"]).labels(
                "p", f"m{number % MODELS}", "input"
            ).inc(3)
            own.gauge(own.families["tidegate_requests_in_flight"]).series.inc()
            os.write(writer, b"x")
            signal.pause()
        finally:
            os._exit(1)
    os.close(writer)
    assert os.read(reader, 1) == b"x"
    os.close(reader)
    os.kill(pid, signal.SIGKILL)
    _, _, usage = os.wait4(pid, 0)
    bury(registry, slot, usage)


async def _page_cost(segment: Segment, registry: Registry) -> tuple[float, int]:
    page = MetricsPage(segment, registry)
    _, body = await page.render(None, None)
    spent = []
    for _ in range(7):
        begun = time.process_time()
        await page.render(None, None)
        spent.append(time.process_time() - begun)
    return statistics.median(spent), len(body)


def _place(registry: Registry) -> int:
    series = registry.counter(registry.families["rate_limit_allowed_total"]).series
    return series._first


def _resident_kib() -> int:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") // 1024
