"""One gateway a data directory: a lock file that holds the pid of its supervisor.

The lock is the kernel's, so it vanishes with its holder, whatever that died of. The pid
in the file tells a human who holds it; it is wiped at a clean end, so a pid that is
still there under a free lock means that the last supervisor was killed.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

LOCK_NAME = "tidegate.lock"


class InstanceBusy(Exception):
    """Another gateway runs on this data directory."""


def is_running(data_dir: Path) -> bool:
    """Whether a gateway runs on *data_dir* now."""
    try:
        fd = os.open(data_dir / LOCK_NAME, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(fd)
    return False


class InstanceLock:
    """Holds the lock of one data directory.

    Attributes:
        fd: Descriptor that carries the lock; make it inheritable to keep it over `execve`.
        after_kill: True when the previous holder ended without cleaning up.
    """

    def __init__(self, fd: int, *, after_kill: bool) -> None:
        self.fd = fd
        self.after_kill = after_kill

    @classmethod
    def take(cls, data_dir: str) -> InstanceLock:
        """Create *data_dir* (mode 0700) if it is missing, and lock it.

        Raises:
            InstanceBusy: A gateway runs there; the message names its pid.
            OSError: The directory or the file cannot be written.
        """
        Path(data_dir).mkdir(mode=0o700, parents=True, exist_ok=True)
        path = Path(data_dir, LOCK_NAME)
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        fd = os.open(path, flags, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(fd, 32, 0).decode("ascii", "replace").strip()
            os.close(fd)
            who = f"process {holder}" if holder else "another process"
            raise InstanceBusy(
                f"a gateway is already running on {data_dir} ({who}); "
                "stop it, or choose another --data-dir"
            ) from None
        except OSError:
            os.close(fd)
            raise
        after_kill = bool(os.pread(fd, 32, 0).strip())
        lock = cls(fd, after_kill=after_kill)
        lock.write_pid()
        return lock

    def write_pid(self) -> None:
        """Store our pid in the file."""
        os.ftruncate(self.fd, 0)
        os.pwrite(self.fd, f"{os.getpid()}\n".encode(), 0)

    def release(self) -> None:
        """Wipe the pid and unlock: the clean end."""
        os.ftruncate(self.fd, 0)
        os.close(self.fd)
