"""A worker process: the edge and the data plane on one uvloop.

Everything heavy is imported before the first message arrives, while the supervisor still
reads the configuration. pydantic, YAML and SQLAlchemy never get here: a worker stays under
45 MB.
"""

from __future__ import annotations

import asyncio
import contextlib
import faulthandler
import gc
import resource
import signal
import socket
import ssl
import sys
import traceback
from typing import Final, Protocol

import msgspec
import uvloop

from tidegate.config.snapshot import (
    EdgeSnapshot,
    KeySnapshot,
    Snapshot,
    TlsSnapshot,
    decode_snapshot,
)
from tidegate.control.channel import ChannelClosed
from tidegate.control.child_channel import (
    EXIT_OTHER_VERSION,
    AsyncChannel,
    attach_segment,
    inherited_socket,
    receive_attach,
)
from tidegate.control.eventlog import EventLog
from tidegate.control.live.watch import is_watched
from tidegate.control.messages import (
    Applied,
    Configure,
    Drain,
    Drained,
    Keys,
    Leaving,
    Message,
    Ready,
    RecentRows,
    Refused,
    Stop,
    decode_keys,
)
from tidegate.control.pulse import Pulse
from tidegate.edge.exchange import Front, Handler
from tidegate.edge.server import Server
from tidegate.errors import ConfigError
from tidegate.memory import Segment, SlotState, SlotWord
from tidegate.metrics.registry import Registry
from tidegate.sweep import Sweep
from tidegate.workers.balance import AcceptBalance, BalancedServer

MOST_OPEN_FILES: Final = 1 << 20
PAGE_CONNECTIONS: Final = 100
"""Most connections of one worker to the metrics page's own listener."""
OBSERVE_S: Final = 1.0
EXIT_OK: Final = 0
EXIT_ORPHANED: Final = 3
"""The supervisor is gone."""
EXIT_REFUSED: Final = 4
"""The first configuration cannot be used."""


class Plane(Protocol):
    """What a worker serves with; `workers.wiring.DataPlane` in a gateway.

    Attributes:
        handler: Answers an exchange.
        front: Answers plain ones before it.
        page_handler: Answers one of the metrics page's own listener; used only if there is one.
        draining: Set when no new traffic is welcome any more.
    """

    handler: Handler
    front: Front | None
    page_handler: Handler
    draining: bool

    def apply(self, snapshot: Snapshot) -> None:
        """Put *snapshot* in force, or raise `ConfigError` and keep the one before."""

    def set_keys(self, keys: tuple[KeySnapshot, ...], generation: int) -> None:
        """Replace the table of keys."""

    def observe(self, connections: int, active: int) -> None:
        """Refresh the gauges, once a second."""

    def note_refusal(self, rule: str, status: int) -> None:
        """Count a request that the edge refused."""

    def note_error(self, error: BaseException) -> None:
        """Log what a handler should not have raised."""

    def recent_rows(self, is_watched: bool) -> bytes | None:
        """Return requests settled since the last call, packed; collect more while watched."""

    async def finish_jobs(self, within_s: float) -> bool:
        """Let what runs without a client end, or end it; False where that was needed."""

    def close(self) -> None:
        """Close what is open, write what is not written."""


class Worker:
    """One life of a worker process."""

    def __init__(
        self,
        slot: int,
        segment: Segment,
        listener: socket.socket,
        page_listener: socket.socket | None = None,
    ) -> None:
        self.segment = segment
        self.slot = slot
        self.loop = asyncio.get_running_loop()
        self.sweep = Sweep(self.loop)
        self.log = EventLog(f"worker-{slot}")
        self.registry = Registry(segment, slot)
        self._listener = listener
        self._page_listener = page_listener
        self._channel = AsyncChannel(self._on_message, self._on_orphaned)
        self._configure: Configure | None = None
        self._keys: Keys | None = None
        self._plane: Plane | None = None
        self._server: Server | None = None
        self._page_server: Server | None = None
        self._leaving: asyncio.Task[None] | None = None
        self._stopping = False
        self._has_tls = False
        self._exit: asyncio.Future[int] = self.loop.create_future()

    def make_plane(self, snapshot: Snapshot, keys: tuple[KeySnapshot, ...]) -> Plane:
        """Return the data plane of a gateway."""
        from tidegate.workers.wiring import DataPlane

        return DataPlane(
            self.loop,
            self.segment,
            self.slot,
            self.sweep,
            snapshot,
            keys,
            registry=self.registry,
            access_log_fd=2,
        )

    async def run(self, channel: socket.socket) -> int:
        """Serve until told to stop; return the exit code."""
        await self._channel.open(channel)
        Pulse(self.loop, self.segment, self.slot, self.registry)
        self.loop.add_signal_handler(signal.SIGTERM, self._on_terminate)
        code = await self._exit
        if self._plane is not None:
            self._plane.close()
        await self._channel.flush()
        return code

    # Orders

    def _on_message(self, message: Message) -> None:
        match message:
            case Configure():
                self._on_configure(message)
            case Keys():
                self._on_keys(message)
            case Drain():
                self._leave(message)
            case Stop():
                self._begin_stop(EXIT_OK)
            case _:
                self.log.error("unexpected message")

    def _on_configure(self, message: Configure) -> None:
        if self._plane is None:
            self._configure = message
            self._start()
            return
        try:
            snapshot = decode_snapshot(message.snapshot)
            # Read anew each time: a certificate is renewed under the same name.
            context = _server_context(snapshot.edge.tls, "server.tls")
            page_context = _server_context(snapshot.metrics.tls, "metrics.tls")
            self._plane.apply(snapshot)
        except ConfigError as error:
            self._channel.send(Refused(message.generation, tuple(error.problems)))
            return
        except Exception as error:  # noqa: BLE001 (the old configuration goes on serving)
            self._refuse_surprised(message.generation, error)
            return
        if self._server is not None:
            self._server.configure(snapshot.edge)
            if self._has_tls == (context is not None):
                # Whether the port speaks TLS at all cannot change while it is open.
                self._server.use_tls(context)
        if self._page_server is not None:
            self._page_server.configure(_page_caps(snapshot.edge))
            self._page_server.use_tls(page_context)
        self._confirm(message.generation, snapshot)

    def _on_keys(self, message: Keys) -> None:
        if self._plane is None:
            self._keys = message
            self._start()
            return
        self._plane.set_keys(decode_keys(message.table), message.generation)
        self.segment.set(self.slot, SlotWord.KEYS_GENERATION, message.generation)

    def _start(self) -> None:
        """Begin to serve as soon as both configuration and keys are here."""
        if self._configure is None or self._keys is None or self._stopping:
            return
        snapshot = decode_snapshot(self._configure.snapshot)
        try:
            plane = self.make_plane(snapshot, decode_keys(self._keys.table))
            plane.set_keys(decode_keys(self._keys.table), self._keys.generation)
            self._server = self._make_server(plane, snapshot.edge)
            self._page_server = self._make_page_server(plane, snapshot)
        except ConfigError as error:
            self._channel.send(Refused(snapshot.generation, tuple(error.problems)))
            self._begin_stop(EXIT_REFUSED)
            return
        except Exception as error:  # noqa: BLE001 (the supervisor must hear of it)
            self._refuse_surprised(snapshot.generation, error)
            self._begin_stop(EXIT_REFUSED)
            return
        self._plane = plane
        self._has_tls = snapshot.edge.tls is not None
        # What is here now stays for ever: the collector need not look at it again, and its
        # pages are not written to.
        gc.collect()
        gc.freeze()
        for server in self._servers():
            server.start()
        self._observe()
        self.segment.set(self.slot, SlotWord.KEYS_GENERATION, self._keys.generation)
        self.segment.set(self.slot, SlotWord.STATE, SlotState.READY)
        self._confirm(snapshot.generation, snapshot)
        self._channel.send(Ready())

    def _observe(self) -> None:
        """Let the data plane refresh its gauges, now and once a second."""
        if self._plane is not None and self._server is not None:
            self._plane.observe(len(self._server.connections), len(self._server.running))
            rows = self._plane.recent_rows(is_watched(self.segment))
            if rows is not None and self._channel.is_clear:
                self._channel.send(RecentRows(rows))
            self.loop.call_later(OBSERVE_S, self._observe)

    def _refuse_surprised(self, generation: int, error: Exception) -> None:
        """Refuse for a fault of ours, with its place but not its text, which may quote a value."""
        where = traceback.extract_tb(error.__traceback__)[-1]
        reason = f"{type(error).__name__} in {where.name} ({where.filename}:{where.lineno})"
        self._channel.send(Refused(generation, (("configuration", reason),)))

    def _make_server(self, plane: Plane, caps: EdgeSnapshot) -> Server:
        return BalancedServer(
            AcceptBalance(self.segment, self.slot),
            self._listener,
            plane.handler,
            caps,
            self.sweep,
            loop=self.loop,
            front=plane.front,
            ssl_context=_server_context(caps.tls, "server.tls"),
            on_refusal=plane.note_refusal,
            on_error=plane.note_error,
        )

    def _make_page_server(self, plane: Plane, snapshot: Snapshot) -> Server | None:
        """Return what serves the metrics page's own listener, if it has one."""
        if self._page_listener is None:
            return None
        return Server(
            self._page_listener,
            plane.page_handler,
            _page_caps(snapshot.edge),
            self.sweep,
            loop=self.loop,
            ssl_context=_server_context(snapshot.metrics.tls, "metrics.tls"),
            on_refusal=plane.note_refusal,
            on_error=plane.note_error,
        )

    def _servers(self) -> list[Server]:
        return [server for server in (self._server, self._page_server) if server is not None]

    def _confirm(self, generation: int, snapshot: Snapshot) -> None:
        self.log.set_level(snapshot.log_level)
        self.segment.set(self.slot, SlotWord.GENERATION, generation)
        self._channel.send(Applied(generation))

    # The end

    def _on_terminate(self) -> None:
        """Obey SIGTERM to this worker alone: be replaced, then drain.

        A service manager that signals whole groups sends it to all; the supervisor then
        drains everybody anyway.
        """
        self._channel.send(Leaving())

    def _leave(self, order: Drain) -> None:
        if self._server is None:
            self._begin_stop(EXIT_OK)
        elif self._leaving is None and not self._stopping:
            self._leaving = self.loop.create_task(self._drain(order))

    async def _drain(self, order: Drain) -> None:
        assert self._plane is not None
        assert self._server is not None
        self._plane.draining = True
        self.segment.set(self.slot, SlotWord.STATE, SlotState.DRAINING)
        if order.accept_s > 0:
            await asyncio.sleep(order.accept_s)
        draining = [
            self.loop.create_task(server.drain(order.drain_s, take_queue=order.last))
            for server in self._servers()
        ]
        # Its first step stops accepting; then our hold on the listener can go, so that after
        # the last of us new connections are refused at once and not left in a queue.
        await asyncio.sleep(0)
        self._listener.close()
        if self._page_listener is not None:
            self._page_listener.close()
        before = len(self._server.running)
        draining.append(self.loop.create_task(self._plane.finish_jobs(order.drain_s)))
        whole = all(await asyncio.gather(*draining))
        self._finish(EXIT_OK, 0 if whole else max(1, before))

    def _begin_stop(self, code: int) -> None:
        if not self._stopping:
            self._stopping = True
            self.segment.set(self.slot, SlotWord.STATE, SlotState.DRAINING)
            if self._plane is not None:
                self._plane.draining = True
            self._stop_task = self.loop.create_task(self._stop(code))

    async def _stop(self, code: int) -> None:
        cut = 0
        if self._server is not None:
            cut = len(self._server.running)
            await asyncio.gather(*(server.stop() for server in self._servers()))
        if self._plane is not None:
            await self._plane.finish_jobs(0.0)
        self._finish(code, cut)

    def _finish(self, code: int, cut: int) -> None:
        if not self._exit.done():
            self._channel.send(Drained(cut))
            self._exit.set_result(code)

    def _on_orphaned(self) -> None:
        """The supervisor is gone: nobody would ever replace us, and a new one wants the port."""
        if not self._exit.done():
            self.log.error("the supervisor is gone: stopping")
            self._begin_stop(EXIT_ORPHANED)


def _page_caps(caps: EdgeSnapshot) -> EdgeSnapshot:
    """The data port's caps, but for fewer connections."""
    return msgspec.structs.replace(
        caps, max_connections=min(PAGE_CONNECTIONS, caps.max_connections)
    )


def _server_context(tls: TlsSnapshot | None, setting: str) -> ssl.SSLContext | None:
    if tls is None:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    try:
        context.load_cert_chain(tls.certificate, tls.key, password="")
    except (OSError, ssl.SSLError) as error:
        reason = f"certificate and key cannot be used: {error}"
        raise ConfigError([(setting, reason)]) from error
    return context


def _raise_open_files() -> None:
    """Use what the hard limit allows: a soft limit of 1,024 is common, and is 500 streams."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MOST_OPEN_FILES if hard == resource.RLIM_INFINITY else min(hard, MOST_OPEN_FILES)
    if soft < wanted:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def main(worker: type[Worker] = Worker) -> int:
    """Be a worker on the descriptors that the supervisor left us."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    # A worker whose loop stands still is asked for its stack before it is killed.
    faulthandler.register(signal.SIGUSR1, file=2, all_threads=True)
    _raise_open_files()
    channel = inherited_socket()
    _import_data_plane()
    try:
        attach, descriptors = receive_attach(channel)
    except (ChannelClosed, OSError):
        return EXIT_ORPHANED
    segment = attach_segment(attach, descriptors[0])
    if segment is None:
        return EXIT_OTHER_VERSION
    listeners = [socket.socket(fileno=descriptor) for descriptor in descriptors[1:]]

    async def live() -> int:
        return await worker(attach.slot, segment, *listeners).run(channel)

    return uvloop.run(live())


def _import_data_plane() -> None:
    import tidegate.workers.wiring  # noqa: F401


if __name__ == "__main__":
    sys.exit(main())
