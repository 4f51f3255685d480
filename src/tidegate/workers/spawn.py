"""Starting a child process: one descriptor, a scrubbed environment, nothing in its arguments.

A child is a fresh interpreter with standard input, output and error and, as descriptor 3,
its end of a socketpair. Everything else (the shared memory, the listener, the
configuration) comes through that, so the first children are started, and import what they
need, before the supervisor itself has imported much or read the configuration.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

WORKER: Final = "tidegate.workers.worker"
CONTROL: Final = "tidegate.control.main"

HANDOVER_VARIABLE: Final = "TIDEGATE_HANDOVER"
"""Names the descriptor that a supervisor leaves to the program it upgrades itself to."""

CHILD_CHANNEL_FD: Final = 3
"""As `control.child_channel` has it. This file imports nothing of ours, so that the first
children are started before anything else happens."""

_KEPT_NAMES: Final = frozenset(
    {
        "HOME",
        "LANG",
        "LANGUAGE",
        "LD_LIBRARY_PATH",
        "PATH",
        "SSL_CERT_DIR",
        "SSL_CERT_FILE",
        "TMPDIR",
        "TZ",
        "VIRTUAL_ENV",
    }
)
_KEPT_PREFIXES: Final = ("LC_", "MALLOC_", "PYTHON")

_SIGNALS_BLOCKED: Final = (signal.SIGINT, signal.SIGHUP)
"""A terminal sends these to the whole process group; only the supervisor answers them.
Blocked from the first instruction on, so none is met with its default action."""


class Spawned(NamedTuple):
    """A child that was just started."""

    pid: int
    channel: socket.socket


def child_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """Return what a child may see of *environment*: names known to hold no secret."""
    return {
        name: value
        for name, value in environment.items()
        if name in _KEPT_NAMES or name.startswith(_KEPT_PREFIXES)
    }


def spawn(module: str, label: str) -> Spawned:
    """Start *module* in a new interpreter; *label* is its only argument, for `ps`.

    Raises:
        OSError: The system refuses another process; nothing is left open.
    """
    ours, theirs = socket.socketpair()
    try:
        pid = _posix_spawn(
            # -P: a file in the working directory must not stand in for a module.
            [sys.executable, "-P", "-m", module, label],
            theirs.fileno(),
        )
    except BaseException:
        ours.close()
        raise
    finally:
        theirs.close()
    return Spawned(pid, ours)


def _posix_spawn(argv: Sequence[str], channel_fd: int) -> int:
    """posix_spawn, as a fork of a process with threads or much memory is neither safe nor quick.

    All other descriptors of ours are close-on-exec (PEP 446).
    """
    actions: list[tuple[int, int, int] | tuple[int, int]]
    if channel_fd == CHILD_CHANNEL_FD:
        # Not every libc lifts close-on-exec by a dup2 onto itself: go a way round.
        spare = CHILD_CHANNEL_FD + 1
        actions = [
            (os.POSIX_SPAWN_DUP2, channel_fd, spare),
            (os.POSIX_SPAWN_DUP2, spare, CHILD_CHANNEL_FD),
            (os.POSIX_SPAWN_CLOSE, spare),
        ]
    else:
        actions = [(os.POSIX_SPAWN_DUP2, channel_fd, CHILD_CHANNEL_FD)]
    return os.posix_spawn(
        argv[0],
        list(argv),
        child_environment(os.environ),
        file_actions=actions,
        setsigmask=_SIGNALS_BLOCKED,
        setsigdef=(signal.SIGPIPE, signal.SIGXFSZ),
    )


class EarlyChildren(NamedTuple):
    """The children that every gateway needs, started before anything is known of it."""

    control: Spawned
    worker: Spawned


def start_early(worker_module: str = WORKER, control_module: str = CONTROL) -> EarlyChildren | None:
    """Start control and the first worker; give the result to the supervisor.

    None after an upgrade in place: all children are there already.
    """
    if HANDOVER_VARIABLE in os.environ:
        return None
    return EarlyChildren(
        control=spawn(control_module, "control"), worker=spawn(worker_module, "worker-seat-1")
    )
