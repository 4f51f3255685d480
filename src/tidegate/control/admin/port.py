"""The control port: uvicorn's HTTP on the control process's own loop.

uvicorn's `Server` is left out: it takes the signals, polls ten times a second and waits for
event streams at its end. Its protocol class is all that is needed.
"""

from __future__ import annotations

import asyncio
import logging
import socket
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
MAX_HEAD_BYTES: Final = 16 * 1024
CLOSE_S: Final = 1.0


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
            limit_concurrency=MOST_CONNECTIONS,
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
    """Closes a connection that sends no request in time; uvicorn would keep it for ever."""

    _overdue: asyncio.TimerHandle | None = None

    @override
    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._overdue = self.loop.call_later(REQUEST_S, self._give_up)

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        if self._overdue is not None:
            self._overdue.cancel()
        super().connection_lost(exc)

    def _give_up(self) -> None:
        if self.cycle is None and not self.transport.is_closing():
            self.transport.close()


class _LogHandler(logging.Handler):
    """Passes uvicorn's errors to the event log: what kind, never the text of a request."""

    def __init__(self, log: EventLog) -> None:
        super().__init__(logging.WARNING)
        self._log = log

    @override
    def emit(self, record: logging.LogRecord) -> None:
        kind = record.exc_info[0] if record.exc_info else None
        if kind is not None:
            self._log.error("the control port failed to answer", error=kind.__name__)
        else:
            self._log.warning("control port", reason=str(record.msg)[:200])


def _route_log(log: EventLog) -> None:
    logger: Any = logging.getLogger("uvicorn.error")
    logger.handlers = [_LogHandler(log)]
    logger.propagate = False
    logger.setLevel(logging.WARNING)
