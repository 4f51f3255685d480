"""The metric series that the pipeline writes, looked up once and kept."""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING

from tidegate.dialects.usage import Usage
from tidegate.limits.limiter import Decision
from tidegate.metrics.registry import Handle, Registry
from tidegate.metrics.series import CounterSeries, GaugeSeries, HistogramSeries, LatestSeries
from tidegate.pipeline.identities import Identities

if TYPE_CHECKING:
    from tidegate.limits.rules import Rule
    from tidegate.pipeline.call import Call

#: Least time between two looks at a target's own limits.
_QUOTA_EVERY_S = 0.25
#: A provider's header of what is left, its header of the whole, and which limit they are of.
_QUOTA_HEADERS = (
    (b"x-ratelimit-remaining-requests", b"x-ratelimit-limit-requests", "requests"),
    (b"x-ratelimit-remaining-tokens", b"x-ratelimit-limit-tokens", "tokens"),
    (b"anthropic-ratelimit-requests-remaining", b"anthropic-ratelimit-requests-limit", "requests"),
    (b"anthropic-ratelimit-tokens-remaining", b"anthropic-ratelimit-tokens-limit", "tokens"),
    (
        b"anthropic-ratelimit-input-tokens-remaining",
        b"anthropic-ratelimit-input-tokens-limit",
        "input_tokens",
    ),
    (
        b"anthropic-ratelimit-output-tokens-remaining",
        b"anthropic-ratelimit-output-tokens-limit",
        "output_tokens",
    ),
)
_HEX = frozenset("0123456789abcdef")


def exemplar_of(call: Call) -> tuple[str, str]:
    """Return by what a request can be found: its sampled trace, or else its request id.

    A `traceparent` is text of the client's: only 32 hex digits of it are ever taken.
    """
    if call.trace is not None:
        if call.trace_id is not None:
            return "trace_id", call.trace_id
        return "request_id", call.request_id
    given = call.exchange.headers.get(b"traceparent", b"")
    if len(given) == 55:
        version, _, rest = given.decode("latin-1").partition("-")
        trace_id, _, rest = rest.partition("-")
        _, _, flags = rest.partition("-")
        well_formed = version == "00" and len(trace_id) == 32 and len(flags) == 2
        if well_formed and _HEX.issuperset(trace_id + flags) and int(flags, 16) & 1:
            return "trace_id", trace_id
    return "request_id", call.request_id


class Loss:
    """What an attempt used whose answer reached no client whole; counted once its cause is known.

    Attributes:
        tokens: Of input and output together.
        cost_nano_usd: Their price in 1e-9 USD; 0 when it is not known.
    """

    __slots__ = ("_meters", "cost_nano_usd", "tokens")

    def __init__(self, meters: TargetMeters, tokens: int, cost_nano_usd: int) -> None:
        self._meters = meters
        self.tokens = tokens
        self.cost_nano_usd = cost_nano_usd

    def count(self, cause: str) -> None:
        """Count it: `disconnect`, `retry`, `fallback`, or `cut` when nothing followed."""
        self._meters.count_waste(cause, self.tokens, self.cost_nano_usd)


class TargetMeters:
    """Series of one target: provider and model as configured.

    Attributes:
        duration: Seconds of one attempt.
        ttft: Seconds from a request's arrival to its stream's first event.
        inter_token: Seconds between two pieces of a stream.
        output_rate: Output tokens a second of whole answers.
        quota_due_s: `time.monotonic` from which `note_quotas` is to be called again.
    """

    __slots__ = (
        "_input",
        "_labels",
        "_meters",
        "_outcomes",
        "_output",
        "duration",
        "inter_token",
        "output_rate",
        "quota_due_s",
        "ttft",
    )

    def __init__(self, meters: Meters, provider: str, model: str) -> None:
        self._meters = meters
        self._labels = (provider, model)
        self._outcomes: dict[str, CounterSeries] = {}
        self.duration = meters.upstream_duration.labels(provider, model)
        self.ttft = meters.ttft.labels(provider, model)
        self.inter_token = meters.inter_token.labels(provider, model)
        self.output_rate = meters.output_rate.labels(provider, model)
        self.quota_due_s = 0.0
        self._input = meters.tokens.labels(provider, model, "input")
        self._output = meters.tokens.labels(provider, model, "output")

    def outcome(self, outcome: str) -> CounterSeries:
        """Return the counter of attempts that ended in *outcome*."""
        series = self._outcomes.get(outcome)
        if series is None:
            series = self._outcomes[outcome] = self._meters.upstream_requests.labels(
                *self._labels, outcome
            )
        return series

    def count_tokens(
        self, input_tokens: int, output_tokens: int, cost_nano_usd: int, unpriced: int
    ) -> None:
        """Count tokens and money of any number of attempts, *unpriced* of which have no price."""
        self._input.inc(input_tokens)
        self._output.inc(output_tokens)
        if cost_nano_usd:
            self._meters.cost.labels(*self._labels).inc(cost_nano_usd / 1e9)
        if unpriced:
            self._meters.unpriced.labels(*self._labels).inc(unpriced)

    def count_parts(self, usage: Usage) -> None:
        """Count the parts of input and output that providers bill differently."""
        tokens = self._meters.tokens
        if usage.cached_input_tokens:
            tokens.labels(*self._labels, "cached_input").inc(usage.cached_input_tokens)
        if usage.cache_write_tokens:
            tokens.labels(*self._labels, "cache_write").inc(usage.cache_write_tokens)
        if usage.reasoning_tokens:
            tokens.labels(*self._labels, "reasoning").inc(usage.reasoning_tokens)

    def count_usage(self, usage: Usage | None, source: str, cost_nano_usd: int | None) -> None:
        """Count tokens, money, and where the numbers of one attempt come from."""
        meters = self._meters
        if usage is None:
            meters.usage_unknown.inc()
            return
        if source == "provider":
            meters.usage_provider.inc()
        else:
            meters.usage_source.labels(source).inc()
        self.count_parts(usage)
        unpriced = cost_nano_usd is None
        self.count_tokens(
            usage.input_tokens, usage.output_tokens, cost_nano_usd or 0, 1 if unpriced else 0
        )

    def count_waste(self, cause: str, tokens: int, cost_nano_usd: int) -> None:
        """Count what an answer cost that no client got whole."""
        meters = self._meters
        meters.wasted_tokens.labels(*self._labels, cause).inc(tokens)
        meters.wasted_cost.labels(*self._labels, cause).inc(cost_nano_usd / 1e9)

    def note_quotas(self, headers: dict[bytes, bytes]) -> None:
        """Take what a provider's answer says of its own limits on us; most say nothing."""
        now_s = monotonic()
        self.quota_due_s = now_s + _QUOTA_EVERY_S
        for remaining_name, limit_name, kind in _QUOTA_HEADERS:
            remaining = headers.get(remaining_name)
            if remaining is None:
                continue
            self._store_quota(self._meters.quota_remaining.labels(*self._labels, kind), remaining)
            limit = headers.get(limit_name)
            if limit is not None:
                self._store_quota(self._meters.quota_limit.labels(*self._labels, kind), limit)

    def _store_quota(self, series: LatestSeries, text: bytes) -> None:
        # A provider may send anything: a plain number of a sane length, or nothing is taken.
        if text.isdigit() and len(text) <= 15:
            series.set(float(text), self.quota_due_s - _QUOTA_EVERY_S)


class EndpointMeters:
    """Series of one endpoint.

    Attributes:
        whole_duration: Seconds of requests answered whole.
        stream_duration: Seconds of streams.
        overhead: Seconds of a request that were not spent waiting for an upstream.
    """

    __slots__ = (
        "_meters",
        "_name",
        "_statuses",
        "_stream_outcomes",
        "_whole_outcomes",
        "overhead",
        "stream_duration",
        "whole_duration",
    )

    def __init__(self, meters: Meters, name: str) -> None:
        self._meters = meters
        self._name = name
        self._statuses: dict[int, CounterSeries] = {}
        self._stream_outcomes: dict[str, CounterSeries] = {}
        self._whole_outcomes: dict[str, CounterSeries] = {}
        self.whole_duration = meters.duration.labels(name, "false")
        self.stream_duration = meters.duration.labels(name, "true")
        self.overhead = meters.overhead.labels(name)

    def status(self, status: int) -> CounterSeries:
        """Return the counter of answers with *status*; 0 stands for a client that left (499)."""
        series = self._statuses.get(status)
        if series is None:
            series = self._statuses[status] = self._meters.requests.labels(
                self._name, str(status or 499)
            )
        return series

    def outcome(self, outcome: str, stream: bool) -> CounterSeries:
        """Return the counter of requests that ended in *outcome* (`Call.outcome`)."""
        known = self._stream_outcomes if stream else self._whole_outcomes
        series = known.get(outcome)
        if series is None:
            series = known[outcome] = self._meters.request_outcomes.labels(
                self._name, "true" if stream else "false", outcome
            )
        return series


class Meters:
    """Families and single series, by what they mean to the pipeline.

    Attributes:
        identities: Series by key and team; None where nobody asked for them.
    """

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self.identities: Identities | None = None

        def counter(name: str) -> Handle[CounterSeries]:
            return registry.counter(registry.families[name])

        def histogram(name: str) -> Handle[HistogramSeries]:
            return registry.histogram(registry.families[name])

        self.allowed: CounterSeries = counter("rate_limit_allowed_total").series
        self.blocked: CounterSeries = counter("rate_limit_blocked_total").series
        self.in_flight: GaugeSeries = registry.gauge(
            registry.families["tidegate_requests_in_flight"]
        ).series
        self.requests = counter("tidegate_requests_total")
        self.request_outcomes = counter("tidegate_request_outcomes_total")
        self.model_requests = counter("tidegate_model_requests_total")
        self.duration = histogram("tidegate_request_duration_seconds")
        self.overhead = histogram("tidegate_overhead_seconds")
        self.upstream_requests = counter("tidegate_upstream_requests_total")
        self.upstream_duration = histogram("tidegate_upstream_duration_seconds")
        self.retries = counter("tidegate_upstream_retries_total")
        self.fallbacks = counter("tidegate_fallbacks_total")
        self.ttft = histogram("tidegate_time_to_first_token_seconds")
        self.inter_token = histogram("tidegate_inter_token_seconds")
        self.output_rate = histogram("tidegate_output_tokens_per_second")
        self.quota_remaining = registry.latest(
            registry.families["tidegate_upstream_rate_limit_remaining"]
        )
        self.quota_limit = registry.latest(registry.families["tidegate_upstream_rate_limit_max"])
        self.wasted_tokens = counter("tidegate_wasted_tokens_total")
        self.wasted_cost = counter("tidegate_wasted_cost_usd_total")
        self.tokens = counter("tidegate_tokens_total")
        self.auth_failures = counter("tidegate_auth_failures_total")
        self.disconnects = counter("tidegate_client_disconnects_total")
        self.decisions = counter("tidegate_rate_limit_decisions_total")
        self.edge_refusals = counter("tidegate_edge_refusals_total")
        self.connections = registry.gauge(registry.families["tidegate_connections"])
        self.upstream_connections = registry.gauge(
            registry.families["tidegate_upstream_connections"]
        )
        self.table_full = counter("tidegate_rate_limit_table_full_total").series
        ledger_records = counter("tidegate_ledger_records_total")
        self.ledger_lost = counter("tidegate_ledger_lost_records_total")
        self.telemetry_dropped = counter("tidegate_telemetry_dropped_total")
        self.ledger_opens = ledger_records.labels("open")
        self.ledger_settles = ledger_records.labels("settle")
        self.ledger_write = histogram("tidegate_ledger_write_seconds").series
        self.cost = counter("tidegate_cost_usd_total")
        self.fidelity = counter("tidegate_fidelity_total")
        self.unpriced = counter("tidegate_unpriced_requests_total")
        self.usage_source = counter("tidegate_usage_source_total")
        self.usage_provider = self.usage_source.labels("provider")
        self.usage_unknown = self.usage_source.labels("none")
        self._endpoints: dict[str, EndpointMeters] = {}
        self._passed: dict[str, CounterSeries] = {}

    def use_identities(self, labels: tuple[str, ...]) -> None:
        """Count by key and team from now on, or no longer when *labels* is empty."""
        self.identities = Identities(self._registry, labels) if labels else None

    def target(self, provider: str, model: str) -> TargetMeters:
        """Return the series of one target."""
        return TargetMeters(self, provider, model)

    def endpoint(self, name: str) -> EndpointMeters:
        """Return the series of one endpoint."""
        meters = self._endpoints.get(name)
        if meters is None:
            meters = self._endpoints[name] = EndpointMeters(self, name)
        return meters

    def passed(self, rule: Rule) -> CounterSeries:
        """Return the counter of requests that *rule* has let pass."""
        series = self._passed.get(rule.name)
        if series is None:
            series = self._passed[rule.name] = self.decisions.labels(rule.name, "allowed")
        return series

    def count_decision(self, decision: Decision) -> None:
        """Count a decision once for each limit that took part in it."""
        if decision.allowed:
            for state in decision.states:
                self.passed(state[0]).inc()
        elif decision.refused_by is not None:
            self.decisions.labels(decision.refused_by.name, "blocked").inc()
        for rule in decision.shadow_refused:
            self.decisions.labels(rule.name, "shadow").inc()
        for rule in decision.near:
            self.decisions.labels(rule.name, "near").inc()
