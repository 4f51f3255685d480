"""The measurements. Each takes running systems and returns figures with units in their names."""

from __future__ import annotations

import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import uvloop

from bench.cpu import (
    arguments,
    core_busy_ns,
    cpu_ns,
    process_tree,
    proportional_bytes,
    resident_bytes,
)
from bench.load import (
    LoadError,
    ask_at_rate,
    ask_streams_in_turn,
    request_bytes,
    run_wrk,
    stream_content,
)
from bench.payloads import BODIES, STREAM_EVENTS, chat_body
from bench.systems import PATH, ROOT, Gateway, Mock, Nginx, System

_MIB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Spread:
    """A figure measured several times."""

    median: float
    least: float
    most: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Return median and bounds of some values."""
        return cls(statistics.median(values), min(values), max(values))


@dataclass(frozen=True, slots=True)
class CpuRow:
    """CPU time of two process trees for the same work, measured in turn."""

    work: str
    connections: int
    nginx_us: Spread
    tidegate_us: Spread
    ratio: Spread
    beside_worker_us: float
    """What of the gateway's time its supervisor and control process took."""
    nginx_per_s: float
    tidegate_per_s: float
    foreign_share: float
    """Share of the tested core's time that other programs took: above 0.1, read ratios only."""


def cpu_row(
    work: str,
    nginx: Nginx,
    gateway: Gateway,
    body: bytes,
    *,
    stream: bool = False,
    path: str = PATH,
    connections: int = 32,
    rounds: int = 3,
    duration_s: int = 3,
) -> CpuRow:
    """Measure CPU microseconds per completed request of nginx and the gateway, round by round.

    A ratio is taken inside each round, so that what else the machine does weighs on both.

    Raises:
        LoadError: An answer failed, or a stream arrived with too few bytes.
    """
    beside_us: list[float] = []
    foreign: list[float] = []
    cost_us: dict[str, list[float]] = {"nginx": [], "tidegate": []}
    per_s: dict[str, list[float]] = {"nginx": [], "tidegate": []}
    with tempfile.NamedTemporaryFile(suffix=".json") as file:
        file.write(body)
        file.flush()
        for number in range(rounds + 1):
            for system in (nginx, gateway):
                port = system.stream_port if stream else system.whole_port
                began, busy_before = time.perf_counter(), core_busy_ns(system.core)
                before = cpu_ns(system.pid)
                result = run_wrk(
                    system,
                    port,
                    Path(file.name),
                    connections=connections,
                    duration_s=duration_s if number else 1,
                    path=path,
                )
                used = {pid: ns - before.get(pid, 0) for pid, ns in cpu_ns(system.pid).items()}
                used_ns = sum(used.values())
                busy_ns = core_busy_ns(system.core) - busy_before
                elapsed_ns = (time.perf_counter() - began) * 1e9
                if stream and result.bytes < result.requests * STREAM_EVENTS * 100:
                    raise LoadError(f"{system.name}: {result.bytes / result.requests:.0f} B each")
                if number:  # the first round warms caches and pools
                    cost_us[system.name].append(used_ns / 1e3 / result.requests)
                    per_s[system.name].append(result.requests / result.duration_s)
                    foreign.append(max(0.0, busy_ns - used_ns) / elapsed_ns)
                    if system is gateway:
                        beside_us.append((used_ns - max(used.values())) / 1e3 / result.requests)
    ratios = [ours / floor for ours, floor in zip(*reversed(cost_us.values()), strict=True)]
    return CpuRow(
        work,
        connections,
        Spread.of(cost_us["nginx"]),
        Spread.of(cost_us["tidegate"]),
        Spread.of(ratios),
        statistics.median(beside_us),
        statistics.median(per_s["nginx"]),
        statistics.median(per_s["tidegate"]),
        statistics.median(foreign),
    )


@dataclass(frozen=True, slots=True)
class TimeRow:
    """Milliseconds of single requests through one system."""

    system: str
    p50_ms: float
    p99_ms: float
    added_p50_ms: float
    added_p99_ms: float


def _time_rows(took_s: dict[str, list[float]]) -> list[TimeRow]:
    def percentile(values: list[float], share: float) -> float:
        ordered = sorted(values)
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))] * 1e3

    floor_p50, floor_p99 = (percentile(took_s["direct"], share) for share in (0.5, 0.99))
    rows = []
    for name, values in took_s.items():
        p50, p99 = percentile(values, 0.5), percentile(values, 0.99)
        rows.append(TimeRow(name, p50, p99, p50 - floor_p50, p99 - floor_p99))
    return rows


def latency_rows(
    systems: Sequence[System], *, requests_per_s: int = 200, count: int = 1_000, rounds: int = 3
) -> list[TimeRow]:
    """Measure whole answers at a fixed rate, in turn through each system."""
    took_s: dict[str, list[float]] = {system.name: [] for system in systems}

    async def measure() -> None:
        for _ in range(rounds):
            for system in systems:
                request = request_bytes(system, BODIES["1.7 KB"])
                took_s[system.name] += await ask_at_rate(
                    system.whole_port,
                    request,
                    requests_per_s=requests_per_s,
                    count=count // rounds,
                )

    uvloop.run(measure())
    return _time_rows(took_s)


def lone_stream_rows(
    systems: Sequence[System], *, count: int = 300, rounds: int = 3
) -> list[TimeRow]:
    """Measure one back-to-back stream at a time, from the request to its last byte.

    Raises:
        LoadError: A stream had not all its events, or no `[DONE]`.
    """
    took_s: dict[str, list[float]] = {system.name: [] for system in systems}
    body = chat_body(stream=True)

    for _ in range(rounds):
        for system in systems:
            answers = ask_streams_in_turn(
                system.stream_port, request_bytes(system, body), count=count // rounds
            )
            for took, answer in answers:
                events = stream_content(answer).split(b"\n\n")
                if len(events) != STREAM_EVENTS + 1 or events[-2] != b"data: [DONE]":
                    raise LoadError(f"{system.name}: a stream of {len(events) - 1} events")
                took_s[system.name].append(took)
    return _time_rows(took_s)


@dataclass(frozen=True, slots=True)
class MemoryRow:
    """Memory of one process; shared pages count in full (`rss`) or by their share (`pss`)."""

    process: str
    rss_mib: float
    pss_mib: float


def memory_rows(system: System) -> list[MemoryRow]:
    """Measure each process of a tree, and their sum."""
    rows = []
    for pid in process_tree(system.pid):
        words = arguments(pid).split()
        module = words[words.index("-m") + 1] if "-m" in words else Path(words[0]).name
        rows.append(
            MemoryRow(
                f"{system.name}: {module}",
                resident_bytes(pid) / _MIB,
                proportional_bytes(pid) / _MIB,
            )
        )
    total = MemoryRow(
        f"{system.name}: all", sum(r.rss_mib for r in rows), sum(r.pss_mib for r in rows)
    )
    return [*rows, total]


@dataclass(frozen=True, slots=True)
class StartRow:
    """Seconds from the start of the process."""

    start: str
    ready_s: Spread
    first_answer_s: Spread


def start_rows(folder: Path, core: int | None, mock: Mock, *, count: int = 5) -> list[StartRow]:
    """Measure the time to the ready line and to the first 200, with no data and with some."""
    rows = []
    for label, is_first in (("first, empty data directory", True), ("again", False)):
        ready_s, answer_s = [], []
        for number in range(count):
            place = folder / (f"start-{number}" if is_first else "start-again")
            gateway = Gateway(place, core, mock)
            if not is_first and not number:
                gateway.start()
                gateway.stop()
            began = time.perf_counter()
            try:
                ready_s.append(gateway.start())
                request = request_bytes(gateway, BODIES["1.7 KB"])
                uvloop.run(ask_at_rate(gateway.whole_port, request, requests_per_s=1, count=1))
                answer_s.append(time.perf_counter() - began)
            finally:
                gateway.stop()
        rows.append(StartRow(label, Spread.of(ready_s), Spread.of(answer_s)))
    return rows


@dataclass(frozen=True, slots=True)
class InstallSize:
    """What `pip install` of the package brings, pip itself left out."""

    mib: float
    packages: int


def install_size() -> InstallSize:
    """Install the package into a new environment and weigh it. Needs a package registry."""
    folder = Path(tempfile.mkdtemp(prefix="tidegate-size-"))
    try:
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        python = folder / "bin" / "python"
        subprocess.run(
            [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", ROOT],
            check=True,
            stderr=subprocess.DEVNULL,
        )
        subprocess.run(
            [python, "-m", "pip", "uninstall", "--quiet", "--yes", "setuptools"],
            check=True,
            stderr=subprocess.DEVNULL,
        )
        site = next(folder.glob("lib/python*/site-packages"))
        packages = [p for p in site.glob("*.dist-info") if not p.name.startswith("pip-")]
        size = sum(
            path.stat().st_size
            for path in site.rglob("*")
            if path.is_file() and path.relative_to(site).parts[0].partition("-")[0] != "pip"
        )
        return InstallSize(size / _MIB, len(packages))
    finally:
        shutil.rmtree(folder)


def as_json(value: object) -> object:
    """Return rows as plain lists and objects."""
    if isinstance(value, list):
        return [as_json(item) for item in value]
    return asdict(value)  # type: ignore[call-overload]
