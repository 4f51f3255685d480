"""What stands between targets and providers: connections, signers, and the models they have.

All of it is kept over reloads for providers whose settings did not change.
"""

from __future__ import annotations

import asyncio
import ssl

from tidegate import __version__
from tidegate.config.snapshot import ProviderSnapshot, Snapshot
from tidegate.pipeline.gateway import State
from tidegate.providers.demo_upstream import DemoUpstream
from tidegate.providers.ollama_tags import read_tags
from tidegate.providers.reshape import RESHAPES, Reshape
from tidegate.routing.target import Signer
from tidegate.sweep import Sweep
from tidegate.upstream.idle_watch import IdleWatch
from tidegate.upstream.origin import Origin
from tidegate.upstream.pool import UpstreamPool
from tidegate.workers.signing import Signers


class Upstreams:
    """The providers of one worker, as its targets use them.

    Attributes:
        watch: Looks at all their connections at once.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, sweep: Sweep) -> None:
        self._loop = loop
        self._sweep = sweep
        self.watch = IdleWatch()
        self._pools: dict[tuple[object, ...], UpstreamPool | DemoUpstream] = {}
        self._signers = Signers(loop, self._connect)
        self._discovery: set[asyncio.Task[None]] = set()

    def check(self, snapshot: Snapshot) -> list[tuple[str, str]]:
        """Make what *snapshot* needs; return `(path, reason)` of providers that cannot be."""
        problems: list[tuple[str, str]] = []
        for provider in snapshot.providers:
            try:
                self.pool(provider)
                self._signers.of(provider)
            except ValueError as error:
                problems.append((f"providers.{provider.name}", str(error)))
        return problems

    def pool(self, provider: ProviderSnapshot) -> UpstreamPool | DemoUpstream:
        """Return the connections of *provider*: one pool per origin, credential and settings."""
        pool_key = _pool_key(provider)
        pool = self._pools.get(pool_key)
        if pool is None:
            if provider.kind == "demo":
                pool = DemoUpstream()
            else:
                pool = self._connect(provider, Origin.parse(provider.base_url))
            self._pools[pool_key] = pool
        return pool

    def signer(self, provider: ProviderSnapshot) -> Signer | None:
        """Return what authorizes requests to *provider* one by one; None where nothing does."""
        return self._signers.of(provider)

    def connections(self) -> dict[str, tuple[int, int]]:
        """Return connections in use and idle ones, by provider."""
        totals: dict[str, tuple[int, int]] = {}
        for pool in self._pools.values():
            if isinstance(pool, UpstreamPool):
                in_use, idle = totals.get(pool.name, (0, 0))
                in_use, idle = in_use + pool.connections_in_use, idle + pool.idle_connections
                totals[pool.name] = (in_use, idle)
        return totals

    def discover(self, state: State, known: frozenset[str] = frozenset()) -> None:
        """Begin to ask servers of our users for their models; nothing waits for the answers.

        Args:
            state: Told of what is found, as `offered`.
            known: What was found for the configuration before; kept until there is news.
        """
        for provider in state.snapshot.providers:
            if provider.native_models and provider.passthrough_models:
                prefix = f"{provider.name}/"
                state.offered |= {name for name in known if name.startswith(prefix)}
                pool = self.pool(provider)
                assert isinstance(pool, UpstreamPool)
                task = self._loop.create_task(self._learn_models(provider, pool, state))
                self._discovery.add(task)
                task.add_done_callback(self._discovery.discard)

    def close_unused(self, snapshot: Snapshot) -> None:
        """Close what *snapshot* does not need."""
        used = {_pool_key(provider) for provider in snapshot.providers}
        for pool_key in [key for key in self._pools if key not in used]:
            self._pools.pop(pool_key).close()
        self._signers.close_unused(snapshot.providers)

    def close(self) -> None:
        """Close idle connections, and fetch nothing any longer."""
        for task in self._discovery:
            task.cancel()
        self._signers.close()
        for pool in self._pools.values():
            pool.close()

    def _connect(self, provider: ProviderSnapshot, origin: Origin) -> UpstreamPool:
        """Return a new pool of connections to *origin*, made as *provider*'s settings say."""
        return UpstreamPool(
            self._loop,
            origin,
            sweep=self._sweep,
            ssl_context=_ssl_context(provider) if origin.scheme == "https" else None,
            connect_s=provider.connect_s,
            first_byte_s=provider.first_byte_s,
            idle_s=provider.idle_s,
            max_connections=provider.max_connections,
            proxy=provider.proxy,
            name=provider.name,
            watch=self.watch,
        )

    async def _learn_models(
        self, provider: ProviderSnapshot, pool: UpstreamPool, state: State
    ) -> None:
        lines = origin_lines(provider, pool.origin)
        names = await read_tags(self._loop, pool, pool.origin.base_path, lines, provider.name)
        if names is not None:
            prefix = f"{provider.name}/"
            others = {name for name in state.offered if not name.startswith(prefix)}
            state.offered = frozenset(others | {prefix + name for name in names})


def asked(
    provider: ProviderSnapshot, model: str
) -> tuple[dict[str, tuple[str, str]], Reshape | None]:
    """Return at which paths *model* is asked there, and how its requests are changed."""
    for family in provider.families:
        if model.startswith(family.prefix):
            return family.operations, RESHAPES.get(family.reshape)
    return provider.operations, None


def origin_lines(provider: ProviderSnapshot, origin: Origin) -> bytes:
    """Return the header lines that every request to *provider* has, its credential included."""
    lines = [
        b"host: " + origin.host_header,
        b"content-type: application/json",
        b"accept-encoding: identity",
        b"user-agent: tidegate/" + __version__.encode(),
    ]
    auth = provider.auth
    if provider.credential is not None and auth != "none":
        secret = provider.credential.encode("ascii")
        if auth == "bearer":
            lines.append(b"authorization: Bearer " + secret)
        else:
            lines.append(auth.removeprefix("header:").encode() + b": " + secret)
    lines += [name.encode() + b": " + value.encode() for name, value in provider.headers]
    return b"\r\n".join(lines) + b"\r\n"


def _pool_key(provider: ProviderSnapshot) -> tuple[object, ...]:
    return (
        provider.name,
        provider.kind,
        provider.base_url,
        provider.credential,
        provider.connect_s,
        provider.first_byte_s,
        provider.idle_s,
        provider.max_connections,
        provider.verify_tls,
        provider.proxy,
    )  # what is left out is in the targets, which a reload builds anew


def _ssl_context(provider: ProviderSnapshot) -> ssl.SSLContext:
    context = ssl.create_default_context()
    if not provider.verify_tls:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context
