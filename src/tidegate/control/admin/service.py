"""The control port and what it tells, over the life of a control process.

Nothing of it is needed to serve requests: it begins when the process is ready, and whatever
goes wrong in it is logged and leaves the rest alone. Starlette and uvicorn are imported at the
first connection, on a thread, so that neither the start nor the heartbeat waits for them, and
a gateway at which nobody looks does without their 7 MB.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import socket
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from tidegate.config.snapshot import ControlSnapshot, KeySnapshot, Snapshot
from tidegate.control.admin.listener import bind, control_url
from tidegate.control.eventlog import EventLog
from tidegate.control.live.key_tally import KeyTally
from tidegate.metrics.registry import Registry

if TYPE_CHECKING:
    from tidegate.control.admin.auth import AdminAuth
    from tidegate.control.admin.port import ControlPort
    from tidegate.control.live.service import LiveService

FIRST_RETRY_S: Final = 0.5
TOLD_RETRY_S: Final = 4.0
"""From this pause on it is not a predecessor that is about to let the port go."""
LAST_RETRY_S: Final = 5.0
MOST_KEYS: Final = 200_000
"""Keys whose names and limits are known here; the live view leaves out the rest."""


class AdminService:
    """Live view and control port. For the control process's loop.

    Args:
        registry: Control's.
        log: For what an operator should hear.

    Attributes:
        tally: Usage by key, which the ledger's fold counts.
    """

    def __init__(self, registry: Registry, log: EventLog) -> None:
        self.tally = KeyTally()
        self._registry = registry
        self._log = log
        self._snapshot: Snapshot | None = None
        self._address = ""
        self._keys: Sequence[KeySnapshot] = ()
        self._digest: bytes | None = None
        self._live: LiveService | None = None
        self._auth: AdminAuth | None = None
        self._port: ControlPort | None = None
        self._opened: ControlSnapshot | None = None
        self._opening: asyncio.Task[None] | None = None

    def configure(self, snapshot: Snapshot, address: str) -> None:
        """Go on with *snapshot*: open, move or close the port if that is what it says."""
        self._snapshot = snapshot
        self._address = address
        if self._live is not None:
            self._live.configure(snapshot, address)
        if snapshot.control == self._opened:
            return
        self._opened = snapshot.control
        self._opening = asyncio.get_running_loop().create_task(
            self._reopen(snapshot.control, self._opening)
        )

    def set_keys(self, keys: Sequence[KeySnapshot]) -> None:
        """Go on with another table of keys."""
        self._keys = keys[:MOST_KEYS]
        if self._live is not None:
            self._live.set_keys(self._keys)

    def set_digest(self, digest: bytes | None) -> None:
        """Take the digest of the admin token in force; another one ends all sessions."""
        self._digest = digest
        if self._auth is not None:
            self._auth.use_digest(digest)

    def take_rows(self, packed: bytes) -> None:
        """Take requests that a worker has settled."""
        if self._live is not None:
            self._live.recent.take(packed)

    async def close(self) -> None:
        """Close the port and stop reading."""
        if self._opening is not None:
            self._opening.cancel()
            await asyncio.wait([self._opening])
        if self._live is not None:
            await self._live.close()
        if self._port is not None:
            await self._port.close()

    # ------------------------------------------------------------------

    async def _reopen(self, wanted: ControlSnapshot, before: asyncio.Task[None] | None) -> None:
        if before is not None:
            before.cancel()
            await asyncio.wait([before])
        try:
            if self._port is not None:
                port, self._port = self._port, None
                await port.close()
            if wanted.port:
                listener = await self._bind(wanted)
                with contextlib.ExitStack() as unless_served:
                    unless_served.callback(listener.close)
                    await self._serve(wanted, listener)
                    unless_served.pop_all()
        except Exception as error:  # noqa: BLE001 (the gateway goes on without a control port)
            self._log.error(
                "the control port cannot be served", error=type(error).__name__, reason=str(error)
            )

    async def _bind(self, wanted: ControlSnapshot) -> socket.socket:
        """Return the listening socket; while another program has the port, ask again."""
        wait_s, told = FIRST_RETRY_S, False
        while True:
            try:
                return bind(wanted.host, wanted.port)
            except OSError as error:
                if wait_s >= TOLD_RETRY_S and not told:
                    told = True
                    self._log.warning(
                        "the control port is not open: its address cannot be listened on; "
                        "trying again until it can (server.control_port: 0 does without)",
                        host=wanted.host,
                        port=wanted.port,
                        reason=error.strerror or str(error),
                    )
            await asyncio.sleep(wait_s)
            wait_s = min(wait_s * 2, LAST_RETRY_S)

    async def _serve(self, wanted: ControlSnapshot, listener: socket.socket) -> None:
        from tidegate.control.live.service import LiveService

        snapshot = self._snapshot
        assert snapshot is not None
        if self._live is None:
            self._live = LiveService(
                self._registry, snapshot, self._keys, self._address, self._log, tally=self.tally
            )
            self._live.begin()
        self._log.info("control port open", url=control_url(wanted.host, wanted.port))
        await _first_connection(listener)
        await asyncio.to_thread(importlib.import_module, "tidegate.control.admin.port")
        from tidegate.control.admin.auth import AdminAuth
        from tidegate.control.admin.port import ControlPort

        if self._auth is None:
            self._auth = AdminAuth(snapshot.pepper)
            self._auth.use_digest(self._digest)
        self._port = ControlPort(
            self._live, self._auth, self._log, host=wanted.host, names=wanted.names
        )
        await self._port.open(listener)


async def _first_connection(listener: socket.socket) -> None:
    """Return when somebody waits to be accepted at *listener*."""
    loop = asyncio.get_running_loop()
    arrived = asyncio.Event()
    loop.add_reader(listener, arrived.set)
    try:
        await arrived.wait()
    finally:
        loop.remove_reader(listener)
