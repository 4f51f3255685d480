# ruff: noqa: T201 (a command; what it prints is its result)
"""`make torture`: the long forms of the process tests, on real processes, bounded in time.

    python tests/process/torture.py [kills] [tree] [reloads] [drain] [postgres] [--seconds 60]

Each scenario prints what it did and every disagreement that it found; exit 1 if any.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import outage_load
from kill_load import check, ledger_rows, observe, worker_pids
from test_exact_through_kills import CONFIG, ENVIRONMENT, NARROW, WIDE
from tests.fakes.openai_upstream import KEY, OpenAIUpstream
from tests.postgres_server import PostgresServer, binaries
from tests.process.respawns import run as lives_of_workers
from tests.running import RunningGateway, counters

#: Where the tree is killed: the nth call of a system call on the way of a record to the disk.
KILL_POINTS = [
    (process, call, number)
    for process, call, numbers in (
        ("worker", "write", (1, 2, 3, 5, 7, 11, 20, 35)),
        ("control", "pwrite64", (1, 2, 3, 5, 8, 13, 21, 34)),
        ("control", "fdatasync", (1, 2, 3, 5, 7, 10)),
        ("control", "read", (1, 3, 7, 20)),
        ("control", "openat", (1, 2, 3)),
        ("control", "rename", (1, 2)),
    )
    for number in numbers
]


def config_of(upstream: OpenAIUpstream) -> str:
    """The configuration of all scenarios."""
    text = CONFIG.format(url=upstream.url, amount=100, burst=20)
    return text.replace(
        "models:\n", "models:\n  slow: {targets: [{provider: acme, model: slow}]}\n"
    )


def kills(folder: Path, seconds: float) -> list[str]:
    """Four workers, 64 clients, a worker killed every second."""
    with OpenAIUpstream() as upstream:
        gateway = RunningGateway(folder, config_of(upstream), workers=4, environment=ENVIRONMENT)
        with gateway:
            seen = asyncio.run(
                observe(
                    gateway,
                    [WIDE, WIDE, WIDE, NARROW],
                    clients=64,
                    duration_s=seconds,
                    kill_every_s=1.0,
                )
            )
            page = gateway.page()
        wrong = check(seen, page, ledger_rows(gateway.data_dir))
    admitted = len(seen.admitted_at)
    most = 20 + 100 * (seconds + 1) / 60
    if admitted > most:
        wrong.append(f"the limited key was admitted {admitted} times, at most {most:.0f} allowed")
    print(
        f"  {sum(seen.statuses.values())} answers, {seen.kills} kills, {seen.doubtful} in doubt, "
        f"{seen.scrapes} scrapes, limited key admitted {admitted} of {most:.0f}"
    )
    return wrong


def tree(folder: Path, seconds: float) -> list[str]:
    """Kill the whole tree at chosen system calls; after each restart the ledger is clean."""
    if shutil.which("strace") is None:
        return ["strace is missing: apt-get install strace"]
    wrong = []
    reached = 0
    with OpenAIUpstream() as upstream:
        gateway = RunningGateway(folder, config_of(upstream), workers=2, environment=ENVIRONMENT)
        for process, call, number in KILL_POINTS:
            gateway.start()
            assert gateway.process is not None
            pids = _pids_of(gateway, process)
            tracer = subprocess.Popen(
                ["strace", "-f", "-qq", "-o", "/dev/null"]
                + [argument for pid in pids for argument in ("-p", str(pid))]
                + ["-e", f"trace={call}", "-e", f"inject={call}:signal=SIGKILL:when={number}"],
                stderr=subprocess.DEVNULL,
            )
            deadline = time.monotonic() + 3.0
            while time.monotonic() < deadline and all(_alive(pid) for pid in pids):
                _ask(gateway.port)
            hit = not all(_alive(pid) for pid in pids)
            reached += hit
            if not hit:
                print(f"  {process} {call} {number} was not reached; killed all the same")
            _kill_tree(gateway)
            tracer.kill()
            tracer.wait()
            gateway.start()
            _ask(gateway.port)
            gateway.stop()
            wrong += [f"{process} {call} {number}: {text}" for text in _verify(gateway)]
    print(f"  {len(KILL_POINTS)} points, {reached} reached by the running process")
    if reached < 25:
        wrong.append(f"only {reached} points were reached, 25 are wanted")
    return wrong


def reloads(folder: Path, seconds: float) -> list[str]:
    """200 reloads, 20 of them invalid, and 20 upgrades under load: nothing fails or is cut."""
    outcomes: Counter[str] = Counter()
    sent = [0, 0]
    with OpenAIUpstream() as upstream:
        good = config_of(upstream)
        with RunningGateway(folder, good, workers=2, environment=ENVIRONMENT) as gateway:
            assert gateway.process is not None

            async def run() -> None:
                stop = asyncio.Event()
                clients = [
                    asyncio.create_task(_streaming_client(gateway.port, stop, outcomes))
                    for _ in range(16)
                ]
                for number in range(200):
                    bad = number % 10 == 9
                    changed = good.replace("requests: 1000000", f"requests: {1000000 - number}")
                    gateway.config.write_text(changed + ("nonsense: 1\n" if bad else ""))
                    gateway.process.send_signal(signal.SIGHUP)
                    sent[bad] += 1
                    # One at a time: signals that come together would count as one.
                    while _reloads(await asyncio.to_thread(gateway.page)) < sent[0] + sent[1]:
                        await asyncio.sleep(0.02)
                gateway.config.write_text(good)
                for number in range(20):
                    gateway.process.send_signal(signal.SIGUSR2)
                    while gateway.log.read_text().count('"upgrade complete"') <= number:
                        await asyncio.sleep(0.05)
                stop.set()
                await asyncio.gather(*clients)

            asyncio.run(run())
    print(f"  {dict(outcomes)}")
    return [f"{count} × {what}" for what, count in outcomes.items() if what != "whole"]


def _reloads(page: str) -> float:
    """Reloads so far, taken in or refused."""
    return counters(page)("tidegate_config_reloads_total")


def drain(folder: Path, seconds: float) -> list[str]:
    """SIGTERM with 500 live streams: all of them end whole."""
    outcomes: Counter[str] = Counter()
    with OpenAIUpstream() as upstream:
        gateway = RunningGateway(folder, config_of(upstream), workers=4, environment=ENVIRONMENT)
        gateway.start()
        process = gateway.process
        assert process is not None

        async def run() -> None:
            started: list[int] = []
            streams = [
                asyncio.create_task(_one_stream(gateway.port, "slow", outcomes, started))
                for _ in range(500)
            ]
            while len(started) < 500:
                await asyncio.sleep(0.05)
            process.send_signal(signal.SIGTERM)
            await asyncio.gather(*streams)

        asyncio.run(run())
        gateway.stop(timeout_s=60)
    print(f"  {dict(outcomes)}")
    wrong = [f"{count} × {what}" for what, count in outcomes.items() if what != "whole"]
    return wrong if outcomes["whole"] == 500 else [*wrong, f"only {outcomes['whole']} whole"]


def postgres(folder: Path, seconds: float) -> list[str]:
    """PostgreSQL stopped, then frozen, under 200 requests a second: none fails, no row is lost."""
    programs = binaries()
    if programs is None:
        return ["PostgreSQL is missing: apt-get install postgresql"]
    server = PostgresServer(programs)
    try:
        with OpenAIUpstream() as upstream:
            database = server.new_database()
            config = outage_load.CONFIG.format(url=upstream.url)
            environment = {"ACME_KEY": KEY, "DATABASE_URL": database}
            with RunningGateway(folder, config, workers=2, environment=environment) as gateway:
                key = gateway.create_key("ci", "--config", str(gateway.config))
                time.sleep(1.0)  # the time in which a key has to be known
                outcomes, wrong = asyncio.run(
                    outage_load.outage(
                        gateway,
                        server,
                        database,
                        key,
                        per_s=200,
                        stopped_s=seconds,
                        frozen_s=seconds / 4,
                    )
                )
                told = outage_load.complaints(gateway)
    finally:
        server.remove()
    print(f"  {dict(outcomes)}, {len(told)} complaints of control")
    if len(told) > 2 + seconds * 1.25 / 30:
        wrong.append(f"control complained {len(told)} times, more than twice a minute")
    return wrong


async def _streaming_client(port: int, stop: asyncio.Event, outcomes: Counter[str]) -> None:
    while not stop.is_set():
        await _one_stream(port, "plain", outcomes, [])


async def _one_stream(port: int, model: str, outcomes: Counter[str], started: list[int]) -> None:
    body = json.dumps(
        {"model": model, "stream": True, "messages": [{"role": "user", "content": "x"}]}
    )
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(
            f"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {WIDE}\r\n"
            f"Connection: close\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode()
        )
        head = await reader.readuntil(b"\r\n\r\n")
        started.append(1)
        rest = await reader.read(-1)
        writer.close()
    except (OSError, asyncio.IncompleteReadError) as error:
        started.append(1)
        outcomes[type(error).__name__] += 1
        return
    if b" 200 " not in head[:20]:
        outcomes[head[9:12].decode()] += 1
    else:
        outcomes["whole" if rest.endswith(b"data: [DONE]\n\n\r\n0\r\n\r\n") else "cut"] += 1


def _ask(port: int) -> None:
    body = b'{"model":"plain","messages":[{"role":"user","content":"x"}]}'
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/v1/chat/completions",
        body,
        {"Authorization": f"Bearer {WIDE}", "Content-Type": "application/json"},
    )
    try:
        with urllib.request.urlopen(request, timeout=3) as answer:
            answer.read()
    except OSError:
        time.sleep(0.02)


def _pids_of(gateway: RunningGateway, process: str) -> list[int]:
    assert gateway.process is not None
    if process == "worker":
        return worker_pids(gateway)
    found = []
    for task in Path(f"/proc/{gateway.process.pid}/task").iterdir():
        for child in (task / "children").read_text().split():
            if b"tidegate.control.main" in Path(f"/proc/{child}/cmdline").read_bytes():
                found.append(int(child))
    return found


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().split(") ")[1][0] != "Z"
    except OSError:
        return False


def _kill_tree(gateway: RunningGateway) -> None:
    process = gateway.process
    assert process is not None
    pids = [process.pid, *_pids_of(gateway, "worker"), *_pids_of(gateway, "control")]
    for pid in pids:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
    process.wait()
    assert process.stdout is not None
    process.stdout.close()
    gateway.process = None


def _verify(gateway: RunningGateway) -> list[str]:
    done = gateway.run_cli("ledger", "verify")
    wrong = [] if done.returncode == 0 else [(done.stdout + done.stderr).strip()]
    database = sqlite3.connect(gateway.data_dir / "tidegate.db")
    found = database.execute("PRAGMA integrity_check").fetchall()
    database.close()
    return wrong if found == [("ok",)] else [*wrong, f"integrity: {found}"]


def respawns(folder: Path, seconds: float) -> list[str]:
    """10,000 workers live, are killed and buried; nothing grows but the counts."""
    found = lives_of_workers(10_000)
    print(f"  {found}")
    wrong = []
    if found.counted != found.lives:
        wrong.append(f"{found.counted} counted of {found.lives}")
    if found.segment_bytes[0] != found.segment_bytes[1]:
        wrong.append("the shared memory grew")
    if found.memory_kib[1] - found.memory_kib[0] > 1_024:
        wrong.append("the process grew")
    if found.page_s[1] > found.page_s[0] * 2 + 0.005:
        wrong.append("the page takes longer")
    return wrong


SCENARIOS: dict[str, Callable[[Path, float], list[str]]] = {
    "kills": kills,
    "tree": tree,
    "reloads": reloads,
    "drain": drain,
    "postgres": postgres,
    "respawns": respawns,
}


def main() -> int:
    """Run the named scenarios, by default all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("scenarios", nargs="*", choices=[*SCENARIOS, []], default=[])
    parser.add_argument("--seconds", type=float, default=60.0, help="length of `kills`, `postgres`")
    arguments = parser.parse_args()
    failed = False
    for name in arguments.scenarios or SCENARIOS:
        print(f"{name}: {(SCENARIOS[name].__doc__ or '').splitlines()[0]}", flush=True)
        with tempfile.TemporaryDirectory() as folder:
            wrong = SCENARIOS[name](Path(folder), arguments.seconds)
        for text in wrong[:20]:
            print(f"  WRONG {text}")
        print(f"  {'failed' if wrong else 'exact'}", flush=True)
        failed = failed or bool(wrong)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
