"""Ports for servers that must know theirs before they start."""

from __future__ import annotations

import itertools
import os
import socket

FIRST, LAST = 12_000, 31_000
"""Below Linux's ephemeral range (32768–60999): no outgoing connection ever takes one of these."""

# Two test runs on one machine start far from each other; the probe below does the rest.
_next = itertools.count(os.getpid() * 7919)


def free_port() -> int:
    """Return a port of 127.0.0.1 that nobody listens on now, and never the same one twice.

    Asking the kernel for port 0 and closing the socket again is not enough: it may give the next
    caller the same number, or a client's connection that number, before the server binds it.
    """
    for step in itertools.islice(_next, LAST - FIRST):
        port = FIRST + step % (LAST - FIRST)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise AssertionError(f"no port of {FIRST}-{LAST} is free")
