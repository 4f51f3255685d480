"""Steady load on a gateway while its database server is taken away.

Used by the short test here and by the long `make torture`.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from pathlib import Path

from kill_load import worker_pids
from tests.postgres_server import PostgresServer
from tests.running import RunningGateway, counters

CLIENTS = 8
CONFIG = """
providers:
  acme: {{kind: openai-compatible, base_url: "{url}", api_key: env:ACME_KEY}}
models:
  plain: {{targets: [{{provider: acme, model: plain}}]}}
stores: {{database: env:DATABASE_URL}}
"""


class SteadyLoad:
    """Clients that ask *per_s* times a second altogether; use as an async context manager.

    Attributes:
        outcomes: Answers by status, other ends by the name of their error.
    """

    def __init__(self, port: int, key: str, per_s: float) -> None:
        body = b'{"model":"plain","messages":[{"role":"user","content":"x"}]}'
        self._request = (
            b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %b\r\n"
            b"Content-Length: %d\r\n\r\n%b" % (key.encode(), len(body), body)
        )
        self._port = port
        self._pause_s = CLIENTS / per_s
        self._stop = asyncio.Event()
        self._clients: list[asyncio.Task[None]] = []
        self.outcomes: Counter[str] = Counter()

    async def __aenter__(self) -> SteadyLoad:
        self._clients = [asyncio.create_task(self._ask()) for _ in range(CLIENTS)]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._stop.set()
        await asyncio.gather(*self._clients)

    async def _ask(self) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        due_s = time.monotonic()
        while not self._stop.is_set():
            try:
                async with asyncio.timeout(5):
                    writer.write(self._request)
                    head = await reader.readuntil(b"\r\n\r\n")
                    length = head.lower().split(b"content-length: ")[1].split(b"\r\n")[0]
                    await reader.readexactly(int(length))
                self.outcomes[head[9:12].decode()] += 1
            except (OSError, asyncio.IncompleteReadError) as error:
                self.outcomes[type(error).__name__] += 1
                writer.close()
                reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
            due_s += self._pause_s
            await asyncio.sleep(max(0.0, due_s - time.monotonic()))
        writer.close()


async def outage(
    gateway: RunningGateway,
    server: PostgresServer,
    database: str,
    key: str,
    *,
    per_s: float,
    stopped_s: float,
    frozen_s: float,
) -> tuple[Counter[str], list[str]]:
    """Stop the server, start it, freeze it, thaw it; return what clients saw and what is wrong."""
    wrong: list[str] = []
    loop = asyncio.get_running_loop()
    memory_before = _resident_kib(gateway)

    def pending() -> float:
        return counters(gateway.page())("tidegate_ledger_pending_bytes")

    async with SteadyLoad(gateway.port, key, per_s) as load:
        await asyncio.sleep(1.0)
        await loop.run_in_executor(None, server.stop)
        await asyncio.sleep(stopped_s)
        waiting = await loop.run_in_executor(None, pending)
        if waiting < stopped_s * per_s * 50:
            wrong.append(f"only {waiting} bytes wait in the journals")
        await loop.run_in_executor(None, server.start)
        await asyncio.sleep(1.0)
        with server.frozen():
            await asyncio.sleep(frozen_s)
        await asyncio.sleep(1.0)
    outcomes = load.outcomes
    failed = {name: count for name, count in outcomes.items() if name != "200"}
    if failed:
        wrong.append(f"requests failed: {failed}")
    until_s = time.monotonic() + 30.0
    rows, ids, ended = 0, 0, 0
    while time.monotonic() < until_s and (rows, ended) != (outcomes["200"],) * 2:
        await asyncio.sleep(0.2)
        ((rows, ids, ended),) = [
            tuple(map(int, row))
            for row in server.query(
                "SELECT count(*), count(DISTINCT attempt_id), count(outcome) FROM ledger_attempts",
                database,
            )
        ]
    if (rows, ids, ended) != (outcomes["200"],) * 3:
        wrong.append(f"{outcomes['200']} answers, {rows} rows of {ids} attempts, {ended} ended")
    done = await loop.run_in_executor(
        None, gateway.run_cli, "ledger", "verify", "--config", str(gateway.config)
    )
    if done.returncode:
        wrong.append(done.stdout + done.stderr)
    grown = _resident_kib(gateway) - memory_before
    if grown > 24 * 1024:
        wrong.append(f"the processes have grown by {grown} KiB")
    return outcomes, wrong


def complaints(gateway: RunningGateway) -> list[dict[str, object]]:
    """Return what control has logged of jobs that failed."""
    found = []
    for line in gateway.log.read_text().splitlines():
        if '"a job failed"' in line:
            found.append(json.loads(line))
    return found


def _resident_kib(gateway: RunningGateway) -> int:
    """Return the memory of the workers and of control, without what they share."""
    assert gateway.process is not None
    pids = worker_pids(gateway)
    for task in Path(f"/proc/{gateway.process.pid}/task").iterdir():
        for child in (task / "children").read_text().split():
            if b"tidegate.control.main" in Path(f"/proc/{child}/cmdline").read_bytes():
                pids.append(int(child))
    total = 0
    for pid in pids:
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("RssAnon:"):
                total += int(line.split()[1])
    return total
