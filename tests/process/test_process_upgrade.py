"""Real processes: SIGUSR2 becomes the installed version on the same socket."""

from __future__ import annotations

import os
import re
import signal
import socket
import threading
from pathlib import Path

import pytest
from double_run import DoubleRun, is_running, read_all, running, wait_for

pytestmark = pytest.mark.process


def test_an_upgrade_replaces_every_child_and_cuts_and_refuses_nothing(tmp_path: Path) -> None:
    """Same supervisor pid, same port, a running stream whole, no failed request."""
    with running(tmp_path, workers=2) as run:
        old = {*run.worker_pids(), run.control_pid()}
        stream = run.open_stream(40)
        stop = threading.Event()
        failures: list[str] = []
        done: list[int] = []

        def load() -> None:
            while not stop.is_set():
                try:
                    done.append(run.get("/")[0])
                except (OSError, AssertionError) as error:
                    failures.append(repr(error))

        threads = [threading.Thread(target=load) for _ in range(4)]
        for thread in threads:
            thread.start()
        try:
            upgrade(run)
            wait_for(lambda: not old & set(run.worker_pids()[:2]), "new workers")
        finally:
            stop.set()
            for thread in threads:
                thread.join()
        assert b"[DONE]" in read_all(stream)
        assert failures == []
        assert set(done) == {200}
        wait_for(lambda: not any(map(is_running, old)), "the end of the old ones")
        assert len(run.worker_pids()) == 2
        assert run.known_keys() == {"default"}
        run.signal(signal.SIGTERM)
        assert run.wait() == 0


def test_an_upgrade_takes_the_configuration_of_the_moment(tmp_path: Path) -> None:
    """New workers have it; a reload afterwards works as before."""
    with running(tmp_path, config="{}") as run:
        run.config.write_text("models: {m: {targets: [{provider: demo, model: demo}]}}\n")
        upgrade(run)
        assert run.told("generation") == "2"
        run.signal(signal.SIGHUP)
        wait_for(lambda: run.told("generation") == "3", "the reload")


def test_a_version_that_cannot_run_is_not_upgraded_to(tmp_path: Path) -> None:
    """The check finds it before anything has changed."""
    with running(tmp_path, config="{}") as run:
        workers = run.worker_pids()
        run.config.write_text("nonsense: [")
        run.signal(signal.SIGUSR2)
        wait_for(lambda: run.events("not upgraded, the running version stays"), "the refusal")
        assert run.worker_pids() == workers
        assert run.get("/")[0] == 200
        run.config.write_text("{}")
        upgrade(run)


def test_deaths_after_an_upgrade_are_seen_as_before(tmp_path: Path) -> None:
    """The new program is still the parent of the children that the old one started."""
    with running(tmp_path, workers=1) as run:
        upgrade(run)
        worker = run.worker_pids()[0]
        os.kill(worker, signal.SIGKILL)
        wait_for(lambda: run.worker_pids() not in ([], [worker]), "the next worker")
        assert run.get("/")[0] == 200
        control = run.control_pid()
        os.kill(control, signal.SIGKILL)
        wait_for(lambda: run.control_pid() not in (0, control), "the next control")


def test_upgrades_in_a_row_wait_for_slots(tmp_path: Path) -> None:
    """Draining workers keep their slots; the second and third upgrade complete all the same."""
    with running(tmp_path, workers=2, drain_seconds="3s") as run:
        streams: list[socket.socket] = []
        for _ in range(3):
            streams += [run.open_stream(1200) for _ in range(3)]
            upgrade(run)
        assert run.get("/")[0] == 200
        for stream in streams:
            assert b"event: error" in read_all(stream)
        wait_for(lambda: len(run.worker_pids()) == 2, "the end of the drains")


def upgrade(run: DoubleRun) -> None:
    """Ask for an upgrade and wait until it is complete."""
    before = len(run.events("upgrade complete"))
    run.signal(signal.SIGUSR2)
    wait_for(lambda: len(run.events("upgrade complete")) > before, "the upgrade", 20)
    assert not re.search("Traceback|made a mistake", run.log()), run.log()
