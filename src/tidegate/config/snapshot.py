"""What a worker needs to know, as frozen data without a file or an environment behind it.

`config.load` reads YAML and environment, checks everything, and compiles it into a
`Snapshot`; the supervisor sends that to each worker as MessagePack. A worker never
imports pydantic or YAML, and never sees where a secret came from.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import msgspec

from tidegate.config.signing import Signing, secrets_of_signing

if TYPE_CHECKING:
    from typing_extensions import override
else:
    _T = TypeVar("_T")

    def override(method: _T) -> _T:
        """Stand in for `typing.override` (3.12), so that a worker need not load a package."""
        return method


class TlsSnapshot(msgspec.Struct, frozen=True):
    """Paths of a listener's PEM files."""

    certificate: str
    key: str


class EdgeSnapshot(msgspec.Struct, frozen=True):
    """Caps and timers of the data listener (defaults are the documented ones)."""

    host: str = "127.0.0.1"
    port: int = 8000
    tls: TlsSnapshot | None = None
    max_header_bytes: int = 32 * 1024
    max_headers: int = 100
    max_target_bytes: int = 8 * 1024
    max_body_bytes: int = 32 * 1024 * 1024
    max_body_before_auth_bytes: int = 64 * 1024
    header_timeout_s: float = 15.0
    keep_alive_s: float = 75.0
    body_min_bytes_per_s: int = 1024
    body_grace_s: float = 10.0
    max_connections: int = 10_000
    trusted_proxies: tuple[str, ...] = ()
    drain_s: float = 600.0


class ModelFamily(msgspec.Struct, frozen=True):
    """Models of a provider, by the beginning of their names, that are asked in a way of their own.

    `operations` as in `ProviderSnapshot`. `reshape` names a change of the request's body
    (`providers.reshape`); empty for none.
    """

    prefix: str
    operations: dict[str, tuple[str, str]]
    reshape: str = ""


class ProviderSnapshot(msgspec.Struct, frozen=True):
    """One configured provider: a row of `providers/` plus the user's settings.

    `credential` is the secret itself and is sent only to `base_url`'s origin, in the way
    that `auth` tells: `bearer`, `header:NAME` or `none`. `base_url` has no trailing slash, and
    is empty for a built-in provider. `passthrough_models`: clients may ask for any of its models as
    `<provider>/<model>`. `operations`: what it can be asked → paths of a whole answer and of a
    stream. `quirks`: packed `dialects.wire.Quirks`. `families`: models that are asked otherwise.
    `passthrough`: clients may send it any request below `/<provider>/`. `files`: files and batches
    go there where the request names no provider.
    `signing`: how each request is authorized, where `credential` is not enough. `native_models`:
    its models are learned from Ollama's own list. `capabilities`: kinds of endpoints that it
    documents.
    """

    name: str
    kind: str
    base_url: str
    credential: str | None = None
    headers: tuple[tuple[str, str], ...] = ()
    connect_s: float = 5.0
    first_byte_s: float = 300.0
    idle_s: float = 120.0
    max_connections: int = 1_000
    verify_tls: bool = True
    proxy: str | None = None
    auth: str = "bearer"
    stream_usage: bool = True
    passthrough_models: bool = True
    passthrough: bool = False
    files: bool = False
    operations: dict[str, tuple[str, str]] = {}
    quirks: bytes = b"\x80"
    families: tuple[ModelFamily, ...] = ()
    signing: Signing | None = None
    native_models: bool = False
    capabilities: tuple[str, ...] = ()

    @override
    def __repr__(self) -> str:
        return f"ProviderSnapshot({self.name!r}, {self.kind!r}, {self.base_url!r}, …)"


class TargetSnapshot(msgspec.Struct, frozen=True):
    """One place a model name can be answered: provider name and the model's name there."""

    provider: str
    model: str
    weight: int = 1


class ModelSnapshot(msgspec.Struct, frozen=True):
    """A model name that clients use. `fallbacks` are other model names, tried in order.

    `context_tokens`, `max_output_tokens`: what model lists show, where the operator says so.
    """

    name: str
    targets: tuple[TargetSnapshot, ...]
    fallbacks: tuple[str, ...] = ()
    retries: int = 2
    unsupported: str = "warn"
    total_s: float = 600.0
    context_tokens: int | None = None
    max_output_tokens: int | None = None


class LimitSnapshot(msgspec.Struct, frozen=True):
    """One limit: `amount` of `unit` per `window_ns` and subject, with a burst.

    unit: `requests` | `concurrency` (`tokens`, `usd` … follow). per: `key` | `ip` | `global` |
    `model`. mode: `enforce` | `shadow`. on_store_failure: `local` | `closed` | `open`.
    """

    name: str
    per: str
    unit: str
    amount: int
    window_ns: int
    burst: int
    mode: str = "enforce"
    on_store_failure: str = "local"


class KeySnapshot(msgspec.Struct, frozen=True):
    """One API key as its keyed digest. `models` None means all; `limits` are limit names."""

    id: str
    name: str
    digest: bytes
    limits: tuple[str, ...] = ()
    models: tuple[str, ...] | None = None
    team: str | None = None
    expires_at_ms: int | None = None


class ControlSnapshot(msgspec.Struct, frozen=True):
    """Where the control port listens, and the further names it answers to. Port 0: nowhere."""

    host: str = "127.0.0.1"
    port: int = 0
    names: tuple[str, ...] = ()


class MetricsSnapshot(msgspec.Struct, frozen=True):
    """Who may read the page and where, and the caps on its series.

    `networks` empty: any address. `listen` None: the page is on the data port. `tls` is that of
    `listen`.
    """

    access: str = "open"
    token: str | None = None
    max_series_per_family: int = 2_000
    identity_labels: tuple[str, ...] = ()
    networks: tuple[str, ...] = ()
    listen: tuple[str, int] | None = None
    tls: TlsSnapshot | None = None

    @override
    def __repr__(self) -> str:
        return f"MetricsSnapshot({self.access!r}, …)"


class TracingSnapshot(msgspec.Struct, frozen=True):
    """Where spans and metrics go as OTLP. `endpoint` None: nowhere.

    `old_names`: attributes have their former names as well. `resource`: attributes of everything
    that is sent, `service.name` included.
    """

    endpoint: str | None = None
    headers: tuple[tuple[str, str], ...] = ()
    sample_ratio: float = 1.0
    follow_client: bool = True
    capture_content: bool = False
    old_names: bool = False
    export_metrics: bool = False
    metrics_interval_s: float = 60.0
    resource: tuple[tuple[str, str], ...] = ()

    @override
    def __repr__(self) -> str:
        return f"TracingSnapshot({self.endpoint!r}, …)"


class LedgerSnapshot(msgspec.Struct, frozen=True):
    """How attempts are recorded. Days are whole; None keeps for ever."""

    when_full: str = "stop"
    max_journal_bytes: int = 4 * 1024 * 1024 * 1024
    keep_rows_days: int | None = 90
    keep_sums_days: int | None = None


class ResponsesSnapshot(msgspec.Struct, frozen=True):
    """What the Responses API keeps, for how long, and in how much room."""

    store: bool = True
    keep_s: float = 30 * 86_400.0
    max_bytes: int = 1024 * 1024 * 1024


class DatabaseSnapshot(msgspec.Struct, frozen=True):
    """A PostgreSQL server. Control alone gets it; a worker never sees it.

    `name` is the address as it may be shown; `password` the one that does not stand in `url`.
    """

    url: str
    name: str
    password: str | None = None

    @override
    def __repr__(self) -> str:
        return f"DatabaseSnapshot({self.name!r}, …)"


class Snapshot(msgspec.Struct, frozen=True):
    """One whole configuration generation. `open_*` hold for `<provider>/<model>` names.

    `absent_providers` are `(kind, variable of its key)` of well-known providers that this
    configuration does not have, to tell why a model is unknown.

    `prices` is the packed price table (`ledger.prices`); this layer does not look into it.
    """

    generation: int
    edge: EdgeSnapshot
    providers: tuple[ProviderSnapshot, ...]
    models: tuple[ModelSnapshot, ...]
    limits: tuple[LimitSnapshot, ...]
    default_limits: tuple[str, ...]
    metrics: MetricsSnapshot
    pepper: bytes
    data_dir: str
    log_level: str = "info"
    open_retries: int = 2
    open_total_s: float = 600.0
    access_log: bool = True
    ledger: LedgerSnapshot = LedgerSnapshot()
    prices: bytes = b""
    control: ControlSnapshot = ControlSnapshot()
    tracing: TracingSnapshot = TracingSnapshot()
    responses: ResponsesSnapshot = ResponsesSnapshot()
    refuse_unknown_ids: bool = False
    absent_providers: tuple[tuple[str, str], ...] = ()

    @override
    def __repr__(self) -> str:
        return f"Snapshot(generation={self.generation}, …)"


def encode_snapshot(snapshot: Snapshot) -> bytes:
    """Pack for the way from supervisor to worker (MessagePack)."""
    return msgspec.msgpack.encode(snapshot)


def decode_snapshot(data: bytes) -> Snapshot:
    """Unpack; raises `msgspec.ValidationError` when *data* is not a snapshot."""
    return msgspec.msgpack.decode(data, type=Snapshot)


def secrets_of(snapshot: Snapshot, database: DatabaseSnapshot | None = None) -> list[str]:
    """Return the secrets in a configuration, so that a log can be kept free of them."""
    found = [snapshot.metrics.token or "", *(value for _, value in snapshot.tracing.headers)]
    if database is not None:
        found += [database.password or "", _password_in(database.url)]
    for provider in snapshot.providers:
        found.append(provider.credential or "")
        found += secrets_of_signing(provider.signing)
        found += [value for _, value in provider.headers]
        found.append(_password_in(provider.proxy or ""))
    return [secret for secret in found if secret]


def _password_in(url: str) -> str:
    return url.partition("://")[2].rpartition("@")[0].partition(":")[2]
