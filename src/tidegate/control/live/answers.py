"""The JSON of the admin API: one struct for each object, the source of the OpenAPI document."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

Ratio = Annotated[float, msgspec.Meta(ge=0.0)]


class ErrorBody(msgspec.Struct, frozen=True):
    """What was wrong. `code` is stable, `message` is for people."""

    code: str
    message: str


class ErrorAnswer(msgspec.Struct, frozen=True):
    """Every answer that is not a success."""

    error: ErrorBody


class SessionRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The admin token, to be exchanged for a cookie."""

    token: Annotated[str, msgspec.Meta(max_length=200)]


class Session(msgspec.Struct, frozen=True):
    """The session of the cookie or token that was sent; a token by itself does not expire."""

    expires_ms: int | None


class WorkerState(msgspec.Struct, frozen=True):
    """One worker process. `worker` is the number of its slot, which its successor may take over."""

    worker: int
    state: Literal["starting", "ready", "draining"]
    connections: int
    in_flight: int
    cpu_ratio: float | None
    memory_bytes: int | None
    loop_lag_s: float | None
    restarts: int


class LimitInfo(msgspec.Struct, frozen=True):
    """A configured limit. `requests` and `window_s` are null for one of concurrency.

    `burst` is what may pass, or run, at once.
    """

    name: str
    per: str
    requests: int | None
    window_s: float | None
    burst: int
    mode: str


class InstanceAnswer(msgspec.Struct, frozen=True):
    """The gateway as a whole. `keys` are the names of the first thousand keys in force."""

    name: str
    version: str
    started_ms: int
    uptime_s: float
    generation: int
    address: str
    ready: bool
    workers: list[WorkerState]
    providers: list[str]
    models: list[str]
    limits: list[LimitInfo]
    keys: list[str]


class Series(msgspec.Struct, frozen=True):
    """One line of a chart; null where nothing was read or nothing can be said."""

    name: str
    unit: str
    labels: dict[str, str]
    values: list[float | None]


class SeriesAnswer(msgspec.Struct, frozen=True):
    """Lines over a range: `count` values a line, `step_s` apart, the first at `start_ms`."""

    range: Literal["15m", "24h"]
    step_s: int
    start_ms: int
    count: int
    series: list[Series]


class SampleSeries(msgspec.Struct, frozen=True):
    """The newest value of one line."""

    name: str
    labels: dict[str, str]
    by: str
    value: float | None


class SampleEvent(msgspec.Struct, frozen=True):
    """Event `sample`: the newest reading."""

    time_ms: int
    series: list[SampleSeries]


class AttemptRow(msgspec.Struct, frozen=True):
    """One attempt at a provider; status 0 when there was no answer."""

    provider: str
    model: str
    outcome: str
    status: int
    duration_s: float


class RequestRow(msgspec.Struct, frozen=True):
    """One request and its way through the gateway."""

    request_id: str
    time_ms: int
    endpoint: str
    status: int
    outcome: str
    stream: bool
    key: str | None
    team: str | None
    model: str | None
    duration_s: float
    ttft_s: float | None
    input_tokens: int | None
    output_tokens: int | None
    cost_usd: float | None
    limit: str | None
    attempts: list[AttemptRow]


class RequestsAnswer(msgspec.Struct, frozen=True):
    """Recent requests, newest first; also event `requests`, with those since the last one."""

    requests: list[RequestRow]


class LimitTotals(msgspec.Struct, frozen=True):
    """A configured limit and what it has decided since the instance started."""

    name: str
    per: str
    requests: int | None
    window_s: float | None
    burst: int
    mode: str
    allowed_total: int
    blocked_total: int
    near_total: int
    shadow_total: int


class Subject(msgspec.Struct, frozen=True):
    """Who has used how much of a limit.

    `subject` is the name of a key or model, or `global`. `remaining` would pass at once now;
    all of the burst is back `full_in_s` from now (null for concurrency, which has no time).
    """

    limit: str
    per: str
    subject: str
    used_ratio: Ratio
    remaining: int
    full_in_s: float | None


class LimitsAnswer(msgspec.Struct, frozen=True):
    """All limits, and the hundred subjects that have used most of theirs, fullest first."""

    limits: list[LimitTotals]
    subjects: list[Subject]


class AlertRow(msgspec.Struct, frozen=True):
    """An alert that fires, or will if its condition goes on."""

    name: str
    severity: Literal["critical", "warning", "info"]
    state: Literal["firing", "pending"]
    since_ms: int
    summary: str
    description: str
    runbook: str
    labels: dict[str, str]
    value: float | None


class RuleRow(msgspec.Struct, frozen=True):
    """A rule and its worst state now."""

    name: str
    severity: Literal["critical", "warning", "info"]
    for_s: float
    summary: str
    state: Literal["firing", "pending", "ok", "no_data"]


class AlertsAnswer(msgspec.Struct, frozen=True):
    """Alerts and rules; also event `alerts`."""

    alerts: list[AlertRow]
    rules: list[RuleRow]
