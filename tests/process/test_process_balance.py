"""Real processes: connections spread, and an idle worker is light."""

from __future__ import annotations

import re
import socket
from collections import Counter
from pathlib import Path

import pytest
from double_run import SOURCE, children_of, command_of, running
from tests.running import RunningGateway

pytestmark = pytest.mark.process

CONNECTIONS = 400
WORKERS = 4
LARGEST_IDLE_KIB = 45 * 1000


def test_connections_opened_at_once_spread_evenly(tmp_path: Path) -> None:
    """Each of four workers holds a quarter of the long ones, within 25 %."""
    with running(tmp_path, workers=WORKERS) as run:
        socks = [
            socket.create_connection(("127.0.0.1", run.port), timeout=15)
            for _ in range(CONNECTIONS)
        ]
        for sock in socks:
            sock.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        held = Counter(re.search(rb"pid=(\d+)", sock.recv(4096))[1] for sock in socks)
        for sock in socks:
            sock.close()
        share = CONNECTIONS / WORKERS
        assert len(held) == WORKERS
        assert all(0.75 * share <= count <= 1.25 * share for count in held.values()), held


def test_an_idle_worker_of_the_real_gateway_is_light(tmp_path: Path) -> None:
    """Resident memory, shared pages included."""
    environment = {"PYTHONPATH": str(SOURCE)}
    with RunningGateway(tmp_path, workers=2, environment=environment) as gateway:
        assert gateway.process is not None
        workers = [
            pid
            for pid in children_of(gateway.process.pid)
            if "tidegate.workers.worker" in command_of(pid)
        ]
        assert len(workers) == 2
        for pid in workers:
            status = Path(f"/proc/{pid}/status").read_text()
            assert int(re.search(r"VmRSS:\s+(\d+) kB", status)[1]) <= LARGEST_IDLE_KIB
