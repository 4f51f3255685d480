"""Real processes: workers and control that die, hang, or are replaced."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from double_run import DoubleRun, is_running, read_all, running, wait_for

pytestmark = pytest.mark.process


def test_kill_9_of_workers_under_load_never_refuses_a_connection(tmp_path: Path) -> None:
    """Clients may lose the request in the dead worker's hands, never the connect."""
    with running(tmp_path, workers=2) as run:
        stop = threading.Event()
        refused: list[str] = []
        answered: list[int] = []

        def load() -> None:
            while not stop.is_set():
                try:
                    sock = socket.create_connection(("127.0.0.1", run.port), timeout=10)
                except OSError as error:
                    refused.append(str(error))
                    continue
                with sock:
                    try:
                        sock.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
                        answered.append(sock.recv(4096).startswith(b"HTTP/1.1 200"))
                    except OSError:
                        answered.append(0)

        threads = [threading.Thread(target=load) for _ in range(8)]
        for thread in threads:
            thread.start()
        try:
            for _ in range(6):
                victims = wait_for(run.worker_pids, "a worker")
                os.kill(victims[0], signal.SIGKILL)
                wait_for(lambda v=victims: len(set(run.worker_pids()) - set(v[:1])) == 2, "respawn")
                seen = len(answered)
                wait_for(lambda n=seen: len(answered) > n + 50, "traffic")
        finally:
            stop.set()
            for thread in threads:
                thread.join()
        assert refused == []
        assert len(answered) - sum(answered) <= 6 * len(threads)
        # On a busy machine a victim may still have been starting.
        reasons = [event["reason"] for event in run.events("process ended")]
        assert len(reasons) == 6
        assert set(reasons) <= {"signal", "start"}
        assert all(event["how"] == "SIGKILL" for event in run.events("process ended"))


def test_a_dead_workers_slot_goes_to_the_next_one(tmp_path: Path) -> None:
    """Slots are not used up by deaths, and incarnations count them."""
    with running(tmp_path, workers=1) as run:
        first = run.events("process ready")[-1]
        os.kill(first["pid"], signal.SIGKILL)
        wait_for(lambda: len(run.events("process ready")) == 3, "the next worker")
        second = run.events("process ready")[-1]
        assert second["child"] == first["child"]
        assert second["incarnation"] == first["incarnation"] + 1


def test_a_worker_that_cannot_live_is_started_ever_more_rarely(tmp_path: Path) -> None:
    """Twenty quick deaths: the first ones are replaced at once, then pauses grow."""
    with running(tmp_path, workers=1) as run:
        killed: set[int] = set()
        give_up_at = time.monotonic() + 6.0
        while time.monotonic() < give_up_at and len(killed) < 20:
            for pid in run.worker_pids():
                if pid not in killed:
                    os.kill(pid, signal.SIGKILL)
                    killed.add(pid)
            time.sleep(0.005)
        pauses = [event["pause_s"] for event in run.events("pausing before the next start")]
        assert len(killed) <= 14  # 5 at once, then 0.1 + 0.2 + … ≤ 6 s
        assert pauses[:4] == [0.1, 0.2, 0.4, 0.8]
        wait_for(run.worker_pids, "the worker after the pause", 15)
        assert run.get("/", 15)[0] == 200  # the connection waited in the queue


def test_a_worker_that_stands_still_is_reported_with_its_stack_and_replaced(
    tmp_path: Path,
) -> None:
    """`hang_timeout` later: the stack names the line, the reason is `hang`."""
    with running(tmp_path, workers=1, hang_timeout="1s") as run:
        worker = run.worker_pids()[0]
        sock = socket.create_connection(("127.0.0.1", run.port), timeout=15)
        sock.sendall(b"GET /hang?30 HTTP/1.1\r\nHost: x\r\n\r\n")
        wait_for(lambda: run.events("process ended"), "the end of the hung worker")
        sock.close()
        assert run.events("process ended")[0]["reason"] == "hang"
        assert run.events("process ended")[0]["pid"] == worker
        assert re.search(r'double_worker.py", line \d+ in handle', run.log())
        assert run.get("/")[0] == 200


def test_a_stopped_worker_is_replaced(tmp_path: Path) -> None:
    """SIGSTOP: it cannot even write its stack, and goes all the same."""
    with running(tmp_path, workers=2, hang_timeout="1s") as run:
        worker = run.worker_pids()[0]
        os.kill(worker, signal.SIGSTOP)
        wait_for(lambda: not is_running(worker), "the end of the stopped worker")
        wait_for(lambda: len(run.worker_pids()) == 2, "its successor")
        assert run.events("process ended")[0]["reason"] == "hang"


def test_a_busy_supervisor_is_no_reason_to_kill_its_workers(tmp_path: Path) -> None:
    """Frozen with all its children and thawed later, nothing of the gateway hangs."""
    with running(tmp_path, workers=1, hang_timeout="1s") as run:
        pids = [run.process.pid, run.control_pid(), *run.worker_pids()]
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        time.sleep(3.0)
        for pid in pids:
            os.kill(pid, signal.SIGCONT)
        assert run.get("/")[0] == 200
        time.sleep(1.5)
        assert run.events("process ended") == []


def test_an_exit_code_is_told(tmp_path: Path) -> None:
    """A worker that exits by itself is a crash with its code."""
    with running(tmp_path, workers=1) as run:
        sock = socket.create_connection(("127.0.0.1", run.port), timeout=15)
        sock.sendall(b"GET /exit?7 HTTP/1.1\r\nHost: x\r\n\r\n")
        read_all(sock)
        ended = wait_for(lambda: run.events("process ended"), "the death")[0]
        assert (ended["reason"], ended["how"]) == ("exit", "exit code 7")


def test_sigterm_to_one_worker_replaces_it_without_a_cut(tmp_path: Path) -> None:
    """The successor is ready before the old one stops accepting, and its stream ends well."""
    with running(tmp_path, workers=1) as run:
        old = run.worker_pids()[0]
        stream = run.open_stream(20)
        os.kill(old, signal.SIGTERM)
        wait_for(lambda: len(run.worker_pids()) == 2, "the successor")
        wait_for(lambda: run.told("pid") != str(old), "its first answer")
        assert b"[DONE]" in read_all(stream)
        wait_for(lambda: not is_running(old), "the end of the old worker")
        ended = wait_for(lambda: run.events("process ended"), "the log of it")[0]
        assert ended["reason"] == "replaced"
        assert len(run.worker_pids()) == 1


def test_control_is_replaced_and_keys_go_on_working(tmp_path: Path) -> None:
    """Kill -9 of control: workers keep the table, the next control watches the store."""
    with running(tmp_path, workers=1) as run:
        control = run.control_pid()
        os.kill(control, signal.SIGKILL)
        assert run.known_keys() == {"default"}
        wait_for(lambda: run.control_pid() not in (0, control), "the next control")
        create_key(run, "later")
        wait_for(lambda: "later" in run.known_keys(), "the key on the worker", 3.0)
        assert len(run.worker_pids()) == 1


def test_a_new_key_is_known_to_every_worker_within_a_second(tmp_path: Path) -> None:
    """Made by another process, in the database only."""
    with running(tmp_path, workers=2) as run:
        create_key(run, "fresh")
        began = time.monotonic()
        known: set[str] = set()
        while len(known) < 2:
            _, text = run.get("/")
            if "fresh" in text:
                known.add(text.split(" ")[0])
            assert time.monotonic() - began < 1.0, "not effective everywhere within 1 s"
        os.kill(run.worker_pids()[0], signal.SIGKILL)
        wait_for(lambda: len(run.worker_pids()) == 2, "the successor")
        assert all("fresh" in run.known_keys() for _ in range(10))


def create_key(run: DoubleRun, name: str) -> None:
    """Make a key in the store from a process of its own, as the command does."""
    code = (
        "import sys, time\nfrom pathlib import Path\n"
        "from tidegate.config.pepper import load_or_create_pepper\n"
        "from tidegate.stores.database import open_database\n"
        "from tidegate.stores.keys import KeyStore\n"
        "folder = Path(sys.argv[1])\n"
        "store = KeyStore(open_database(folder), load_or_create_pepper(folder)[0])\n"
        "store.create(sys.argv[2], now_ms=time.time_ns() // 1_000_000)\n"
    )
    command = [sys.executable, "-c", code, str(run.data_dir), name]
    subprocess.run(command, env=run.environment, check=True, timeout=30)
