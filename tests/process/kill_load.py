"""Many clients on a gateway whose workers are killed: what they saw, against what was counted.

Used by the short test here and by the long `make torture`.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sqlite3
import time
from collections import Counter
from pathlib import Path

from tests.running import RunningGateway, counters

WATCHED = (
    "rate_limit_allowed_total",
    "rate_limit_blocked_total",
    "tidegate_requests_total",
    "tidegate_tokens_total",
)


class Observation:
    """What the clients of one run saw.

    Attributes:
        statuses: Answers by status.
        doubtful: Requests sent whose answer never came whole.
        refused: Connections that the listener refused.
        request_ids: Ids of the 200s.
        admitted_at: Monotonic time of each 200 of the limited key.
        fallen: Counters that a scrape saw lower than the one before.
        kills: Workers killed.
        scrapes: Pages read.
    """

    def __init__(self) -> None:
        self.statuses: Counter[int] = Counter()
        self.doubtful = 0
        self.refused = 0
        self.request_ids: set[str] = set()
        self.admitted_at: list[float] = []
        self.fallen: list[str] = []
        self.kills = 0
        self.scrapes = 0


async def observe(
    gateway: RunningGateway,
    keys: list[str],
    *,
    clients: int,
    duration_s: float,
    kill_every_s: float,
    seed: int = 1,
) -> Observation:
    """Run load, kills and scrapes for *duration_s*; the last key is the limited one."""
    seen = Observation()
    stop_at = time.monotonic() + duration_s
    tasks = [
        asyncio.create_task(_client(gateway.port, keys[n % len(keys)], n, keys[-1], stop_at, seen))
        for n in range(clients)
    ]
    tasks.append(asyncio.create_task(_scrapes(gateway.port, stop_at, seen)))
    tasks.append(
        asyncio.create_task(_kills(gateway, kill_every_s, stop_at, seen, random.Random(seed)))
    )
    await asyncio.gather(*tasks)
    return seen


async def _client(
    port: int, key: str, number: int, limited: str, stop_at: float, seen: Observation
) -> None:
    body = b'{"model":"plain","messages":[{"role":"user","content":"n%d"}]}' % number
    request = (
        b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %b\r\n"
        b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n%b"
        % (key.encode(), len(body), body)
    )
    while time.monotonic() < stop_at:
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            seen.refused += 1
            await asyncio.sleep(0.01)
            continue
        try:
            while time.monotonic() < stop_at:
                writer.write(request)
                try:
                    status, head = await _answer(reader)
                except (OSError, asyncio.IncompleteReadError):
                    seen.doubtful += 1
                    break
                seen.statuses[status] += 1
                if status == 200:
                    seen.request_ids.add(_header(head, b"x-request-id"))
                    if key == limited:
                        seen.admitted_at.append(time.monotonic())
                if b"connection: close" in head:
                    break
        finally:
            writer.close()


async def _answer(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    head = await reader.readuntil(b"\r\n\r\n")
    await reader.readexactly(int(_header(head, b"content-length")))
    return int(head[9:12]), head


def _header(head: bytes, name: bytes) -> str:
    start = head.index(b"\r\n" + name + b": ") + len(name) + 4
    return head[start : head.index(b"\r\n", start)].decode()


async def _scrapes(port: int, stop_at: float, seen: Observation) -> None:
    last = dict.fromkeys(WATCHED, 0.0)
    while time.monotonic() < stop_at:
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            page = (await reader.read(-1)).split(b"\r\n\r\n", 1)
            writer.close()
        except OSError:
            continue
        if len(page) == 2 and page[0].startswith(b"HTTP/1.1 200") and page[1].endswith(b"\n"):
            seen.scrapes += 1
            total = counters(page[1].decode())
            for name in WATCHED:
                value = total(name)
                if value < last[name]:
                    seen.fallen.append(f"{name}: {last[name]} then {value}")
                last[name] = value
        await asyncio.sleep(0.1)


async def _kills(
    gateway: RunningGateway, every_s: float, stop_at: float, seen: Observation, rng: random.Random
) -> None:
    await asyncio.sleep(every_s)
    while time.monotonic() < stop_at - every_s:
        pids = worker_pids(gateway)
        if pids:
            os.kill(rng.choice(pids), signal.SIGKILL)
            seen.kills += 1
        await asyncio.sleep(every_s)


def worker_pids(gateway: RunningGateway) -> list[int]:
    """Return the pids of the gateway's living workers."""
    assert gateway.process is not None
    found = []
    for child in _children(gateway.process.pid):
        try:
            command = Path(f"/proc/{child}/cmdline").read_bytes()
        except OSError:
            continue
        if b"tidegate.workers.worker" in command:
            found.append(child)
    return found


def _children(pid: int) -> list[int]:
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        found += [int(child) for child in (task / "children").read_text().split()]
    return found


def ledger_rows(data_dir: Path) -> dict[str, str | None]:
    """Return outcome by attempt id of every row."""
    with sqlite3.connect(data_dir / "tidegate.db") as database:
        rows = database.execute("SELECT attempt_id, outcome FROM ledger_attempts").fetchall()
    database.close()
    assert len({row[0] for row in rows}) == len(rows)
    return dict(rows)


def check(seen: Observation, page: str, rows: dict[str, str | None]) -> list[str]:
    """Return every way in which the counts and the clients disagree; empty when exact."""
    total = counters(page)
    wrong = []

    def between(what: str, value: float, least: float, most: float) -> None:
        if not least <= value <= most:
            wrong.append(f"{what} is {value}, not within {least} and {most}")

    ok, blocked = seen.statuses[200], seen.statuses[429]
    between("allowed", total("rate_limit_allowed_total"), ok, ok + seen.doubtful)
    between("blocked", total("rate_limit_blocked_total"), blocked, blocked + seen.doubtful)
    answered = sum(seen.statuses.values())
    between("requests", total("tidegate_requests_total"), answered, answered + seen.doubtful)
    between("rows", len(rows), ok, ok + seen.doubtful)
    lost = [name for name in seen.request_ids if f"{name}:1" not in rows]
    if lost:
        wrong.append(f"{len(lost)} rows of answered requests are lost")
    unsettled = [name for name, outcome in rows.items() if outcome is None]
    if unsettled:
        wrong.append(f"{len(unsettled)} rows were never settled")
    bad = [name for name in seen.request_ids if rows.get(f"{name}:1") not in ("ok", "interrupted")]
    if bad:
        wrong.append(f"{len(bad)} rows of answered requests have another outcome")
    if seen.refused:
        wrong.append(f"{seen.refused} connections were refused")
    if set(seen.statuses) - {200, 429}:
        wrong.append(f"unexpected statuses: {dict(seen.statuses)}")
    wrong += seen.fallen
    return wrong
