"""The parts of the supervisor, each by itself."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tidegate.control.channel import Channel
from tidegate.memory import Segment, SlotState, SlotWord
from tidegate.workers.backoff import LONGEST_DELAY_S, Backoff
from tidegate.workers.balance import AcceptBalance
from tidegate.workers.child import Child, Seat, describe_status, pick_slot
from tidegate.workers.instance_lock import InstanceBusy, InstanceLock
from tidegate.workers.listener import ListenError, listen, listening_url
from tidegate.workers.loop import Loop
from tidegate.workers.plan import Overrides, load_plan
from tidegate.workers.sdnotify import SystemdNotifier
from tidegate.workers.spawn import child_environment

SOURCE = Path(__file__).parent.parent.parent / "src"
ENVIRONMENT = {"PATH": os.environ["PATH"], "PYTHONPATH": str(SOURCE)}


# Back-off


def test_a_single_death_costs_no_pause_and_a_crash_loop_ever_more() -> None:
    """Five quick deaths are free, then 0.1 s doubles up to the longest pause."""
    backoff = Backoff()
    delays = [backoff.delay_s(0.0) for _ in range(14)]
    assert delays[:5] == [0.0] * 5
    assert delays[5:9] == [0.1, 0.2, 0.4, 0.8]
    assert delays[-1] == LONGEST_DELAY_S


def test_a_healthy_life_wipes_the_past_and_a_middling_one_a_part() -> None:
    """A kill each few seconds never leads to a pause."""
    backoff = Backoff()
    for _ in range(8):
        backoff.delay_s(0.5)
    backoff.delay_s(5.0)
    assert backoff.strikes == 7
    assert backoff.delay_s(60.0) == 0.0
    assert [backoff.delay_s(1.0) for _ in range(5)] == [0.0] * 5
    assert [Backoff().delay_s(4.0) for _ in range(50)] == [0.0] * 50


# Balance


@pytest.mark.parametrize(
    ("mine", "peers", "expected"),
    [
        (0, [50], False),
        (2, [0], False),  # few never step aside
        (3, [0], True),
        (3, [2], False),
        (100, [100, 100], False),
        (115, [100, 100], False),
        (120, [100, 100], True),
        (400, [], False),  # alone: nobody else would take it
    ],
)
def test_a_worker_steps_aside_above_the_mean(mine: int, peers: list[int], expected: bool) -> None:
    """More than 1.1 times the mean of the ready ones plus one."""
    segment = Segment.create(worker_slots=6)
    try:
        for slot, connections in enumerate([mine, *peers], 2):
            segment.claim(slot)
            segment.set(slot, SlotWord.STATE, SlotState.READY)
            segment.set(slot, SlotWord.CONNECTIONS, connections)
        # Dead, starting and draining slots are no idle peers.
        segment.claim(7)
        balance = AcceptBalance(segment, 2)
        assert balance.should_yield() is expected
        balance.publish(0)
        assert segment.get(2, SlotWord.CONNECTIONS) == 0
        assert balance.should_yield() is False
    finally:
        segment.close()


# Slots


def test_a_seat_gets_its_last_slot_back_else_the_lowest_free_one() -> None:
    """Never one whose owner has not been reaped; control's is always the same."""
    segment = Segment.create(worker_slots=3)
    try:
        seat, other = Seat("worker", 1), Seat("worker", 2)
        assert pick_slot(segment, seat) == 2
        segment.claim(2)
        assert pick_slot(segment, other) == 3
        segment.claim(3)
        segment.claim(4)
        assert pick_slot(segment, other) is None
        other.last_slot = 4
        segment.release(2)
        segment.release(4)
        assert pick_slot(segment, other) == 4
        assert pick_slot(segment, Seat("control", 0)) == 1
    finally:
        segment.close()


def test_deaths_are_classified_by_what_is_known_of_them() -> None:
    """A closed set, the label values of the counter."""
    ours, theirs = socket.socketpair()
    child = Child(Seat("worker", 1), 1, Channel(ours))
    assert child.death_reason(9) == "start"
    child.ready_since_s = time.monotonic()
    assert child.death_reason(9) == "signal"
    assert child.death_reason(3 << 8) == "exit"
    child.leaving = True
    assert child.death_reason(0) == "replaced"
    child.condemned = "hang"
    assert child.death_reason(9) == "hang"
    assert (describe_status(9), describe_status(3 << 8)) == ("SIGKILL", "exit code 3")
    ours.close()
    theirs.close()


# Lock


def test_a_data_directory_has_one_holder_at_a_time(tmp_path: Path) -> None:
    """The loser learns the pid of the winner; a clean end leaves no pid."""
    folder = str(tmp_path / "new" / "data")
    lock = InstanceLock.take(folder)
    assert not lock.after_kill
    with pytest.raises(InstanceBusy, match=f"process {os.getpid()}"):
        InstanceLock.take(folder)
    lock.release()
    again = InstanceLock.take(folder)
    assert not again.after_kill
    assert Path(folder).stat().st_mode & 0o777 == 0o700
    again.release()


def test_a_killed_holder_leaves_the_lock_free_and_its_pid_behind(tmp_path: Path) -> None:
    """So the next one knows that the end was not clean."""
    code = (
        "import os, signal, sys\nfrom tidegate.workers.instance_lock import InstanceLock\n"
        "InstanceLock.take(sys.argv[1])\nos.kill(os.getpid(), signal.SIGKILL)\n"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    done = subprocess.run(command, check=False, timeout=30, env=ENVIRONMENT)
    assert done.returncode == -signal.SIGKILL
    lock = InstanceLock.take(str(tmp_path))
    assert lock.after_kill
    lock.release()


def test_a_link_in_place_of_the_lock_file_is_not_followed(tmp_path: Path) -> None:
    """Nobody gets us to truncate a file of his choice."""
    victim = tmp_path / "victim"
    victim.write_text("precious")
    (tmp_path / "tidegate.lock").symlink_to(victim)
    with pytest.raises(OSError, match="symbolic"):
        InstanceLock.take(str(tmp_path))
    assert victim.read_text() == "precious"


# Listener


def test_a_free_port_is_bound_and_shown() -> None:
    """Port 0 takes any; IPv6 addresses stand in brackets."""
    with listen("127.0.0.1", 0) as sock:
        port = sock.getsockname()[1]
        assert listening_url(sock, "127.0.0.1") == f"http://127.0.0.1:{port}"
        assert listening_url(sock, "::1", tls=True) == f"https://[::1]:{port}"
        assert not sock.get_inheritable()
        assert not sock.getblocking()


def test_why_a_port_cannot_be_had_is_said_in_words() -> None:
    """In use, no such name, not our address."""
    with listen("127.0.0.1", 0) as sock:
        port = sock.getsockname()[1]
        with pytest.raises(ListenError, match="another program uses it"):
            listen("127.0.0.1", port)
    with pytest.raises(ListenError, match="no such host name"):
        listen("no-such-host.invalid", 1)
    with pytest.raises(ListenError, match="does not have that address"):
        listen("192.0.2.1", 0)


def test_a_port_that_gets_free_in_time_is_taken() -> None:
    """After a kill the old workers need a moment to let go."""
    sock = listen("127.0.0.1", 0)
    port = sock.getsockname()[1]
    pid = os.fork()
    if pid == 0:  # the holder
        time.sleep(0.3)
        os._exit(0)
    sock.close()
    with listen("127.0.0.1", port, patience_s=5.0) as again:
        assert again.getsockname()[1] == port
    os.waitpid(pid, 0)


# Loop


def test_the_loop_keeps_order_and_survives_mistakes() -> None:
    """Timers fire by time, cancelled ones never; a failing action is told and the rest goes on."""
    errors: list[Exception] = []
    loop = Loop(errors.append)
    order: list[str] = []
    ours, theirs = socket.socketpair()

    def fail() -> None:
        raise ValueError("a mistake")

    loop.watch(ours, lambda: order.append(ours.recv(10).decode()))
    loop.call_later(0.03, lambda: order.append("late"))
    loop.call_later(0.01, fail)
    loop.call_later(0.02, lambda: order.append("early"))
    loop.call_later(0.0, lambda: order.append("never")).cancel()
    loop.call_later(0.06, loop.stop)
    loop.on_signal(signal.SIGUSR2, lambda: order.append("signal"))
    theirs.send(b"first")
    os.kill(os.getpid(), signal.SIGUSR2)
    loop.run()
    loop.close()
    ours.close()
    theirs.close()
    assert sorted(order[:2]) == ["first", "signal"]
    assert order[2:] == ["early", "late"]
    assert [str(error) for error in errors] == ["a mistake"]
    signal.signal(signal.SIGUSR2, signal.SIG_DFL)


# Environment


def test_children_see_only_names_that_hold_no_secret() -> None:
    """An allow-list, so a new variable is never passed on by accident."""
    given = {
        "PATH": "/bin",
        "LC_ALL": "C",
        "PYTHONPATH": "src",
        "SSL_CERT_FILE": "/ca",
        "OPENAI_API_KEY": "sk-1",
        "HTTPS_PROXY": "http://user:password@proxy",
        "API_KEYS": "a,b",
        "NOTIFY_SOCKET": "/run/notify",
        "TIDEGATE_HANDOVER": "7",
    }
    assert set(child_environment(given)) == {"PATH", "LC_ALL", "PYTHONPATH", "SSL_CERT_FILE"}


# systemd


def test_systemd_is_told_by_datagrams(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only when it asked, and a watchdog meant for another process is not ours."""
    path = str(tmp_path / "notify")
    monkeypatch.setenv("NOTIFY_SOCKET", path)
    monkeypatch.setenv("WATCHDOG_USEC", "30000000")
    monkeypatch.setenv("WATCHDOG_PID", str(os.getpid()))
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(path)
        manager.settimeout(5)
        notifier = SystemdNotifier()
        assert notifier.watchdog_s == 30.0
        notifier.ready("serving")
        notifier.watchdog()
        notifier.reloading()
        notifier.stopping()
        got = [manager.recv(200).decode() for _ in range(4)]
    assert got[0] == "READY=1\nSTATUS=serving"
    assert got[1] == "WATCHDOG=1"
    assert got[2].startswith("RELOADING=1\nMONOTONIC_USEC=")
    assert got[3].startswith("STOPPING=1")
    notifier.watchdog()  # nobody listens any more: no error
    monkeypatch.setenv("WATCHDOG_PID", "1")
    assert SystemdNotifier().watchdog_s is None


# Plan


def test_a_reload_keeps_what_a_running_instance_cannot_change(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Listener, workers, folder; each change is named."""
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "c.yaml"
    file.write_text("server: {port: 9000, workers: 2, drain_seconds: 5s}\n")
    first = load_plan(Overrides(file, {}), 1)
    assert (first.workers, first.drain_s, first.needs_restart) == (2, 5.0, ())
    file.write_text("server: {port: 9001, workers: 3, data_dir: other, drain_seconds: 7s}\n")
    second = load_plan(Overrides(file, {}), 2, previous=first)
    assert (second.port, second.workers, second.drain_s) == (9000, 2, 7.0)
    assert second.data_dir == first.data_dir
    assert set(second.needs_restart) == {"server.port", "server.workers", "server.data_dir"}
    assert not (tmp_path / "other").exists()


def test_the_command_line_wins_over_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As `tidegate serve --port` promises."""
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "c.yaml"
    file.write_text("server: {port: 9000}\n")
    plan = load_plan(Overrides(file, {"server.port": 9555, "server.workers": "auto"}), 1)
    assert plan.port == 9555
    assert plan.workers == len(os.sched_getaffinity(0))


# Weight


def test_a_worker_imports_nothing_heavy() -> None:
    """pydantic, YAML, SQLAlchemy and typer cost memory in every worker."""
    code = (
        "import sys\nimport tidegate.workers.worker, tidegate.workers.wiring\n"
        "heavy = {'pydantic', 'yaml', 'sqlalchemy', 'typer', 'rich', 'alembic',"
        " 'prometheus_client', 'sqlite3'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    command = [sys.executable, "-c", code]
    done = subprocess.run(
        command, check=True, capture_output=True, text=True, timeout=30, env=ENVIRONMENT
    )
    assert done.stdout.strip() == "[]"
