"""A credential that ages: fetched once for all who wait, kept, and renewed ahead of its end."""

from __future__ import annotations

import asyncio
import logging
from abc import abstractmethod
from collections.abc import Awaitable, Callable
from typing import Final, Generic, NamedTuple, TypeVar

from tidegate.upstream.answer import UpstreamFault

log = logging.getLogger("tidegate.providers")

T = TypeVar("T")

#: How long after a failure it is not tried again; who asks meanwhile is told of that failure.
RETRY_S: Final = 1.0
#: Renewal begins this long before the end, or at the last fifth of a shorter life.
AHEAD_S: Final = 300.0
#: One that is refused this long after it was fetched is given up.
DOUBT_S: Final = 5.0


class NoCredential(Exception):
    """It could not be had; the message says why and holds no secret."""


class Fetched(NamedTuple, Generic[T]):
    """What was fetched, and for how many seconds from now it is good."""

    value: T
    lifetime_s: float


class Fresh(Generic[T]):
    """Holds one credential of one provider."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        name: str,
        fetch: Callable[[], Awaitable[Fetched[T]]],
    ) -> None:
        """Make it empty; the first who asks makes it fetch.

        Args:
            loop: The worker's loop.
            name: The provider's, for the log.
            fetch: Must be bounded in time. Raises `NoCredential` or `UpstreamFault`.
        """
        self._loop = loop
        self._name = name
        self._fetch = fetch
        self._value: T | None = None
        self._renew_at = 0.0
        self._ends_at = 0.0
        self._fetched_at = float("-inf")
        self._task: asyncio.Task[None] | None = None
        self._failure = ""
        self._failed_at = float("-inf")

    async def get(self) -> T:
        """Return a valid one.

        Raises:
            UpstreamFault: There is none now (kind `connect`); nothing was sent to the provider.
        """
        now = self._loop.time()
        value = self._value
        if value is not None and now < self._renew_at:
            return value
        may_try = now >= self._failed_at + RETRY_S
        if self._task is None and may_try:
            self._task = self._loop.create_task(self._renew())
        if value is not None and now < self._ends_at:
            return value
        if self._task is not None:
            # Whoever leaves must not stop what others wait for.
            await asyncio.shield(self._task)
            value = self._value
            if value is not None and self._loop.time() < self._ends_at:
                return value
        raise UpstreamFault("connect", self._failure, sent=False, answered=False)

    def doubt(self) -> None:
        """Fetch a new one before the next use: the provider refused this one.

        Without effect on one that was fetched just now: a provider that refuses everything
        must not make every request fetch.
        """
        if self._loop.time() >= self._fetched_at + DOUBT_S:
            self._value = None

    def close(self) -> None:
        """Stop fetching."""
        if self._task is not None:
            self._task.cancel()

    async def _renew(self) -> None:
        """Fetch once; never raises but when cancelled."""
        try:
            fetched = await self._fetch()
        except (NoCredential, UpstreamFault) as error:
            self._fail(f"no credential: {error}")
        except Exception as error:  # noqa: BLE001 - a library's; its words may quote secrets
            self._fail(f"no credential: {type(error).__name__}")
        else:
            now = self._loop.time()
            life_s = max(fetched.lifetime_s, 0.0)
            self._value = fetched.value
            self._fetched_at = now
            self._ends_at = now + life_s
            self._renew_at = self._ends_at - min(AHEAD_S, life_s / 5)
            self._failed_at = float("-inf")
            if life_s == 0.0:
                self._fail("no credential: the one that came had ended")
        finally:
            self._task = None

    def _fail(self, reason: str) -> None:
        self._failure = reason
        self._failed_at = self._loop.time()
        log.warning(
            "provider credential failed",
            extra={"fields": {"provider": self._name, "reason": reason}},
        )


class TokenSigner:
    """A signer whose header line is one token for all requests; see `routing.target.Signer`.

    Args:
        loop: The worker's loop.
        name: The provider's.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, name: str) -> None:
        self._fresh: Fresh[bytes] = Fresh(loop, name, self._fetch)

    async def lines(self, method: bytes, path: bytes, body: bytes) -> bytes:
        """Return the token as a header line; see `Signer.lines`."""
        return await self._fresh.get()

    def doubt(self) -> None:
        """See `Signer.doubt`."""
        self._fresh.doubt()

    def close(self) -> None:
        """Stop fetching."""
        self._fresh.close()

    @abstractmethod
    async def _fetch(self) -> Fetched[bytes]:
        """Return the header line and how long it is good; see `Fresh`."""
