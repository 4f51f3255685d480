"""Processes that share one limiter and are killed with -9 while they use it.

Run as a program: `contending_workers.py SECONDS`. It forks the workers, kills one of them
every few ms, starts another in its place, and prints what they did as one line of JSON:

    admitted     for each limit, the stamps (ns) of what it admitted, sorted
    kills        how many workers were killed
    most_running the greatest number of concurrency holds that a worker saw
    left_running the holds left when all workers were dead and cleared away
"""

from __future__ import annotations

import json
import mmap
import os
import random
import signal
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

from tidegate.clock import boottime_ns
from tidegate.limits.concurrency import WORDS_PER_SLOT, ConcurrencyTable, clear_slot
from tidegate.limits.limiter import Limiter
from tidegate.limits.rules import Rule
from tidegate.memory import LIMITER_LOCK, Segment

S = 1_000_000_000
WORKERS = 4
KILL_EVERY_S = 0.02
RATES = [
    Rule("tight", "key", "requests", 2_000, S, 100),
    Rule("wide", "global", "requests", 3_000, S, 300),
    Rule("loose", "ip", "requests", 9_000, S, 1_000),
]
RUNNING = Rule("running", "key", "concurrency", 3, S, 3)


def work(segment: Segment, counts: memoryview, slot: int, stamps_fd: int, seen_fd: int) -> None:
    """Ask without pause until killed; every admission's own stamp goes to a file at once."""
    now_ns = 0

    def clock_ns() -> int:
        nonlocal now_ns
        now_ns = boottime_ns()
        return now_ns

    table = ConcurrencyTable(counts, slot)
    limiter = Limiter(segment.limiter, segment.lock(LIMITER_LOCK), b"k" * 32, clock_ns, table)
    checks = [limiter.check(rule, b"subject") for rule in RATES]
    together = [limiter.check(RUNNING, b"subject"), *checks[2:]]
    turn, seen = 0, -1
    while True:
        turn += 1
        decision = limiter.admit(together if turn % 4 == 0 else checks)
        if decision is None:
            time.sleep(0.0002)
        elif decision.allowed:
            # "T": all three limits; "C": only the last one and a hold
            kind = b"C" if turn % 4 == 0 else b"T"
            os.write(stamps_fd, kind + now_ns.to_bytes(8, "big"))
            if turn % 4 == 0:
                running = RUNNING.amount - decision.states[0][1]
                if running > seen:
                    seen = running
                    os.write(seen_fd, bytes([seen]))
                time.sleep(0.0005)
                decision.release()
        else:
            time.sleep(0.0002)


def main(seconds: float) -> None:
    """Run the workers, kill them, and print what they did."""
    segment = Segment.create(worker_slots=WORKERS)
    size = WORKERS * WORDS_PER_SLOT * 8
    counts = memoryview(mmap.mmap(-1, size, mmap.MAP_SHARED | mmap.MAP_ANONYMOUS)).cast("q")
    chance = random.Random(7)
    with TemporaryDirectory() as directory:
        flags = os.O_CREAT | os.O_WRONLY | os.O_APPEND
        seen_path, stamp_paths = Path(directory, "seen"), []
        seen_fd = os.open(seen_path, flags)

        def start(slot: int) -> int:
            # A file for each process: what a kill tore off ends it.
            path = Path(directory, f"stamps{len(stamp_paths)}")
            path.touch()
            stamp_paths.append(path)
            pid = os.fork()
            if pid == 0:
                try:
                    work(segment, counts, slot, os.open(path, flags), seen_fd)
                finally:
                    os._exit(1)
            return pid

        pids = [start(slot) for slot in range(WORKERS)]
        kills, early_deaths = 0, 0
        end = time.monotonic() + seconds
        try:
            while time.monotonic() < end:
                time.sleep(chance.uniform(0, 2 * KILL_EVERY_S))
                slot = chance.randrange(WORKERS)
                early_deaths += _kill(pids[slot])
                clear_slot(counts, slot)
                kills += 1
                pids[slot] = start(slot)
        finally:
            for slot, pid in enumerate(pids):
                early_deaths += _kill(pid)
                clear_slot(counts, slot)
        if early_deaths:
            raise SystemExit(f"{early_deaths} workers died by themselves")
        by_kind: dict[str, list[int]] = {"T": [], "C": []}
        for path in stamp_paths:
            data = path.read_bytes()
            for at in range(0, len(data) - 8, 9):
                kind = chr(data[at])
                by_kind[kind].append(int.from_bytes(data[at + 1 : at + 9], "big"))
        three, last = sorted(by_kind["T"]), sorted(by_kind["T"] + by_kind["C"])
        result = {
            "admitted": {"tight": three, "wide": three, "loose": last},
            "kills": kills,
            "most_running": max(seen_path.read_bytes(), default=0),
            "left_running": sum(counts[1::2].tolist()),
        }
    print(json.dumps(result))  # noqa: T201


def _kill(pid: int) -> bool:
    """Kill and reap a worker; return whether it had died of something else."""
    os.kill(pid, signal.SIGKILL)
    _, status = os.waitpid(pid, 0)
    return not os.WIFSIGNALED(status)


if __name__ == "__main__":
    main(float(sys.argv[1]))
