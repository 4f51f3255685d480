"""Whether the program that is installed now can take this gateway over.

Run as a process of its own before an upgrade in place, by the interpreter and from the
files that the upgrade would use: after the `execve` there is no way back.

    python -P -m tidegate.workers.preflight HANDOVER_VERSION SEGMENT_FD

Standard input is the packed `Overrides`. Exit code 0, or 1 with the reason in the log.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec

from tidegate.control.eventlog import EventLog
from tidegate.workers.loop import Loop
from tidegate.workers.plan import Overrides

PATIENCE_S: Final = 30.0
SEGMENT_FD: Final = 3
MODULE: Final = "tidegate.workers.preflight"


class Preflight:
    """Runs the check beside the gateway and tells its result once."""

    def __init__(
        self,
        loop: Loop,
        overrides: Overrides,
        segment_fd: int,
        version: int,
        done: Callable[[bool], None],
    ) -> None:
        self._done = done
        self._started_s = time.monotonic()
        self._pid = _spawn(overrides, segment_fd, version)
        self._timer = loop.call_later(PATIENCE_S, self._kill)

    def reap(self) -> None:
        """Look whether it has ended; called at each SIGCHLD."""
        pid, status = os.waitpid(self._pid, os.WNOHANG)
        if pid:
            self._timer.cancel()
            self._done(status == 0)

    def _kill(self) -> None:
        os.kill(self._pid, signal.SIGKILL)


def _spawn(overrides: Overrides, segment_fd: int, version: int) -> int:
    packed = msgspec.json.encode([str(overrides.file or ""), _plain(overrides.settings)])
    reader, writer = os.pipe()
    try:
        os.write(writer, packed)  # far below the 64 KiB that a pipe takes
        return os.posix_spawn(
            sys.executable,
            [sys.executable, "-P", "-m", MODULE, str(version)],
            os.environ,
            file_actions=[
                (os.POSIX_SPAWN_DUP2, reader, 0),
                (os.POSIX_SPAWN_DUP2, segment_fd, SEGMENT_FD + 1),
                (os.POSIX_SPAWN_DUP2, SEGMENT_FD + 1, SEGMENT_FD),
                (os.POSIX_SPAWN_CLOSE, SEGMENT_FD + 1),
            ],
        )
    finally:
        os.close(reader)
        os.close(writer)


def _plain(settings: dict[str, object]) -> dict[str, object]:
    return {
        name: str(value) if isinstance(value, Path) else value for name, value in settings.items()
    }


def main() -> int:
    """Check; see the module."""
    log = EventLog("preflight")
    try:
        _check(int(sys.argv[1]))
    except Exception as error:  # noqa: BLE001 (any reason is a reason not to upgrade)
        log.error(
            "the installed version cannot take over", reason=f"{type(error).__name__}: {error}"
        )
        return 1
    return 0


def _check(version: int) -> None:
    # Everything that the new supervisor and its children will import.
    import tidegate.control.main
    import tidegate.workers.wiring
    import tidegate.workers.worker  # noqa: F401
    from tidegate.memory import Segment
    from tidegate.workers.handover import HANDOVER_VERSION
    from tidegate.workers.plan import load_plan

    if version != HANDOVER_VERSION:
        raise RuntimeError(f"it reads handover {HANDOVER_VERSION}, not {version}: restart instead")
    Segment.attach(SEGMENT_FD)
    file, settings = msgspec.json.decode(
        sys.stdin.buffer.read(), type=tuple[str, dict[str, object]]
    )
    if "server.data_dir" in settings:
        settings["server.data_dir"] = Path(str(settings["server.data_dir"]))
    load_plan(Overrides(Path(file) if file else None, settings), 1)


if __name__ == "__main__":
    sys.exit(main())
