"""The control process: opens the database, watches the keys, does the periodic work.

Workers never touch the database; when control or the database is down they go on with
the keys they know. A database on a server may be away at a start, too: the keys of the
last time are then published from disk, or, without them, the start waits.
"""

from __future__ import annotations

import asyncio
import faulthandler
import gc
import signal
import socket
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from tidegate.config.snapshot import Snapshot, decode_snapshot, secrets_of
from tidegate.control import log_handler
from tidegate.control.admin.listener import control_url
from tidegate.control.admin.service import AdminService
from tidegate.control.channel import ChannelClosed
from tidegate.control.child_channel import (
    EXIT_OTHER_VERSION,
    AsyncChannel,
    attach_segment,
    inherited_socket,
    receive_attach,
)
from tidegate.control.eventlog import EventLog
from tidegate.control.jobs import Job, JobRunner
from tidegate.control.keycache import KeyCache
from tidegate.control.keytable import FIRST_KEY_NAME, POLL_S, KeyTable
from tidegate.control.ledger_job import TICK_EVERY_S, LedgerJob
from tidegate.control.limiter_snapshot import SAVE_EVERY_S, LimiterSnapshot
from tidegate.control.messages import (
    Applied,
    Configure,
    FirstKey,
    FirstToken,
    Keys,
    Message,
    Ready,
    RecentRows,
    Refused,
    Stop,
    WorkerDied,
    decode_keys,
)
from tidegate.control.pulse import Pulse
from tidegate.errors import ConfigError
from tidegate.logs.redact import know
from tidegate.memory import CONTROL_SLOT, Segment, SlotState, SlotWord
from tidegate.metrics.families.rate_limits import TABLE_USED
from tidegate.metrics.registry import Registry
from tidegate.stores.admin_token import AdminTokenStore
from tidegate.stores.agreement import agree_on_pepper
from tidegate.stores.keys import KeyStore
from tidegate.stores.opening import Stores, open_stores
from tidegate.stores.protocols import StoreError
from tidegate.tracing.push import PUSH_TICK_S, MetricsPush

EXIT_OK: Final = 0
EXIT_ORPHANED: Final = 3
EXIT_REFUSED: Final = 4
RETRY_S: Final = 1.0
"""Between two tries to open a database that was open before."""
TOKEN_POLL_S: Final = 1.0
"""How soon a new admin token ends the one before."""


class Control:
    """One life of the control process.

    Attributes:
        worker_died: Called with each `WorkerDied`, on the loop.
    """

    def __init__(self, segment: Segment) -> None:
        self.segment = segment
        self.loop = asyncio.get_running_loop()
        self.log = EventLog("control")
        log_handler.install(self.log)
        self.registry = Registry(segment, CONTROL_SLOT)
        self.jobs = JobRunner(self.log)
        self.worker_died: list[Callable[[WorkerDied], None]] = []
        self._push = MetricsPush(segment)
        self.admin = AdminService(self.registry, self.log)
        self._token_digest: bytes | None = None
        self._channel = AsyncChannel(self._on_message, self._on_orphaned)
        self._stores: Stores | None = None
        self._table: KeyTable | None = None
        self._agreed = False
        self._restored = False
        self._opening: asyncio.Task[None] | None = None
        self._latest: Configure | None = None
        self._exit: asyncio.Future[int] = self.loop.create_future()

    async def run(self, channel: socket.socket) -> int:
        """Work until told to stop; return the exit code."""
        await self._channel.open(channel)
        Pulse(self.loop, self.segment, CONTROL_SLOT, self.registry)
        code = await self._exit
        if self._opening is not None:
            self._opening.cancel()
        await self.admin.close()
        await self.jobs.close()
        if self._stores is not None:
            self._stores.close()
        await self._channel.flush()
        return code

    def periodic_jobs(self, snapshot: Snapshot, table: KeyTable, stores: Stores) -> list[Job]:
        """Return what is to be done again and again; new periodic work is added here."""
        data_dir = Path(snapshot.data_dir)
        limits = LimiterSnapshot(self.segment, data_dir)
        used = self.registry.gauge(TABLE_USED).series

        def save_limits() -> None:
            limits.save()
            used.set(limits.used_ratio)

        def poll_keys() -> None:
            self._agree(snapshot, stores)
            table.poll()

        ledger = LedgerJob(snapshot, stores.ledger, self.registry, self.admin.tally)
        tokens = AdminTokenStore(stores.database, snapshot.pepper)
        return [
            Job("keys", POLL_S, poll_keys),
            Job("admin token", TOKEN_POLL_S, lambda: self._note_token(tokens.digest())),
            Job("limits", SAVE_EVERY_S, save_limits, at_end=save_limits, thread="limits"),
            Job("ledger", TICK_EVERY_S, ledger.tick, at_end=ledger.close, thread="ledger"),
            Job("otlp", PUSH_TICK_S, self._push.tick, at_end=self._push.close, thread="otlp"),
        ]

    # Orders

    def _on_message(self, message: Message) -> None:
        match message:
            case Configure():
                self._on_configure(message)
            case RecentRows():
                self.admin.take_rows(message.rows)
            case WorkerDied():
                for hear in self.worker_died:
                    hear(message)
            case Stop():
                self._finish(EXIT_OK)
            case _:
                self.log.error("unexpected message")

    def _on_configure(self, message: Configure) -> None:
        self._latest = message
        if self._opening is None:
            self._opening = self.loop.create_task(self._open(message))
        elif self._table is not None:
            self._opening = self.loop.create_task(self._reconfigure(self._table, message))

    async def _reconfigure(self, table: KeyTable, message: Configure) -> None:
        snapshot = decode_snapshot(message.snapshot)
        know(secrets_of(snapshot, message.database))
        self.log.set_level(snapshot.log_level)
        self._push.use(snapshot)
        self.admin.configure(snapshot, message.url)
        keys = decode_keys(message.config_keys)
        await self.jobs.call(lambda: table.set_config_keys(keys))
        self._confirm(message.generation)

    async def _open(self, message: Configure) -> None:
        """Open the database, publish the keys, start the jobs."""
        snapshot = decode_snapshot(message.snapshot)
        know(secrets_of(snapshot, message.database))
        self.log.set_level(snapshot.log_level)
        self._push.use(snapshot)
        while True:
            try:
                await self.jobs.call(lambda: self._prepare(snapshot, message))
                break
            except ConfigError as error:
                problems = tuple(error.problems)
            except Exception as error:  # noqa: BLE001 (whatever a database may raise)
                if isinstance(error, StoreError) and message.database is not None:
                    self.jobs.complain("keys", error)
                    await asyncio.sleep(RETRY_S)
                    continue
                problems = (("stores.database", type(error).__name__),)
            self._channel.send(Refused(message.generation, problems))
            if message.first_start:
                self._finish(EXIT_REFUSED)
                return
            await asyncio.sleep(RETRY_S)
        assert self._table is not None
        assert self._stores is not None
        for job in self.periodic_jobs(snapshot, self._table, self._stores):
            self.jobs.add(job)
        # Thousands of rows are alive during a fold: a look at them all for each 700 new ones
        # took a tenth of its time.
        gc.freeze()
        gc.set_threshold(20_000, 20, 20)
        self.segment.set(CONTROL_SLOT, SlotWord.STATE, SlotState.READY)
        self._confirm(message.generation)
        self._channel.send(Ready())
        self.admin.configure(snapshot, message.url)
        if self._latest is not None and self._latest is not message:
            await self._reconfigure(self._table, self._latest)

    def _prepare(self, snapshot: Snapshot, message: Configure) -> None:
        """The blocking part of `_open`, on the database thread."""
        data_dir = Path(snapshot.data_dir)
        if self._stores is None:
            self._stores = open_stores(data_dir, message.database)
        cache = None
        if message.database is not None:
            cache = KeyCache(data_dir, snapshot.pepper, message.database.name)
        keys = KeyStore(self._stores.database, snapshot.pepper)
        table = KeyTable(keys, self._publish_keys, cache)
        table.set_config_keys(decode_keys(message.config_keys))
        if message.first_start and not self._restored:
            # Before any worker has keys, thus before any request.
            LimiterSnapshot(self.segment, data_dir).restore()
            self._restored = True
        try:
            self._agree(snapshot, self._stores)
            if table.is_empty():
                self._without_key(table, message)
            self._prepare_token(snapshot, self._stores, message)
            table.poll()
        except StoreError as error:
            if message.database is None:
                raise
            if error.refused and message.first_start:
                reason = f"{message.database.name}: {error}"
                raise ConfigError([("stores.database", reason)]) from None
            self._without_database(table, message, error)
        except OSError as error:
            self.jobs.complain("keys", error)  # of the cache, which is tried again
        self._table = table

    def _agree(self, snapshot: Snapshot, stores: Stores) -> None:
        """See once, as soon as the database can be asked, that our pepper is its own."""
        if not self._agreed:
            agree_on_pepper(stores.database, snapshot.pepper, now_ms=time.time_ns() // 1_000_000)
            self._agreed = True

    def _without_database(self, table: KeyTable, message: Configure, error: StoreError) -> None:
        """Go on with the keys of the last time, or raise *error*.

        At any but the first start the workers have keys, and a new one gets those.
        """
        count = table.publish_cached()
        if count is None and message.first_start:
            raise error
        self.jobs.complain("keys", error)
        if message.first_start:
            self.log.warning("the database is away: serving the keys of the last time", keys=count)

    def _without_key(self, table: KeyTable, message: Configure) -> None:
        if message.no_key and message.first_start:
            raise ConfigError(list(message.no_key))
        secret = table.make_first() if message.first_start else None
        if secret is None:
            self.log.warning("there is no usable API key; make one with `tidegate keys create`")
        else:
            self._send_soon(FirstKey(FIRST_KEY_NAME, secret))

    def _prepare_token(self, snapshot: Snapshot, stores: Stores, message: Configure) -> None:
        """Make the admin token at a first start, if there is none and a port that wants it."""
        tokens = AdminTokenStore(stores.database, snapshot.pepper)
        control = snapshot.control
        if control.port and message.first_start:
            token = tokens.create_first()
            if token is not None:
                self._send_soon(FirstToken(token, control_url(control.host, control.port)))
        self._note_token(tokens.digest())

    def _note_token(self, digest: bytes | None) -> None:
        if digest != self._token_digest:
            self._token_digest = digest
            self.loop.call_soon_threadsafe(self.admin.set_digest, digest)

    def _publish_keys(self, table: bytes) -> None:
        self._send_soon(Keys(0, table))
        self.loop.call_soon_threadsafe(self.admin.set_keys, decode_keys(table))

    def _send_soon(self, message: Message) -> None:
        """Send from the database thread."""
        self.loop.call_soon_threadsafe(self._channel.send, message)

    def _confirm(self, generation: int) -> None:
        self.segment.set(CONTROL_SLOT, SlotWord.GENERATION, generation)
        self._channel.send(Applied(generation))

    # The end

    def _on_orphaned(self) -> None:
        self._finish(EXIT_ORPHANED)

    def _finish(self, code: int) -> None:
        if not self._exit.done():
            self._exit.set_result(code)


def main(control: type[Control] = Control) -> int:
    """Be the control process on the descriptor that the supervisor left us."""
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # the supervisor says when
    faulthandler.register(signal.SIGUSR1, file=2, all_threads=True)
    channel = inherited_socket()
    try:
        attach, descriptors = receive_attach(channel)
    except (ChannelClosed, OSError):
        return EXIT_ORPHANED
    segment = attach_segment(attach, descriptors[0])
    if segment is None:
        return EXIT_OTHER_VERSION

    async def live() -> int:
        return await control(segment).run(channel)

    return asyncio.run(live())


if __name__ == "__main__":
    sys.exit(main())
