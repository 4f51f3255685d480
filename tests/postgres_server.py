"""A PostgreSQL server of our own, in a folder of its own, for the tests that need a real one."""

from __future__ import annotations

import itertools
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.free_ports import free_port


def binaries() -> Path | None:
    """Return the newest installed server's folder of programs."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    return found[-1].parent if found else None


class PostgresServer:
    """One server on a free port of 127.0.0.1, which does not wait for the disk.

    Attributes:
        dsn: Of its first database.
    """

    _numbers = itertools.count(1)

    def __init__(self, programs: Path) -> None:
        self._programs = programs
        self._folder = Path(tempfile.mkdtemp(prefix="tidegate-postgres-"))
        # The server refuses to run as root, and wants its folder to be its own.
        self._as: list[str] = []
        if os.geteuid() == 0:
            account = pwd.getpwnam("postgres")
            os.chown(self._folder, account.pw_uid, account.pw_gid)
            self._as = ["runuser", "-u", "postgres", "--"]
        self.port = free_port()
        self.dsn = f"postgresql://tidegate@127.0.0.1:{self.port}/postgres"
        self._run("initdb", "-A", "trust", "-U", "tidegate", "--no-sync", "-D", self._data)
        self.start()

    @property
    def _data(self) -> str:
        return str(self._folder / "data")

    def start(self) -> None:
        """Start it and wait until it answers."""
        options = f"-p {self.port} -h 127.0.0.1 -k {self._folder} -c fsync=off"
        log = str(self._folder / "log")
        self._run("pg_ctl", "-D", self._data, "-l", log, "-o", options, "-w", "start")

    def stop(self) -> None:
        """Stop it at once, as a crash would."""
        self._run("pg_ctl", "-D", self._data, "-m", "immediate", "-w", "stop")

    def new_database(self) -> str:
        """Make an empty database and return its address."""
        name = f"test{next(self._numbers)}"
        self.query(f"CREATE DATABASE {name}")
        return self.dsn.removesuffix("postgres") + name

    def query(self, statement: str, dsn: str | None = None) -> list[tuple[str, ...]]:
        """Run *statement* as an operator would; return its rows as text."""
        done = subprocess.run(
            [str(self._programs / "psql"), "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1",
             "-c", statement, dsn or self.dsn],
            check=False,
            capture_output=True,
            text=True,
            timeout=20,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return [tuple(line.split("|")) for line in done.stdout.splitlines()]

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """Let no process of it run for the block: it takes connections and answers nothing."""
        postmaster = int(Path(self._data, "postmaster.pid").read_text().split()[0])
        pids = [postmaster]
        os.kill(postmaster, signal.SIGSTOP)
        _wait_until_stopped(postmaster)  # then it can have no more children
        children = Path(f"/proc/{postmaster}/task/{postmaster}/children").read_text()
        for pid in map(int, children.split()):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGSTOP)
                pids.append(pid)
        try:
            yield
        finally:
            for pid in pids:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGCONT)

    def remove(self) -> None:
        """Stop it for good and delete what it had."""
        with suppress(subprocess.CalledProcessError):  # it may have been stopped already
            self.stop()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _run(self, program: str, *arguments: str) -> None:
        # A file, not a pipe: the server inherits it and would hold a pipe open.
        with (self._folder / "out").open("ab") as out:
            subprocess.run(
                [*self._as, str(self._programs / program), *arguments],
                check=True,
                cwd=self._folder,
                timeout=40,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
            )


def _wait_until_stopped(pid: int) -> None:
    deadline = time.monotonic() + 5.0
    while Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0] != "T":
        assert time.monotonic() < deadline, "the server did not stop"
        time.sleep(0.001)
