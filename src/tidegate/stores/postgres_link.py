"""Connections to a PostgreSQL server for blocking callers, each call with a deadline.

asyncpg runs on an event loop in a thread of its own. A caller that gets no answer in time
closes the connection from outside, which ends whatever waits on it: a server that is
stopped, frozen or cut off costs a caller its deadline and nothing more.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final, TypeVar

from tidegate.errors import ConfigError
from tidegate.stores.postgres import bring_up_to_date, is_current
from tidegate.stores.protocols import ConstraintViolated, StoreError

if TYPE_CHECKING:
    import asyncpg

_T = TypeVar("_T")

CONNECT_S: Final = 3.0
CALL_S: Final = 5.0
"""How long one statement, or a small batch of them, may take."""
MIGRATE_S: Final = 120.0
"""Waiting for another host's migration included."""

_MAX_IDLE: Final = 3
_CLOSE_S: Final = 1.0
_SESSION: Final = (
    # A host that vanishes inside a transaction must not keep its locks for hours.
    "SET idle_in_transaction_session_timeout = '20s'; SET lock_timeout = '10s'"
)
_FOR_GOOD: Final = frozenset({"28", "3D"})
_MAY_QUOTE_VALUES: Final = frozenset({"22", "23"})


class PostgresLink:
    """The connections of one process to one database. Safe for several threads.

    Nothing is opened before it is needed, and the schema is brought up to date by the first
    use that reaches the server.

    Args:
        url: `postgresql://user@host:port/database`, as `asyncpg.connect` takes it.
        password: When it does not stand in the URL.
        connect_s: How long opening a connection may take.
        call_s: How long a call may take that says nothing else.

    Raises:
        ConfigError: The driver is not installed.
    """

    def __init__(
        self,
        url: str,
        password: str | None = None,
        *,
        connect_s: float = CONNECT_S,
        call_s: float = CALL_S,
    ) -> None:
        self._driver = _load_driver()
        self._url = url
        self._password = password
        self._connect_s = connect_s
        self._call_s = call_s
        self._guard = threading.Lock()
        self._migrating = threading.Lock()
        self._is_current = False
        self._idle: list[asyncpg.Connection] = []
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    @contextmanager
    def lease(self) -> Iterator[Lease]:
        """Give a connection for the block; it is closed after any failure in it.

        Raises:
            StoreError: The server cannot be reached.
            ConfigError: The schema was made by a newer version.
        """
        lease = Lease(self, self._take())
        try:
            self._prepare(lease)
            yield lease
        except BaseException:
            lease.drop()
            raise
        finally:
            self._give_back(lease)

    def close(self) -> None:
        """Close the connections and end the thread."""
        with self._guard:
            idle, self._idle = self._idle, []
            loop, self._loop = self._loop, None
            thread, self._thread = self._thread, None
        if loop is None or thread is None:
            return
        with suppress(Exception):  # whatever a dying server answers, we leave
            asyncio.run_coroutine_threadsafe(_close(idle), loop).result(_CLOSE_S + 1.0)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(_CLOSE_S)

    def run(self, work: Callable[[asyncpg.Connection], Awaitable[_T]], deadline_s: float) -> _T:
        """Do *work* on a connection; see `Lease.run`."""
        with self.lease() as lease:
            return lease.run(work, deadline_s)

    @property
    def call_s(self) -> float:
        """How long a call may take that says nothing else."""
        return self._call_s

    # ------------------------------------------------------------------ connections

    def _take(self) -> asyncpg.Connection:
        with self._guard:
            while self._idle:
                connection = self._idle.pop()
                if not connection.is_closed():
                    return connection
        future = self.submit(self._connect())
        try:
            return future.result(self._connect_s + 1.0)
        except Exception as error:  # noqa: BLE001 (`told` gives back what is not the server's)
            future.cancel()
            raise self.told(error, "the server does not answer") from None

    async def _connect(self) -> asyncpg.Connection:
        connection = await self._driver.connect(
            self._url,
            password=self._password,
            timeout=self._connect_s,
            server_settings={"application_name": "tidegate"},
        )
        try:
            async with asyncio.timeout(self._connect_s):
                await connection.execute(_SESSION)
        except BaseException:
            connection.terminate()
            raise
        return connection

    def _prepare(self, lease: Lease) -> None:
        if not self._is_current:
            with self._migrating:
                if not self._is_current:
                    if not lease.run(is_current):
                        lease.run(bring_up_to_date, MIGRATE_S)
                    self._is_current = True

    def _give_back(self, lease: Lease) -> None:
        with self._guard:
            keep = not lease.is_dropped and self._loop is not None and len(self._idle) < _MAX_IDLE
            if keep:
                self._idle.append(lease.connection)
        if not keep:
            lease.drop()

    # ------------------------------------------------------------------ the loop

    def submit(self, work: Coroutine[Any, Any, _T]) -> Future[_T]:
        """Begin *work* on the loop."""
        with self._guard:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                self._thread = threading.Thread(
                    target=_turn, args=(self._loop,), name="postgresql", daemon=True
                )
                self._thread.start()
            loop = self._loop
        return asyncio.run_coroutine_threadsafe(work, loop)

    def drop(self, connection: asyncpg.Connection) -> None:
        """Close *connection* without a word, whatever waits on it."""
        with self._guard:
            loop = self._loop
        if loop is not None:
            loop.call_soon_threadsafe(connection.terminate)

    def told(self, error: BaseException, silence: str) -> BaseException:
        """Return what of *error* callers get; *silence* tells of a deadline that passed."""
        driver = self._driver
        if isinstance(error, driver.IntegrityConstraintViolationError):
            return ConstraintViolated(type(error).__name__)
        if isinstance(error, TimeoutError):
            return StoreError(silence)
        if isinstance(error, driver.PostgresError):
            state = error.sqlstate or ""
            text = "" if state[:2] in _MAY_QUOTE_VALUES else f"{error.args[0]} "
            return StoreError(
                f"{text}({type(error).__name__}, SQLSTATE {state})",
                full=state == "53100",
                refused=state[:2] in _FOR_GOOD or state == "42501",
            )
        if isinstance(error, OSError):
            return StoreError(error.strerror or str(error) or type(error).__name__)
        if isinstance(error, driver.InterfaceError | driver.InternalClientError):
            return StoreError(str(error))
        return error


class Lease:
    """One connection, as long as its block lasts.

    Attributes:
        connection: asyncpg's; only to be used on the link's loop.
        is_dropped: It was closed.
    """

    __slots__ = ("_link", "connection", "is_dropped")

    def __init__(self, link: PostgresLink, connection: asyncpg.Connection) -> None:
        self._link = link
        self.connection = connection
        self.is_dropped = False

    def run(
        self,
        work: Callable[[asyncpg.Connection], Awaitable[_T]],
        deadline_s: float | None = None,
    ) -> _T:
        """Do *work* on the loop and wait for it.

        Raises:
            StoreError: It failed, or took longer than *deadline_s*. Whether a commit in it took
                place is not known then.
            ConstraintViolated: See there.
        """
        wait_s = self._link.call_s if deadline_s is None else deadline_s
        future = self._link.submit(_await(work, self.connection))
        try:
            return future.result(wait_s)
        except Exception as error:  # noqa: BLE001 (`told` gives back what is not the server's)
            self.drop()
            raise self._link.told(error, f"no answer within {wait_s:g} s") from None

    def drop(self) -> None:
        """Close the connection; what waits on it fails."""
        if not self.is_dropped:
            self.is_dropped = True
            self._link.drop(self.connection)


async def _await(
    work: Callable[[asyncpg.Connection], Awaitable[_T]], connection: asyncpg.Connection
) -> _T:
    return await work(connection)


async def _close(connections: list[asyncpg.Connection]) -> None:
    for connection in connections:
        try:
            await connection.close(timeout=_CLOSE_S)
        except (OSError, TimeoutError):
            connection.terminate()


def _turn(loop: asyncio.AbstractEventLoop) -> None:
    """Run *loop* until it is stopped, then end what is left on it."""
    asyncio.set_event_loop(loop)
    try:
        loop.run_forever()
        left = asyncio.all_tasks(loop)
        for task in left:
            task.cancel()
        loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
    finally:
        loop.close()


def _load_driver() -> ModuleType:
    try:
        import asyncpg
    except ImportError:
        reason = "PostgreSQL needs one more package: pip install 'tidegate[postgres]'"
        raise ConfigError([("stores.database", reason)]) from None
    driver: ModuleType = asyncpg
    return driver
