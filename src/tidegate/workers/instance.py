"""What an instance holds as long as it lives: its folder, its port, its memory."""

from __future__ import annotations

import contextlib
import socket

from tidegate.memory import Segment
from tidegate.workers.instance_lock import InstanceBusy, InstanceLock
from tidegate.workers.listener import ListenError, listen, listen_for_page, listening_url
from tidegate.workers.plan import Plan

PORT_PATIENCE_S = 3.0
"""After a kill -9 of the last supervisor: how long its workers may take to let the port go."""


class StartFailed(Exception):
    """The gateway cannot start; the message is for the operator."""


class Instance:
    """Lock, listeners and shared memory.

    Attributes:
        url: Where clients reach it.
        page_listener: Of the metrics page, if it has one of its own.
        page_url: Where that is; empty without.
    """

    def __init__(
        self,
        lock: InstanceLock,
        listener: socket.socket,
        segment: Segment,
        url: str,
        *,
        page_listener: socket.socket | None = None,
        page_url: str = "",
    ) -> None:
        self.lock = lock
        self.listener = listener
        self.segment = segment
        self.url = url
        self.page_listener = page_listener
        self.page_url = page_url

    @classmethod
    def found(cls, plan: Plan) -> Instance:
        """Make a new one. Raises `StartFailed`; nothing is held then."""
        with contextlib.ExitStack() as undo:
            lock = _take_lock(plan.data_dir)
            undo.callback(lock.release)
            patience_s = PORT_PATIENCE_S if lock.after_kill else 0.0
            page_listener, page_url = None, ""
            try:
                listener = undo.enter_context(listen(plan.host, plan.port, patience_s=patience_s))
                if plan.page_listen is not None:
                    page_listener = undo.enter_context(
                        listen_for_page(*plan.page_listen, patience_s=patience_s)
                    )
                    host = plan.page_listen[0]
                    page_url = listening_url(page_listener, host, tls=plan.page_tls)
            except ListenError as error:
                raise StartFailed(str(error)) from error
            try:
                segment = Segment.create(worker_slots=2 * plan.workers + 2)
            except OSError as error:
                raise StartFailed(f"no room for the shared memory: {error.strerror}") from error
            undo.pop_all()
        return cls(
            lock,
            listener,
            segment,
            listening_url(listener, plan.host, tls=plan.tls),
            page_listener=page_listener,
            page_url=page_url,
        )

    def listener_fds(self) -> tuple[int, ...]:
        """Return what workers accept from: the data port, then the page's, if there is one."""
        fds = (self.listener.fileno(),)
        return fds if self.page_listener is None else (*fds, self.page_listener.fileno())

    def close_listeners(self) -> None:
        """Let go of the ports; workers that still hold them go on."""
        self.listener.close()
        if self.page_listener is not None:
            self.page_listener.close()


def _take_lock(data_dir: str) -> InstanceLock:
    try:
        return InstanceLock.take(data_dir)
    except InstanceBusy as error:
        raise StartFailed(str(error)) from error
    except OSError as error:
        raise StartFailed(f"cannot use the data directory {data_dir}: {error.strerror}") from error
