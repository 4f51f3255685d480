"""The settings: every section and field, with its default, bounds and description.

`docs/reference/config.md` is generated from this file. Values are strict: a number in
quotes is no number, an unknown field is an error. Rules about more than one field (does the
named limit exist?) are in `rules`.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    Field,
    ValidationInfo,
    field_validator,
    model_validator,
)

from tidegate.config.database_url import DatabaseUrl
from tidegate.config.field_types import (
    DurationSetting,
    Host,
    ModelName,
    ModelNames,
    Name,
    Names,
    Networks,
    PathSetting,
    Port,
    SizeSetting,
    Workers,
    as_tuple,
    is_token,
)
from tidegate.config.files_settings import FilesSettings
from tidegate.config.listen_address import ListenAddress
from tidegate.config.provider_settings import ProviderSettings
from tidegate.config.responses_settings import ResponsesSettings
from tidegate.config.secret import Secret
from tidegate.config.section import Section
from tidegate.config.section import between as _between
from tidegate.config.section import seconds as _s
from tidegate.config.tracing_settings import TracingSettings

_KIB = 1024
_MIB = 1024 * 1024

MAX_AMOUNT = 1_000_000_000
MIN_PEPPER_CHARACTERS = 32
#: Units that a limit may be written in one day; those that are counted now.
LIMIT_UNITS = ("requests", "tokens", "input_tokens", "output_tokens", "usd", "concurrency")
SUPPORTED_UNITS = ("requests", "concurrency")


class TlsSettings(Section):
    """Certificate of a port, read anew at each reload."""

    certificate: PathSetting = Field(
        description="PEM file with the certificate and its chain, relative to this file."
    )
    key: PathSetting = Field(description="PEM file with the private key, without a passphrase.")


class ServerSettings(Section):
    """The listening side: addresses, processes, caps and timers.

    The caps and timers can be moved, not switched off.
    """

    host: Host = Field(
        default="127.0.0.1",
        description="Address of the data port. Anything but a loopback address needs a key.",
    )
    port: Port = Field(default=8000, description="The data port: clients and the metrics page.")
    control_port: Port | None = Field(
        default=8001,
        description="The control port: live view and admin API. 0 or null: none.",
    )
    control_host: Host = Field(
        default="127.0.0.1",
        description="Address of the control port. It speaks plain HTTP: on any but a loopback "
        "address put a proxy with TLS in front of it.",
    )
    control_names: Annotated[tuple[Host, ...], as_tuple] = Field(
        default=(),
        description="Host names by which browsers reach the control port, beside localhost and "
        "`control_host`; requests for other names are refused.",
    )
    workers: Workers = Field(
        default="auto", description="Data processes; `auto` is one for each core."
    )
    data_dir: PathSetting = Field(
        default=Path("data"),
        description="Folder of the key database and of everything that outlives a restart, "
        "relative to this file.",
    )
    drain_seconds: Annotated[DurationSetting, _between(_s(0), _s(86400))] = Field(
        default=_s(600),
        description="How long running streams may go on after a stop was asked for.",
    )
    shutdown_delay: Annotated[DurationSetting, _between(_s(0), _s(600))] = Field(
        default=_s(0),
        description="How long connections are still accepted after a stop was asked for, while "
        "`/readyz` already says no: time for a load balancer to look.",
    )
    hang_timeout: Annotated[DurationSetting, _between(_s(1), _s(600))] = Field(
        default=_s(10), description="A worker whose event loop stands still for longer is replaced."
    )
    tls: TlsSettings | None = Field(
        default=None, description="TLS on the data port; plain HTTP without."
    )
    max_header_bytes: Annotated[SizeSetting, Field(ge=8 * _KIB, le=_MIB)] = Field(
        default=32 * _KIB, description="Largest request head, all headers together (431 beyond)."
    )
    max_headers: Annotated[int, Field(ge=16, le=1000)] = Field(
        default=100, description="Most headers in one request (431 beyond)."
    )
    max_target_bytes: Annotated[SizeSetting, Field(ge=_KIB, le=64 * _KIB)] = Field(
        default=8 * _KIB, description="Longest request target (414 beyond)."
    )
    max_body_bytes: Annotated[SizeSetting, Field(ge=_KIB, le=1024 * _MIB)] = Field(
        default=32 * _MIB,
        description="Largest request body of a client with a valid key (413 beyond).",
    )
    max_body_before_auth_bytes: Annotated[SizeSetting, Field(ge=_KIB, le=16 * _MIB)] = Field(
        default=64 * _KIB,
        description="Bytes of a body that are read before the key has been checked.",
    )
    header_timeout: Annotated[DurationSetting, _between(_s(0.1), _s(300))] = Field(
        default=_s(15), description="Time for a whole request head (408 beyond)."
    )
    keep_alive: Annotated[DurationSetting, _between(_s(0.1), _s(3600))] = Field(
        default=_s(75), description="How long an idle connection is kept open."
    )
    body_min_rate: Annotated[SizeSetting, Field(ge=1, le=100 * _MIB)] = Field(
        default=1024,
        description="Slowest a client may send its body, in bytes per second (408 below).",
    )
    body_grace: Annotated[DurationSetting, _between(_s(0.1), _s(300))] = Field(
        default=_s(10), description="Time before the body's rate is looked at."
    )
    max_connections: Annotated[int, Field(ge=1, le=1_000_000)] = Field(
        default=10_000, description="Most client connections of one worker."
    )
    trusted_proxies: Networks = Field(
        default=(),
        description="Addresses or networks whose `X-Forwarded-For` is believed. Empty: nobody's.",
    )


class TargetSettings(Section):
    """One place where a model is answered. Short form: `provider/model`."""

    provider: Name = Field(description="Name of a provider.")
    model: ModelName = Field(description="The model's name there.")
    weight: Annotated[int, Field(ge=1, le=1_000_000)] = Field(
        default=1, description="Share of the requests, relative to the other targets."
    )

    @model_validator(mode="before")
    @classmethod
    def _expand(cls, value: object) -> object:
        return expand_target(value)


def expand_target(value: object) -> object:
    """Turn the short form `provider/model` into the long one; anything else stays."""
    if isinstance(value, str):
        provider, slash, model = value.partition("/")
        if not (provider and slash and model):
            raise ValueError("must be {provider: …, model: …} or provider/model")
        return {"provider": provider, "model": model}
    return value


class ModelSettings(Section):
    """A model name that clients use."""

    targets: Annotated[tuple[TargetSettings, ...], as_tuple, Field(min_length=1)] = Field(
        description="Where it is answered; drawn by weight, the others follow on failure."
    )
    fallbacks: ModelNames = Field(
        default=(),
        description="Other names of this section, tried in order when all targets failed.",
    )
    unsupported: Literal["warn", "drop", "reject"] = Field(
        default="warn",
        description="What happens to a field that the answering provider has no place for: named "
        "in the answer's header and the log, left out without a word, or refused with 400.",
    )
    context_tokens: Annotated[int, Field(ge=1, le=MAX_AMOUNT)] | None = Field(
        default=None,
        description="Context window that model lists show. Default: the smallest of the targets', "
        "as far as the price table tells; not shown when it does not.",
    )
    max_output_tokens: Annotated[int, Field(ge=1, le=MAX_AMOUNT)] | None = Field(
        default=None,
        description="Longest answer that model lists show; requests are not cut to it. "
        "Default: likewise.",
    )
    retries: Annotated[int, Field(ge=0, le=10)] | None = Field(
        default=None, description="Default: `routing.retries`."
    )
    timeout: Annotated[DurationSetting, _between(_s(0.1), _s(86400))] | None = Field(
        default=None, description="Default: `routing.timeout`."
    )


class RoutingSettings(Section):
    """What holds for every model that does not say otherwise."""

    retries: Annotated[int, Field(ge=0, le=10)] = Field(
        default=2,
        description="How often a failed attempt is repeated before anything was answered.",
    )
    timeout: Annotated[DurationSetting, _between(_s(0.1), _s(86400))] = Field(
        default=_s(600), description="Time of one request over all attempts and fallbacks."
    )


class LimitSettings(Section):
    """One limit: an amount of exactly one unit, for each subject.

    In any interval t it admits at most `burst + amount * t / window`.
    """

    per: Literal["key", "ip", "global", "model"] = Field(
        default="key",
        description="Who shares it: each key, client address, model, or all together.",
    )
    requests: Annotated[int, Field(ge=1, le=MAX_AMOUNT)] | None = Field(
        default=None, description="Requests per window."
    )
    concurrency: Annotated[int, Field(ge=1, le=1_000_000)] | None = Field(
        default=None, description="Requests running at the same time; takes no window and no burst."
    )
    tokens: Any = Field(default=None, description="Not supported yet.")
    input_tokens: Any = Field(default=None, description="Not supported yet.")
    output_tokens: Any = Field(default=None, description="Not supported yet.")
    usd: Any = Field(default=None, description="Not supported yet.")
    window: Annotated[DurationSetting, _between(_s(0.001), _s(366 * 86400))] | None = Field(
        default=None, description="Length of time that the amount is for."
    )
    burst: Annotated[int, Field(ge=1, le=MAX_AMOUNT)] | None = Field(
        default=None,
        description="Requests that may come at once after a pause. Default: the amount.",
    )
    mode: Literal["enforce", "shadow"] = Field(
        default="enforce", description="`shadow` counts what it would refuse, and refuses nothing."
    )
    on_store_failure: Literal["local", "closed", "open"] = Field(
        default="local",
        description="When a shared store is away: count on this host alone, refuse, or admit.",
    )

    @property
    def unit(self) -> str:
        """The unit it counts."""
        return "requests" if self.requests is not None else "concurrency"

    @property
    def amount(self) -> int:
        """Its amount in that unit."""
        return self.requests if self.requests is not None else (self.concurrency or 0)


class KeySettings(Section):
    """An API key that is not in the database. Only its digest is kept in memory."""

    secret: Secret = Field(description="The key itself: `env:NAME` or `file:PATH`.")
    limits: Names = Field(default=(), description="Names of limits, beside `default_limits`.")
    models: ModelNames | None = Field(
        default=None, description="Model names it may use. Default: all of them."
    )
    team: Name | None = Field(default=None, description="Whom it belongs to.")
    expires_at: datetime | None = Field(
        default=None,
        description="Day or moment from which it is refused: `2027-01-31`, UTC by default.",
    )

    @field_validator("expires_at", mode="before")
    @classmethod
    def _read_moment(cls, value: object) -> object:
        if value is None or isinstance(value, datetime):
            return value
        try:
            if not isinstance(value, str):
                raise ValueError
            moment = datetime.fromisoformat(value)
            return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        except ValueError:
            raise ValueError("must be a day or moment such as 2027-01-31T12:00:00Z") from None

    @field_validator("secret")
    @classmethod
    def _check_secret(cls, secret: Secret) -> Secret:
        if not is_token(secret.reveal()):
            raise ValueError("must be visible ASCII without blanks, as it travels in a header")
        return secret


class StoreSettings(Section):
    """Where state is kept."""

    database: DatabaseUrl = Field(
        default=DatabaseUrl("sqlite"),
        description="Keys and ledger: `sqlite`, a file in `server.data_dir`; or PostgreSQL, which "
        "several hosts may share: `postgresql://user@host/name`, or `env:` or `file:` of that.",
    )
    password: Secret | None = Field(
        default=None,
        description="Password for PostgreSQL, if the address holds none: `env:NAME`, `file:PATH`.",
    )
    pepper: Secret | None = Field(
        default=None,
        description="What digests of keys are made with, the same on all hosts that share a "
        f"database, at least {MIN_PEPPER_CHARACTERS} characters: `env:NAME`, `file:PATH`. "
        "Default: the random `secret.key` in `server.data_dir`.",
    )
    shared: Literal["none"] = Field(
        default="none", description="Limits that several hosts share: none, each host counts alone."
    )

    @field_validator("pepper")
    @classmethod
    def _check_pepper(cls, pepper: Secret | None) -> Secret | None:
        if pepper is not None and len(pepper.reveal()) < MIN_PEPPER_CHARACTERS:
            raise ValueError(f"must be at least {MIN_PEPPER_CHARACTERS} random characters")
        return pepper

    @field_validator("password")
    @classmethod
    def _check_password(cls, password: Secret | None, info: ValidationInfo) -> Secret | None:
        database = info.data.get("database")
        if password is not None and isinstance(database, DatabaseUrl):
            if not database.is_postgresql:
                raise ValueError("sqlite takes none")
            if database.has_password:
                raise ValueError("stands in the address already")
        return password

    @field_validator("shared", mode="before")
    @classmethod
    def _only_none(cls, value: object) -> object:
        if isinstance(value, str) and value.startswith(("redis", "valkey", "env:", "file:")):
            raise ValueError("a shared store is not supported yet; leave it at none")
        return "none" if value is None else value


class MetricsSettings(Section):
    """The metrics page."""

    access: Literal["open", "token", "private"] = Field(
        default="open",
        description="Who may read it: everybody, holders of `token`, or private networks only.",
    )
    token: Secret | None = Field(
        default=None,
        description="Bearer token of the page, or password with any user name, with "
        "`access: token`: `env:NAME` or `file:…`.",
    )
    networks: Networks = Field(
        default=(),
        description="Only these addresses and networks may read it, whatever `access` asks for "
        "beside that. Empty: no such rule.",
    )
    listen: ListenAddress | None = Field(
        default=None,
        description="`host:port` of a listener for the page, `/livez` and `/readyz` alone; the "
        "data port then has no page. Changes at a restart.",
    )
    tls: TlsSettings | None = Field(
        default=None, description="TLS on `listen`; plain HTTP without."
    )
    max_series_per_family: Annotated[int, Field(ge=10, le=100_000)] = Field(
        default=2_000, description="Label sets of one metric; further ones are counted as `other`."
    )
    identity_labels: Annotated[tuple[Literal["key", "team"], ...], as_tuple] = Field(
        default=(),
        description="Also count requests, tokens and cost by the key's name (`key`), its `team`, "
        "or both. Nothing by default: names may be personal data.",
    )


class LedgerSettings(Section):
    """The record of each attempt at a provider, its tokens and its cost."""

    when_full: Literal["stop", "serve"] = Field(
        default="stop",
        description="Without room for a record: `stop` answers 503, `serve` goes on unrecorded.",
    )
    max_journal_bytes: Annotated[SizeSetting, Field(ge=_MIB, le=1024 * 1024 * _MIB)] = Field(
        default=4096 * _MIB,
        description="What journals may hold that the database has not taken yet.",
    )
    keep_rows: Annotated[DurationSetting, _between(_s(86_400), _s(400 * 86_400))] = Field(
        default=_s(90 * 86_400), description="How long single attempts are kept; whole days."
    )
    keep_sums: Annotated[DurationSetting, _between(_s(86_400), _s(400 * 86_400))] | None = Field(
        default=None, description="How long the sums per hour, key and model are kept; for ever."
    )
    prices: PathSetting | None = Field(
        default=None,
        description="File of prices that go before the built-in ones: "
        "`prices: [{provider, model, input, output}]`, US dollars per million tokens.",
    )


class LoggingSettings(Section):
    """What is written to standard error."""

    level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="Least level that is written."
    )
    access: bool = Field(default=True, description="Whether each request is written as a line.")


class Settings(Section):
    """A whole configuration."""

    server: ServerSettings = Field(default_factory=ServerSettings, description="Listening side.")
    providers: dict[Name, ProviderSettings] = Field(
        default_factory=dict, description="Upstreams by name."
    )
    models: dict[ModelName, ModelSettings] = Field(
        default_factory=dict, description="Model names that clients use."
    )
    routing: RoutingSettings = Field(
        default_factory=RoutingSettings, description="Defaults of all models."
    )
    limits: dict[Name, LimitSettings] = Field(default_factory=dict, description="Limits by name.")
    default_limits: Names = Field(
        default=(), description="Names of the limits that hold for every key."
    )
    keys: dict[Name, KeySettings] = Field(
        default_factory=dict, description="API keys beside those of `tidegate keys create`."
    )
    stores: StoreSettings = Field(default_factory=StoreSettings, description="Databases.")
    metrics: MetricsSettings = Field(
        default_factory=MetricsSettings, description="The metrics page."
    )
    ledger: LedgerSettings = Field(default_factory=LedgerSettings, description="The ledger.")
    responses: ResponsesSettings = Field(
        default_factory=ResponsesSettings, description="What the Responses API keeps."
    )
    files: FilesSettings = Field(
        default_factory=FilesSettings, description="Objects that live at providers."
    )
    logging: LoggingSettings = Field(default_factory=LoggingSettings, description="Logs.")
    tracing: TracingSettings = Field(
        default_factory=TracingSettings, description="OpenTelemetry: traces, and metrics by push."
    )
