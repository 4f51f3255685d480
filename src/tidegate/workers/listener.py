"""The listening socket: bound once by the supervisor, used by every worker.

One socket for all: connections queue in the kernel while a worker is replaced, and none
is lost with a worker's own queue, as would be the case with `SO_REUSEPORT`.
"""

from __future__ import annotations

import errno
import os
import socket
import time

BACKLOG = 4096


class ListenError(Exception):
    """The address cannot be listened on; the message says why and what to do."""


def listen(host: str, port: int, *, patience_s: float = 0.0) -> socket.socket:
    """Return a non-blocking socket that listens on *host* and *port* (0: any free port).

    Args:
        host: Name or address; the first address of a name is taken.
        port: TCP port.
        patience_s: How long to try again while the port is in use: after a kill -9 the
            workers of the old supervisor need a moment to notice and let go.

    Raises:
        ListenError: In use, not permitted, or no such address here.
    """
    give_up_at = time.monotonic() + patience_s
    while True:
        try:
            return _listen_once(host, port)
        except OSError as error:
            if error.errno == errno.EADDRINUSE and time.monotonic() < give_up_at:
                time.sleep(0.05)
                continue
            raise ListenError(_explain(host, port, error)) from error


def _listen_once(host: str, port: int) -> socket.socket:
    found = socket.getaddrinfo(
        host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE | socket.AI_NUMERICSERV
    )
    family, kind, protocol, _, address = found[0]
    sock = socket.socket(family, kind, protocol)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            # `::` serves IPv4 as well, which is what people who write it expect.
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        sock.bind(address)
        sock.listen(BACKLOG)
        sock.setblocking(False)
    except BaseException:
        sock.close()
        raise
    return sock


def listen_for_page(host: str, port: int, *, patience_s: float = 0.0) -> socket.socket:
    """Return a socket for the metrics page alone; raises `ListenError` as `listen` does."""
    try:
        return listen(host, port, patience_s=patience_s)
    except ListenError as error:
        raise ListenError(f"metrics.listen: {error}") from error


def listening_url(sock: socket.socket, host: str, *, tls: bool = False) -> str:
    """Return `http://HOST:PORT` of *sock*, with the port that it really has."""
    port = sock.getsockname()[1]
    shown = f"[{host}]" if ":" in host else host
    return f"{'https' if tls else 'http'}://{shown}:{port}"


def _explain(host: str, port: int, error: OSError) -> str:
    where = f"cannot listen on {host} port {port}"
    if isinstance(error, socket.gaierror):
        return f"{where}: no such host name or address"
    if error.errno == errno.EADDRINUSE:
        return f"{where}: another program uses it; stop that, or choose another port"
    if error.errno == errno.EACCES:
        return f"{where}: not permitted (ports below 1024 need CAP_NET_BIND_SERVICE)"
    if error.errno == errno.EADDRNOTAVAIL:
        return f"{where}: this machine does not have that address"
    return f"{where}: {os.strerror(error.errno or 0)}"
