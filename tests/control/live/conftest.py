"""An instance's shared memory and a live view over it, with a clock that the test moves."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tidegate.control.live.history import History
from tidegate.control.live.key_tally import KeyTally
from tidegate.control.live.ring import COARSE, FINE, Frame, open_ring
from tidegate.control.live.sampler import Sampler
from tidegate.memory import CONTROL_SLOT, FIRST_WORKER_SLOT, InstanceWord, Segment
from tidegate.metrics.registry import Registry


class LiveStand:
    """One instance: a worker's registry to write to, and what is read of it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.now_s = 1_800_000_000
        self.tally = KeyTally()
        self.start_instance()
        self.start_control()

    def start_instance(self) -> None:
        """Begin another life of the instance: all counters are zero."""
        self.segment = Segment.create(worker_slots=4)
        self.segment.words[InstanceWord.STARTED_AT_NS] = (self.now_s - 5) * 10**9
        self.worker = Registry(self.segment, FIRST_WORKER_SLOT)
        self.other_worker = Registry(self.segment, FIRST_WORKER_SLOT + 1)

    def start_control(self) -> None:
        """Begin another control process."""
        self.ring = open_ring(self.path)
        self.sampler = Sampler(Registry(self.segment, CONTROL_SLOT), self.ring, self.tally)
        self.history = History(self.ring)

    async def second(self, count: int = 1) -> None:
        """Let time pass, reading each second."""
        for _ in range(count):
            self.now_s += 1
            cells = await self.sampler.read()
            boot = self.sampler.boot
            self.ring.write(FINE, self.now_s, boot, cells)
            self.history.enter(FINE, Frame(self.now_s, boot, cells))
            if self.now_s % COARSE.step_s == 0:
                self.ring.write(COARSE, self.now_s, boot, cells)
                self.history.enter(COARSE, Frame(self.now_s, boot, cells))

    def family(self, name: str):
        return self.worker.families[name]

    def count(self, name: str, *labels: str, by: float = 1.0) -> None:
        self.worker.counter(self.family(name)).labels(*labels).inc(by)

    def observe(self, name: str, value: float, *labels: str, times: int = 1) -> None:
        series = self.worker.histogram(self.family(name)).labels(*labels)
        for _ in range(times):
            series.observe(value)

    def latest(self, by: str, name: str, label: str = "") -> float | None:
        """Return the newest figure of a line."""
        for key, value in self.history.latest.items():
            if (key.by, key.name, key.label) == (by, name, label):
                return value
        return None

    def values(self, by: str, name: str, label: str = "", tier=FINE) -> list[float | None]:
        """Return a line over its whole range."""
        for key, _, values in self.history.values(tier, by):
            if (key.name, key.label) == (name, label):
                return values
        return []


@pytest.fixture
def stand(tmp_path: Path) -> Iterator[LiveStand]:
    made = LiveStand(tmp_path / "live.ring")
    yield made
    made.ring.close()
    made.segment.close()
