"""A PostgreSQL server of our own, in a folder of its own, for the tests that need a real one."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from contextlib import suppress
from pathlib import Path


def binaries() -> Path | None:
    """Return the newest installed server's folder of programs."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    return found[-1].parent if found else None


class PostgresServer:
    """One server on a free port of 127.0.0.1, which does not wait for the disk.

    Attributes:
        dsn: Of its database.
    """

    def __init__(self, programs: Path) -> None:
        self._programs = programs
        self._folder = Path(tempfile.mkdtemp(prefix="tidegate-postgres-"))
        # The server refuses to run as root, and wants its folder to be its own.
        self._as: list[str] = []
        if os.geteuid() == 0:
            account = pwd.getpwnam("postgres")
            os.chown(self._folder, account.pw_uid, account.pw_gid)
            self._as = ["runuser", "-u", "postgres", "--"]
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])
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
