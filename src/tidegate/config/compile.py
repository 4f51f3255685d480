"""From checked settings to the frozen data that workers get."""

from __future__ import annotations

from pathlib import Path

from tidegate.config.cloud_rules import options_of, signing_of
from tidegate.config.digest import key_digest
from tidegate.config.listen_address import split_listen
from tidegate.config.provider_kind import Kinds
from tidegate.config.provider_settings import ProviderSettings
from tidegate.config.settings import (
    ServerSettings,
    Settings,
    StoreSettings,
    TlsSettings,
)
from tidegate.config.snapshot import (
    ControlSnapshot,
    DatabaseSnapshot,
    EdgeSnapshot,
    KeySnapshot,
    LedgerSnapshot,
    LimitSnapshot,
    MetricsSnapshot,
    ModelSnapshot,
    ProviderSnapshot,
    ResponsesSnapshot,
    Snapshot,
    TargetSnapshot,
    TlsSnapshot,
    TracingSnapshot,
)
from tidegate.config.tracing_settings import TracingSettings
from tidegate.config.units import Duration

_NO_WINDOW_NS = 1_000_000_000
"""Window of a concurrency limit, which has none: the limiter wants one and never uses it."""


def compile_snapshot(
    settings: Settings, *, kinds: Kinds, generation: int, pepper: bytes, data_dir: Path
) -> Snapshot:
    """Return one configuration generation; *settings* must come from `load_settings`.

    Args:
        settings: Checked settings.
        kinds: The provider table that they were checked against.
        generation: Number of this configuration, growing with each reload.
        pepper: What key digests are made with.
        data_dir: The folder in use (a running gateway keeps it over reloads).
    """
    return Snapshot(
        generation=generation,
        edge=_edge(settings.server),
        providers=tuple(
            _provider(name, provider, kinds) for name, provider in settings.providers.items()
        ),
        models=_models(settings),
        limits=_limits(settings),
        default_limits=settings.default_limits,
        metrics=MetricsSnapshot(
            access=settings.metrics.access,
            token=settings.metrics.token.reveal() if settings.metrics.token else None,
            max_series_per_family=settings.metrics.max_series_per_family,
            identity_labels=settings.metrics.identity_labels,
            networks=settings.metrics.networks,
            listen=split_listen(settings.metrics.listen) if settings.metrics.listen else None,
            tls=_tls(settings.metrics.tls),
        ),
        pepper=pepper,
        data_dir=str(data_dir),
        log_level=settings.logging.level,
        open_retries=settings.routing.retries,
        open_total_s=settings.routing.timeout.seconds,
        access_log=settings.logging.access,
        ledger=LedgerSnapshot(
            when_full=settings.ledger.when_full,
            max_journal_bytes=settings.ledger.max_journal_bytes,
            keep_rows_days=_days(settings.ledger.keep_rows),
            keep_sums_days=None
            if settings.ledger.keep_sums is None
            else _days(settings.ledger.keep_sums),
        ),
        control=ControlSnapshot(
            host=settings.server.control_host,
            port=settings.server.control_port or 0,
            names=settings.server.control_names,
        ),
        tracing=_tracing(settings.tracing),
        responses=ResponsesSnapshot(
            store=settings.responses.store,
            keep_s=settings.responses.keep.seconds,
            max_bytes=settings.responses.max_bytes,
        ),
        refuse_unknown_ids=settings.files.unknown_ids == "refuse",
        absent_providers=tuple(
            (kind.name, kind.env_key)
            for kind in kinds.values()
            if kind.env_key and kind.name not in settings.providers
        ),
    )


def _tracing(tracing: TracingSettings) -> TracingSnapshot:
    return TracingSnapshot(
        endpoint=tracing.endpoint,
        headers=tuple((name, text.reveal()) for name, text in tracing.headers.items()),
        sample_ratio=tracing.sample_ratio,
        follow_client=tracing.follow_client,
        capture_content=tracing.capture_content,
        old_names=tracing.semantic_conventions == "both",
        export_metrics=tracing.export_metrics,
        metrics_interval_s=tracing.metrics_interval_s.seconds,
        resource=tuple({**tracing.resource, "service.name": tracing.service_name}.items()),
    )


def _days(duration: Duration) -> int:
    return int(duration.seconds // 86_400)


def config_keys(settings: Settings, pepper: bytes) -> tuple[KeySnapshot, ...]:
    """Return the keys that the configuration names, as digests; ids are `cfg_<name>`."""
    return tuple(
        KeySnapshot(
            id=f"cfg_{name}",
            name=name,
            digest=key_digest(pepper, key.secret.reveal()),
            limits=key.limits,
            models=key.models,
            team=key.team,
            expires_at_ms=round(key.expires_at.timestamp() * 1000) if key.expires_at else None,
        )
        for name, key in settings.keys.items()
    )


def database_snapshot(stores: StoreSettings) -> DatabaseSnapshot | None:
    """Return the server that keys and ledger are on, or None for the file."""
    if not stores.database.is_postgresql:
        return None
    password = stores.password.reveal() if stores.password else None
    return DatabaseSnapshot(stores.database.reveal(), repr(stores.database), password)


def _edge(server: ServerSettings) -> EdgeSnapshot:
    return EdgeSnapshot(
        host=server.host,
        port=server.port,
        tls=_tls(server.tls),
        max_header_bytes=server.max_header_bytes,
        max_headers=server.max_headers,
        max_target_bytes=server.max_target_bytes,
        max_body_bytes=server.max_body_bytes,
        max_body_before_auth_bytes=server.max_body_before_auth_bytes,
        header_timeout_s=server.header_timeout.seconds,
        keep_alive_s=server.keep_alive.seconds,
        body_min_bytes_per_s=server.body_min_rate,
        body_grace_s=server.body_grace.seconds,
        max_connections=server.max_connections,
        trusted_proxies=server.trusted_proxies,
        drain_s=server.drain_seconds.seconds,
    )


def _tls(tls: TlsSettings | None) -> TlsSnapshot | None:
    return TlsSnapshot(str(tls.certificate), str(tls.key)) if tls else None


def _provider(name: str, provider: ProviderSettings, kinds: Kinds) -> ProviderSnapshot:
    kind = kinds[provider.kind]
    placement = kind.place(provider.base_url, options_of(provider), provider.dialects)
    stream_usage = (
        kind.quirks.stream_usage if provider.stream_usage is None else provider.stream_usage
    )
    return ProviderSnapshot(
        name=name,
        kind=kind.name,
        base_url=placement.base_url,
        credential=provider.api_key.reveal() if provider.api_key else None,
        headers=tuple((header, text.reveal()) for header, text in provider.headers.items()),
        connect_s=provider.connect_timeout.seconds,
        first_byte_s=provider.first_byte_timeout.seconds,
        idle_s=provider.idle_timeout.seconds,
        max_connections=provider.max_connections,
        verify_tls=provider.verify_tls,
        proxy=provider.proxy.reveal() if provider.proxy else None,
        # A key for a kind that signs is sent as it is.
        auth="bearer" if kind.auth in ("sigv4", "google") else kind.auth,
        stream_usage=stream_usage,
        operations=dict(placement.operations),
        families=placement.families,
        signing=signing_of(provider),
        native_models=kind.quirks.native_models,
        capabilities=tuple(kind.capabilities),
        quirks=kind.packed_quirks,
        passthrough_models=provider.passthrough_models,
        passthrough=provider.passthrough,
        files=provider.files,
    )


def _models(settings: Settings) -> tuple[ModelSnapshot, ...]:
    routing = settings.routing
    return tuple(
        ModelSnapshot(
            name=name,
            targets=tuple(
                TargetSnapshot(target.provider, target.model, target.weight)
                for target in model.targets
            ),
            fallbacks=model.fallbacks,
            retries=routing.retries if model.retries is None else model.retries,
            unsupported=model.unsupported,
            total_s=(model.timeout or routing.timeout).seconds,
            context_tokens=model.context_tokens,
            max_output_tokens=model.max_output_tokens,
        )
        for name, model in settings.models.items()
    )


def _limits(settings: Settings) -> tuple[LimitSnapshot, ...]:
    return tuple(
        LimitSnapshot(
            name=name,
            per=limit.per,
            unit=limit.unit,
            amount=limit.amount,
            window_ns=limit.window.ns if limit.window else _NO_WINDOW_NS,
            burst=limit.burst or limit.amount,
            mode=limit.mode,
            on_store_failure=limit.on_store_failure,
        )
        for name, limit in settings.limits.items()
    )
