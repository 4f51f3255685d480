"""The control port: uvicorn's HTTP on the control process's own loop.

uvicorn's `Server` is left out: it takes the signals, polls ten times a second and waits for
event streams at its end. Its protocol class is all that is needed.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import time
from typing import Any, Final

from typing_extensions import override
from uvicorn.config import Config
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

from tidegate.control.admin.auth import AdminAuth
from tidegate.control.admin.pages import Pages
from tidegate.control.admin.routes import build_app
from tidegate.control.admin.security import Guard, HostNames
from tidegate.control.eventlog import EventLog
from tidegate.control.live.service import LiveService

REQUEST_S: Final = 10.0
"""How long a new connection may take to send its first request."""
MOST_CONNECTIONS: Final = 100
"""Beyond it the one that has waited longest is closed, so that nobody can keep all others out."""
MAX_HEAD_BYTES: Final = 16 * 1024
CLOSE_S: Final = 1.0
_TOLD_EVERY_S: Final = 60.0


class ControlPort:
    """The open port. Make it on the loop, `open` it, `close` it."""

    def __init__(
        self,
        live: LiveService,
        auth: AdminAuth,
        log: EventLog,
        *,
        host: str,
        names: tuple[str, ...],
    ) -> None:
        app = Guard(build_app(live, auth, Pages()), HostNames(host, names))
        self._config = Config(
            app,
            http=_Protocol,
            ws="none",
            lifespan="off",
            interface="asgi3",
            proxy_headers=False,
            server_header=False,
            date_header=False,
            access_log=False,
            log_config=None,
            timeout_keep_alive=30,
            h11_max_incomplete_event_size=MAX_HEAD_BYTES,
        )
        _route_log(log)
        self._state = ServerState()
        self._server: asyncio.Server | None = None

    async def open(self, listener: socket.socket) -> None:
        """Serve what arrives at *listener* from now on."""
        self._config.load()
        self._server = await asyncio.get_running_loop().create_server(
            lambda: _Protocol(config=self._config, server_state=self._state, app_state={}),
            sock=listener,
        )

    async def close(self) -> None:
        """Stop accepting, let answers end for a second, then cut."""
        if self._server is None:
            return
        self._server.close()
        for connection in list(self._state.connections):
            connection.shutdown()
        tasks = list(self._state.tasks)
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=CLOSE_S)
            for task in late:
                task.cancel()
            if late:
                await asyncio.wait(late, timeout=CLOSE_S)


class _Protocol(H11Protocol):
    """Bounds connections, in number and in time; uvicorn would keep a silent one for ever."""

    _overdue: asyncio.TimerHandle | None = None
    _waits_since_s = 0.0

    @override
    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._waits_since_s = self.loop.time()
        self._overdue = self.loop.call_later(REQUEST_S, self._give_up)
        _make_room(self.connections)

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        if self._overdue is not None:
            self._overdue.cancel()
        super().connection_lost(exc)

    @override
    def on_response_complete(self) -> None:
        self._waits_since_s = self.loop.time()
        super().on_response_complete()
        if self.cycle.more_body:  # answered before its body came
            self._overdue = self.loop.call_later(REQUEST_S, self._give_up)

    @property
    def waits_since_s(self) -> float | None:
        """Since when a whole request has been waited for, in loop time; None while one is served.

        A request whose body is still on its way is one that is waited for.
        """
        cycle = self.cycle
        is_served = cycle is not None and not cycle.response_complete and not cycle.more_body
        return None if is_served else self._waits_since_s

    def _give_up(self) -> None:
        cycle = self.cycle
        has_no_end = cycle is None or (cycle.response_complete and cycle.more_body)
        if has_no_end and not self.transport.is_closing():
            self.transport.close()


def _make_room(connections: set[Any]) -> None:
    """Close the connection that has waited longest when there are too many."""
    opened = [one for one in connections if not one.transport.is_closing()]
    if len(opened) <= MOST_CONNECTIONS:
        return
    waiting = [(since_s, one) for one in opened if (since_s := one.waits_since_s) is not None]
    # The newest one waits for its request, so there always is one.
    min(waiting, key=lambda pair: pair[0])[1].transport.close()


class _LogHandler(logging.Handler):
    """Passes uvicorn's errors to the event log: what kind, never the text of a request.

    What a client can cause is told once a minute, or a log could be filled through this port.
    """

    def __init__(self, log: EventLog) -> None:
        super().__init__(logging.WARNING)
        self._log = log
        self._told_s: dict[str, float] = {}

    @override
    def emit(self, record: logging.LogRecord) -> None:
        kind = record.exc_info[0] if record.exc_info else None
        if kind is not None:
            self._log.error("the control port failed to answer", error=kind.__name__)
            return
        reason = str(record.msg)[:200]
        now_s = time.monotonic()
        if now_s - self._told_s.get(reason, -_TOLD_EVERY_S) >= _TOLD_EVERY_S:
            self._told_s[reason] = now_s
            self._log.warning("control port", reason=reason)


def _route_log(log: EventLog) -> None:
    logger: Any = logging.getLogger("uvicorn.error")
    logger.handlers = [_LogHandler(log)]
    logger.propagate = False
    logger.setLevel(logging.WARNING)
