"""Telling systemd how we are: the datagrams of `sd_notify`, without its library."""

from __future__ import annotations

import os
import socket
import time


class SystemdNotifier:
    """Sends states to the socket that systemd named; does nothing when there is none.

    Attributes:
        watchdog_s: Seconds within which systemd wants to hear `watchdog`; None when it does not.
    """

    def __init__(self) -> None:
        address = os.environ.get("NOTIFY_SOCKET", "")
        # A leading @ stands for the abstract namespace.
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self.watchdog_s = _watchdog_s()

    def ready(self, status: str) -> None:
        """Started, or done with a reload; *status* is shown by `systemctl status`."""
        self._send(f"READY=1\nSTATUS={status}")

    def reloading(self) -> None:
        """A reload has begun; `ready` ends it."""
        self._send(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def stopping(self) -> None:
        """The drain has begun."""
        self._send("STOPPING=1\nSTATUS=draining")

    def watchdog(self) -> None:
        """Still turning."""
        self._send("WATCHDOG=1")

    def _send(self, text: str) -> None:
        if not self._address:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
                sock.setblocking(False)
                sock.sendto(text.encode(), self._address)
        except OSError:
            return  # a manager that does not listen must not stop the gateway


def _watchdog_s() -> float | None:
    micros = os.environ.get("WATCHDOG_USEC", "")
    wanted_pid = os.environ.get("WATCHDOG_PID", "")
    if not micros.isascii() or not micros.isdigit() or int(micros) == 0:
        return None
    if wanted_pid and wanted_pid != str(os.getpid()):
        return None
    return int(micros) / 1e6
