"""Starts `double_gateway` and looks at it from outside: processes, sockets, files, the log."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tests.free_ports import free_port

HERE = Path(__file__).parent
SOURCE = HERE.parent.parent / "src"


def wait_for(condition: Callable[[], Any], what: str, timeout_s: float = 10.0) -> Any:
    """Return the first true result of *condition*, or fail."""
    give_up_at = time.monotonic() + timeout_s
    while True:
        result = condition()
        if result:
            return result
        if time.monotonic() > give_up_at:
            raise AssertionError(f"{what} did not happen within {timeout_s} s")
        time.sleep(0.01)


def is_running(pid: int) -> bool:
    """Whether *pid* is a process that has not ended (zombies have)."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return stat[stat.rindex(")") + 2] not in "ZX"


def children_of(pid: int) -> list[int]:
    """Return the pids of the running children of *pid*."""
    try:
        text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    except OSError:
        return []
    return [child for child in map(int, text.split()) if is_running(child)]


def command_of(pid: int) -> str:
    """Return the command line of *pid*, blanks between arguments."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    except OSError:
        return ""


class DoubleRun:
    """One double gateway in *folder*; end it with `close`, whatever the test did to it."""

    def __init__(
        self,
        folder: Path,
        *,
        workers: int = 1,
        config: str | None = None,
        port: int | None = None,
        environment: dict[str, str] | None = None,
        **settings: str,
    ) -> None:
        self.folder = folder
        self.port = port or free_port()
        self.data_dir = folder / "data"
        self.config = folder / "gateway.yaml"
        if config is not None:
            self.config.write_text(config)
        self.log_path = folder / "log"
        arguments = {
            "server.port": str(self.port),
            "server.workers": str(workers),
            "server.data_dir": str(self.data_dir),
            **{f"server.{name}": value for name, value in settings.items()},
            **({} if config is None else {"config": str(self.config)}),
        }
        self.environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(folder),
            "PYTHONPATH": f"{SOURCE}:{HERE}",
            **(environment or {}),
        }
        self.command = [
            sys.executable,
            str(HERE / "double_gateway.py"),
            *(f"{name}={value}" for name, value in arguments.items()),
        ]
        self.output: list[str] = []
        self.process: subprocess.Popen[str]
        self._known: set[int] = set()

    def launch(self) -> DoubleRun:
        """Start the process without waiting for anything."""
        with self.log_path.open("ab") as log:
            self.process = subprocess.Popen(
                self.command,
                cwd=self.folder,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        return self

    def start(self) -> DoubleRun:
        """Start the process and wait for its ready line."""
        self.launch()
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.output.append(line.rstrip("\n"))
            if line.startswith("tidegate ready on "):
                self._known.update(children_of(self.process.pid))
                return self
        raise AssertionError(f"not ready, ended with {self.process.wait(10)}: {self.log()}")

    def log(self) -> str:
        """Return standard error so far."""
        return self.log_path.read_text()

    def events(self, event: str) -> list[dict[str, Any]]:
        """Return the JSON lines of the log that tell of *event*."""
        lines = [json.loads(line) for line in self.log().splitlines() if line.startswith("{")]
        return [line for line in lines if line["event"] == event]

    def worker_pids(self) -> list[int]:
        """Return the running workers."""
        pids = [pid for pid in children_of(self.process.pid) if "double_worker" in command_of(pid)]
        self._known.update(pids)
        return pids

    def control_pid(self) -> int:
        """Return the running control process, 0 when there is none."""
        pids = children_of(self.process.pid)
        self._known.update(pids)
        return next((pid for pid in pids if "control" in command_of(pid)), 0)

    def get(self, path: str, timeout_s: float = 10.0) -> tuple[int, str]:
        """Send one request on a connection of its own."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout_s)
        try:
            connection.request("GET", path, headers={"Connection": "close"})
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        finally:
            connection.close()

    def told(self, name: str) -> str:
        """Return the value that `/` tells under *name*."""
        _, text = self.get("/")
        return text.partition(f"{name}=")[2].split(" ")[0]

    def known_keys(self) -> set[str]:
        """Return the names of the keys that one worker knows."""
        return set(self.get("/")[1].partition("keys=")[2].split())

    def open_stream(self, ticks: int) -> socket.socket:
        """Ask for a stream and return the socket once its first event is here."""
        sock = socket.create_connection(("127.0.0.1", self.port), timeout=15)
        sock.sendall(
            f"GET /stream?{ticks} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode()
        )
        seen = b""
        while b"data: 0" not in seen:
            piece = sock.recv(4096)
            assert piece, seen
            seen += piece
        return sock

    def signal(self, number: signal.Signals) -> None:
        """Signal the supervisor."""
        self.process.send_signal(number)

    def wait(self, timeout_s: float = 15.0) -> int:
        """Wait for the supervisor's end; return its code."""
        return self.process.wait(timeout_s)

    def close(self) -> None:
        """Leave nothing behind."""
        self._known.update(children_of(self.process.pid))
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        if self.process.stdout is not None:
            self.process.stdout.close()
        for pid in self._known:
            with contextlib.suppress(ProcessLookupError):
                # A stopped or stuck child must not outlive the test. Its pid may by now be
                # somebody else's, so look first.
                if "tidegate" in command_of(pid) or "double_worker" in command_of(pid):
                    os.kill(pid, signal.SIGKILL)


def read_all(sock: socket.socket) -> bytes:
    """Read *sock* to its end (or reset) and close it."""
    data = b""
    with sock:
        try:
            while piece := sock.recv(65536):
                data += piece
        except ConnectionResetError:
            pass
    return data


@contextlib.contextmanager
def running(folder: Path, **options: Any) -> Iterator[DoubleRun]:
    """Run a double gateway for the length of a block."""
    run = DoubleRun(folder, **options)
    try:
        yield run.start()
    finally:
        run.close()
