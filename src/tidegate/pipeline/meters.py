"""The metric series that the pipeline writes, looked up once and kept."""

from __future__ import annotations

from tidegate.dialects.usage import Usage
from tidegate.limits.limiter import Decision
from tidegate.metrics.registry import Handle, Registry
from tidegate.metrics.series import CounterSeries, GaugeSeries, HistogramSeries


class TargetMeters:
    """Series of one target: provider and model as configured.

    Attributes:
        duration: Seconds of one attempt.
        ttft: Seconds from a request's arrival to its stream's first event.
        inter_token: Seconds between two pieces of a stream.
    """

    __slots__ = (
        "_input",
        "_labels",
        "_meters",
        "_outcomes",
        "_output",
        "duration",
        "inter_token",
        "ttft",
    )

    def __init__(self, meters: Meters, provider: str, model: str) -> None:
        self._meters = meters
        self._labels = (provider, model)
        self._outcomes: dict[str, CounterSeries] = {}
        self.duration = meters.upstream_duration.labels(provider, model)
        self.ttft = meters.ttft.labels(provider, model)
        self.inter_token = meters.inter_token.labels(provider, model)
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
        self._input.inc(usage.input_tokens)
        self._output.inc(usage.output_tokens)
        if usage.cached_input_tokens:
            meters.tokens.labels(*self._labels, "cached_input").inc(usage.cached_input_tokens)
        if usage.cache_write_tokens:
            meters.tokens.labels(*self._labels, "cache_write").inc(usage.cache_write_tokens)
        if usage.reasoning_tokens:
            meters.tokens.labels(*self._labels, "reasoning").inc(usage.reasoning_tokens)
        if cost_nano_usd is None:
            meters.unpriced.labels(*self._labels).inc()
        elif cost_nano_usd:
            meters.cost.labels(*self._labels).inc(cost_nano_usd / 1e9)


class EndpointMeters:
    """Series of one endpoint.

    Attributes:
        whole_duration: Seconds of requests answered whole.
        stream_duration: Seconds of streams.
        overhead: Seconds of a request that were not spent waiting for an upstream.
    """

    __slots__ = ("_meters", "_name", "_statuses", "overhead", "stream_duration", "whole_duration")

    def __init__(self, meters: Meters, name: str) -> None:
        self._meters = meters
        self._name = name
        self._statuses: dict[int, CounterSeries] = {}
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


class Meters:
    """Families and single series, by what they mean to the pipeline."""

    def __init__(self, registry: Registry) -> None:
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
        self.duration = histogram("tidegate_request_duration_seconds")
        self.overhead = histogram("tidegate_overhead_seconds")
        self.upstream_requests = counter("tidegate_upstream_requests_total")
        self.upstream_duration = histogram("tidegate_upstream_duration_seconds")
        self.retries = counter("tidegate_upstream_retries_total")
        self.fallbacks = counter("tidegate_fallbacks_total")
        self.ttft = histogram("tidegate_time_to_first_token_seconds")
        self.inter_token = histogram("tidegate_inter_token_seconds")
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
        self.ledger_opens = ledger_records.labels("open")
        self.ledger_settles = ledger_records.labels("settle")
        self.ledger_write = histogram("tidegate_ledger_write_seconds").series
        self.cost = counter("tidegate_cost_usd_total")
        self.unpriced = counter("tidegate_unpriced_requests_total")
        self.usage_source = counter("tidegate_usage_source_total")
        self.usage_provider = self.usage_source.labels("provider")
        self.usage_unknown = self.usage_source.labels("none")
        self._endpoints: dict[str, EndpointMeters] = {}
        self._passed: dict[str, CounterSeries] = {}

    def target(self, provider: str, model: str) -> TargetMeters:
        """Return the series of one target."""
        return TargetMeters(self, provider, model)

    def endpoint(self, name: str) -> EndpointMeters:
        """Return the series of one endpoint."""
        meters = self._endpoints.get(name)
        if meters is None:
            meters = self._endpoints[name] = EndpointMeters(self, name)
        return meters

    def count_decision(self, decision: Decision) -> None:
        """Count a decision once for each limit that took part in it."""
        if decision.allowed:
            passed = self._passed
            for state in decision.states:
                rule = state[0]
                series = passed.get(rule.name)
                if series is None:
                    series = passed[rule.name] = self.decisions.labels(rule.name, "allowed")
                series.inc()
        elif decision.refused_by is not None:
            self.decisions.labels(decision.refused_by.name, "blocked").inc()
        for rule in decision.shadow_refused:
            self.decisions.labels(rule.name, "shadow").inc()
        for rule in decision.near:
            self.decisions.labels(rule.name, "near").inc()
