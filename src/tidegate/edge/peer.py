"""What the kernel knows about a client that the loop has not been told, and a reset."""

from __future__ import annotations

import socket
import struct

_TCP_INFO = getattr(socket, "TCP_INFO", None)
_TCP_ESTABLISHED = 1


def is_peer_closed(sock: socket.socket | None) -> bool:
    """Whether the peer has closed or reset, although its bytes are not being read.

    Without reading, a loop sees neither; the kernel's state of the connection tells (on
    Linux; elsewhere the answer is False and the next write finds out).
    """
    if sock is None or _TCP_INFO is None:
        return False
    try:
        return sock.getsockopt(socket.IPPROTO_TCP, _TCP_INFO, 1)[0] != _TCP_ESTABLISHED
    except OSError:
        return False


def has_unread_input(sock: socket.socket | None) -> bool:
    """Whether bytes wait in the kernel that the loop has not delivered yet."""
    if sock is None:
        return False
    try:
        return bool(sock.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT))
    except OSError:
        return False


def reset_on_close(sock: socket.socket) -> None:
    """Let the coming close of *sock* reset the connection instead of ending it."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
