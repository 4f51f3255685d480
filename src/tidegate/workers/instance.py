"""What an instance holds as long as it lives: its folder, its port, its memory."""

from __future__ import annotations

import socket

from tidegate.memory import Segment
from tidegate.workers.instance_lock import InstanceBusy, InstanceLock
from tidegate.workers.listener import ListenError, listen, listening_url
from tidegate.workers.plan import Plan

PORT_PATIENCE_S = 3.0
"""After a kill -9 of the last supervisor: how long its workers may take to let the port go."""


class StartFailed(Exception):
    """The gateway cannot start; the message is for the operator."""


class Instance:
    """Lock, listener and shared memory.

    Attributes:
        url: Where clients reach it.
    """

    def __init__(
        self, lock: InstanceLock, listener: socket.socket, segment: Segment, url: str
    ) -> None:
        self.lock = lock
        self.listener = listener
        self.segment = segment
        self.url = url

    @classmethod
    def found(cls, plan: Plan) -> Instance:
        """Make a new one. Raises `StartFailed`; nothing is held then."""
        lock = _take_lock(plan.data_dir)
        try:
            listener = listen(
                plan.host, plan.port, patience_s=PORT_PATIENCE_S if lock.after_kill else 0.0
            )
        except ListenError as error:
            lock.release()
            raise StartFailed(str(error)) from error
        try:
            segment = Segment.create(worker_slots=2 * plan.workers + 2)
        except OSError as error:
            listener.close()
            lock.release()
            raise StartFailed(f"no room for the shared memory: {error.strerror}") from error
        return cls(lock, listener, segment, listening_url(listener, plan.host, tls=plan.tls))

    def descriptors(self) -> list[int]:
        """Return all that must survive an upgrade in place."""
        return [self.lock.fd, self.listener.fileno(), self.segment.fd]


def _take_lock(data_dir: str) -> InstanceLock:
    try:
        return InstanceLock.take(data_dir)
    except InstanceBusy as error:
        raise StartFailed(str(error)) from error
    except OSError as error:
        raise StartFailed(f"cannot use the data directory {data_dir}: {error.strerror}") from error
