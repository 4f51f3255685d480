"""The composition root of a worker's data plane: the only place that names concrete classes.

A reload builds a new `State` beside the one in force and swaps it; connections to providers
whose settings did not change are kept.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from functools import partial
from pathlib import Path

import msgspec

from tidegate.config.snapshot import KeySnapshot, ProviderSnapshot, Snapshot, secrets_of
from tidegate.control import log_handler
from tidegate.control.eventlog import EventLog
from tidegate.control.live.tap import RequestTap
from tidegate.dialects.wire import Quirks
from tidegate.edge.exchange import Front, Handler
from tidegate.endpoints.table import page_table, route_table
from tidegate.errors import ConfigError
from tidegate.keys.directory import KeyDirectory
from tidegate.keys.throttle import GuessThrottle
from tidegate.ledger import JOURNAL_FOLDER
from tidegate.ledger.journal import Journal
from tidegate.ledger.prices import PriceTable, decode_price_table
from tidegate.limits.concurrency import ConcurrencyTable
from tidegate.limits.limiter import Limiter
from tidegate.logs.redact import know
from tidegate.memory import LIMITER_LOCK, Segment, SlotWord
from tidegate.metrics.page import MetricsPage
from tidegate.metrics.registry import Registry
from tidegate.pipeline.access_log import AccessLog
from tidegate.pipeline.estimate import TokenEstimator
from tidegate.pipeline.gateway import Gateway, State
from tidegate.pipeline.handle import Pipeline
from tidegate.pipeline.meters import Meters
from tidegate.pipeline.turn import Turns
from tidegate.providers.demo_upstream import DemoUpstream
from tidegate.responses.store import ResponseStore
from tidegate.routing.plan import ModelRoute, link_fallbacks
from tidegate.routing.target import Target
from tidegate.stores.owned_objects import OwnedObjects
from tidegate.sweep import Sweep
from tidegate.tracing.worker import WorkerTracing
from tidegate.workers.upstreams import Upstreams, asked, origin_lines

log = logging.getLogger("tidegate.worker")

#: How a request ended that the edge refused, by its status; any other is an invalid request.
_EDGE_OUTCOMES = {408: "request_timeout", 413: "body_too_large", 503: "service_unavailable"}

#: Metric label of models that clients name as `provider/model` without configuration.
OPEN_LABEL = "*"


class DataPlane:
    """Everything of a worker between the edge and the upstreams.

    Attributes:
        handler: Serves exchanges; the edge's handler.
        front: Serves plain ones before it.
        page_handler: Serves those of the metrics page's own listener.
        generation: Configuration generation in force.
        draining: Set by the worker when it stops taking new traffic.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        segment: Segment,
        slot: int,
        sweep: Sweep,
        snapshot: Snapshot,
        keys: tuple[KeySnapshot, ...],
        *,
        registry: Registry,
        access_log_fd: int | None,
    ) -> None:
        know(secrets_of(snapshot))
        self._events = EventLog(f"worker-{slot}", level=snapshot.log_level)
        log_handler.install(self._events)
        self._tracing = WorkerTracing(loop, slot)
        self._loop = loop
        self._sweep = sweep
        self._registry = registry
        self._meters = Meters(registry)
        self._upstreams = Upstreams(loop, sweep)
        self._page = MetricsPage(segment, registry)
        self._estimators: dict[tuple[str, str], TokenEstimator] = {}
        self._keys_loaded = False
        self._table_refused = 0
        self._counted_losses = (0, 0, 0, 0)
        self._tap: RequestTap | None = None
        self._shown_providers: set[str] = set()
        self._access_log_fd = access_log_fd
        self.draining = False
        limiter_key = hashlib.blake2b(snapshot.pepper, digest_size=32, person=b"tidegate-limits")
        directory = KeyDirectory(snapshot.pepper)
        self._use_metrics(snapshot)
        state = self._build(snapshot)
        self._gateway = Gateway(
            loop=loop,
            sweep=sweep,
            state=state,
            directory=directory,
            limiter=Limiter(
                segment.limiter,
                segment.lock(LIMITER_LOCK),
                limiter_key.digest(),
                concurrency=ConcurrencyTable(segment.holds, slot),
            ),
            throttle=GuessThrottle(),
            meters=self._meters,
            access_log=AccessLog(loop, access_log_fd if snapshot.access_log else None),
            journal=Journal(
                Path(snapshot.data_dir) / JOURNAL_FOLDER,
                slot,
                segment.get(slot, SlotWord.INCARNATION),
                cap_bytes=snapshot.ledger.max_journal_bytes,
                policy="serve" if snapshot.ledger.when_full == "serve" else "stop",
            ),
            render_page=self._page.render,
            is_ready=self.is_ready,
        )
        self._gateway.tracer = self._tracing.use(snapshot)
        self._responses = ResponseStore(Path(snapshot.data_dir), snapshot.responses)
        self._gateway.responses = self._responses
        self._gateway.objects = OwnedObjects(Path(snapshot.data_dir))
        self.set_keys(keys, 0)
        self._upstreams.discover(state)
        has_page = snapshot.metrics.listen is None  # for good: a reload cannot move the page
        routes = route_table(has_page=has_page)
        pipeline = Pipeline(self._gateway, routes)
        self.handler: Handler = pipeline
        self.front: Front | None = Turns(
            self._gateway, routes, pipeline, self._upstreams.watch.look
        )
        self.page_handler: Handler = Pipeline(self._gateway, page_table())

    @property
    def generation(self) -> int:
        """Configuration generation in force."""
        return self._gateway.state.snapshot.generation

    def observe(self, connections: int, active: int) -> None:
        """Refresh the gauges of connections, once a second."""
        self._meters.connections.labels("active").set(float(active))
        self._meters.connections.labels("idle").set(float(connections - active))
        totals = self._upstreams.connections()
        for gone in self._shown_providers - totals.keys():
            totals[gone] = (0, 0)
        self._shown_providers = set(totals)
        for provider, (in_use, idle) in totals.items():
            self._meters.upstream_connections.labels(provider, "active").set(float(in_use))
            self._meters.upstream_connections.labels(provider, "idle").set(float(idle))
        self._gateway.journal.flush()
        self._count_losses()
        refused = self._gateway.limiter.table.refused
        self._meters.table_full.inc(refused - self._table_refused)
        self._table_refused = refused

    def _count_losses(self) -> None:
        """Count what the access log and the journal had to drop since the last call."""
        journal = self._gateway.journal
        lines, opens, settles, spans = self._counted_losses
        dropped = self._gateway.access_log.dropped
        spans_dropped = self._tracing.dropped
        self._meters.telemetry_dropped.labels("span").inc(spans_dropped - spans)
        self._meters.telemetry_dropped.labels("access_log").inc(dropped - lines)
        self._meters.ledger_lost.labels("open").inc(journal.unrecorded - opens)
        self._meters.ledger_lost.labels("settle").inc(journal.lost_settles - settles)
        self._counted_losses = (
            dropped,
            journal.unrecorded,
            journal.lost_settles,
            spans_dropped,
        )

    def note_refusal(self, rule: str, status: int) -> None:
        """Count a request that the edge refused before it had an endpoint."""
        self._meters.edge_refusals.labels(rule).inc()
        self._meters.requests.labels("edge", str(status)).inc()
        outcome = _EDGE_OUTCOMES.get(status, "invalid_request")
        self._meters.request_outcomes.labels("edge", "false", outcome).inc()

    def note_error(self, error: BaseException) -> None:
        """Log what a handler should not have raised."""
        log.error("a request handler failed", exc_info=error)

    def is_ready(self) -> bool:
        """Whether new traffic is welcome: keys loaded, something to route to, not draining."""
        state = self._gateway.state
        return self._keys_loaded and not self.draining and bool(state.snapshot.providers)

    def apply(self, snapshot: Snapshot) -> None:
        """Put *snapshot* in force; running requests keep the state they began with.

        Raises:
            ConfigError: It cannot be used; the old state stays in force.
        """
        state = self._build(snapshot)
        self._use_metrics(snapshot)
        know(secrets_of(snapshot))
        self._events.set_level(snapshot.log_level)
        known = self._gateway.state.offered
        self._gateway.state = state
        self._upstreams.discover(state, known)
        self._gateway.tracer = self._tracing.use(snapshot)
        self._responses.use(snapshot.responses)
        self._gateway.access_log.use(self._access_log_fd if snapshot.access_log else None)
        self._upstreams.close_unused(snapshot)

    def _use_metrics(self, snapshot: Snapshot) -> None:
        self._registry.set_max_series_per_family(snapshot.metrics.max_series_per_family)
        self._meters.use_identities(snapshot.metrics.identity_labels)

    def set_keys(self, keys: tuple[KeySnapshot, ...], generation: int) -> None:
        """Replace the key table; effective with the next request."""
        self._gateway.directory.replace(keys, generation)
        self._keys_loaded = True

    def recent_rows(self, is_watched: bool) -> bytes | None:
        """Return requests settled since the last call, packed; collect more while watched."""
        access_log = self._gateway.access_log
        if is_watched and self._tap is None:
            access_log.tap = self._tap = RequestTap()
        elif not is_watched:
            access_log.tap = self._tap = None
        rows = self._tap.take() if self._tap is not None else []
        return msgspec.msgpack.encode(rows) if rows else None

    async def finish_jobs(self, within_s: float) -> bool:
        """Let what runs without a client end, or end it; False where that was needed."""
        return await self._gateway.jobs.finish(within_s)

    def close(self) -> None:
        """Close idle connections to providers and write out the log."""
        self._upstreams.close()
        self._gateway.access_log.flush()
        self._gateway.journal.close()
        self._responses.close()
        self._tracing.close()

    def _build(self, snapshot: Snapshot) -> State:
        prices = decode_price_table(snapshot.prices)
        providers = {provider.name: provider for provider in snapshot.providers}
        problems = self._upstreams.check(snapshot)
        if problems:
            raise ConfigError(problems)
        routes = {
            model.name: ModelRoute(
                model.name,
                [
                    self._target(providers[t.provider], t.model, t.model, t.weight, prices)
                    for t in model.targets
                ],
                retries=model.retries,
                unsupported=model.unsupported,
                total_s=model.total_s,
                context_tokens=model.context_tokens,
                max_output_tokens=model.max_output_tokens,
            )
            for model in snapshot.models
        }
        try:
            link_fallbacks(routes, {model.name: model.fallbacks for model in snapshot.models})
        except ValueError as error:
            raise ConfigError([("models", str(error))]) from None
        return State(
            snapshot,
            routes,
            partial(self._open_route, snapshot, providers, prices),
            partial(self._open_place, providers, prices),
        )

    def _open_place(
        self, providers: dict[str, ProviderSnapshot], prices: PriceTable, name: str
    ) -> Target | None:
        """Make a target of no model, for what is asked of the provider itself."""
        provider = providers.get(name)
        return None if provider is None else self._target(provider, "", OPEN_LABEL, 1, prices)

    def _open_route(
        self,
        snapshot: Snapshot,
        providers: dict[str, ProviderSnapshot],
        prices: PriceTable,
        name: str,
    ) -> ModelRoute | None:
        """Make a route for `provider/model`, where that provider takes any model name."""
        prefix, slash, model = name.partition("/")
        provider = providers.get(prefix)
        if not slash or not model or provider is None or not provider.passthrough_models:
            return None
        if model in (".", ".."):  # in a path they would lead elsewhere
            return None
        target = self._target(provider, model, OPEN_LABEL, 1, prices)
        return ModelRoute(
            f"{prefix}/{OPEN_LABEL}",
            [target],
            retries=snapshot.open_retries,
            total_s=snapshot.open_total_s,
        )

    def _target(
        self,
        provider: ProviderSnapshot,
        model: str,
        label: str,
        weight: int,
        prices: PriceTable,
    ) -> Target:
        pool = self._upstreams.pool(provider)
        if isinstance(pool, DemoUpstream):
            base_path, lines = b"", b""
        else:
            base_path, lines = pool.origin.base_path, origin_lines(provider, pool.origin)
        operations, reshape = asked(provider, model)
        target = Target(
            provider=provider.name,
            model=model,
            label=label,
            weight=weight,
            client=pool,
            base_path=base_path,
            origin_lines=lines,
            stream_usage=provider.stream_usage,
            operations=operations,
            quirks=msgspec.structs.replace(
                msgspec.msgpack.decode(provider.quirks, type=Quirks),
                stream_usage=provider.stream_usage,
            ),
        )
        target.meters = self._meters.target(provider.name, label)
        target.signer = self._upstreams.signer(provider)
        target.reshape = reshape
        target.price = prices.find(provider.name, provider.kind, model)
        target.price_version = prices.version
        size = prices.size(provider.name, provider.kind, model)
        target.context_tokens, target.max_output_tokens = (
            size.context_tokens,
            size.max_output_tokens,
        )
        target.capabilities = frozenset(provider.capabilities)
        target.estimator = self._estimators.setdefault((provider.name, label), TokenEstimator())
        return target
