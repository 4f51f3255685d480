"""What plain requests have in common, worked out once, and counted together.

Clients send the same head again and again, and name the same model. All such requests have one
key, one endpoint, one route and one target; their series, the constant half of their log lines
and of their ledger records, and the beginning of what is sent to the provider are the same. A
lane holds all that. It grants nothing: it is made anew when keys or configuration have changed.
"""

from __future__ import annotations

from operator import sub, truediv
from time import time_ns
from typing import TYPE_CHECKING

from tidegate.dialects.usage import Usage
from tidegate.ledger.frames import Openings
from tidegate.pipeline.call import Call
from tidegate.pipeline.meters import exemplar_of

if TYPE_CHECKING:
    from tidegate.edge.exchange import FreeExchange
    from tidegate.keys.principal import Principal
    from tidegate.pipeline.endpoint import Endpoint
    from tidegate.pipeline.gateway import Gateway
    from tidegate.pipeline.head_plan import HeadPlan
    from tidegate.pipeline.meters import TargetMeters
    from tidegate.routing.plan import ModelRoute
    from tidegate.routing.target import Target
    from tidegate.upstream.pool import UpstreamPool

MAX_LANES = 16
"""Models remembered for one head; clients choose the names, so there is an end."""

Tally = tuple[int, int, int | None, float, float, int]
"""What a request that was answered well adds to the series: input and output tokens, cost in
1e-9 USD (None where the model has no price), seconds from its first byte to its answer, of those
the ones between sending and answer (more than none), and its status: 200 or 201."""


class Lane:
    """Plain requests with one head, for one model, to one target.

    Attributes:
        state: The configuration generation that it is of.
        principal: Whose key the head holds.
        route: Of the model.
        target: Where all its requests go.
        pool: The target's connections.
        head: What is sent before the digits of the body's length; None where the request has
            to be written in another dialect first.
        operation: Name of what is asked.
        usage_of: Reads the usage out of an answer.
        limit_headers: Writes the limits' header lines.
        foreign: What a body may not hold, if it is to be passed on as it is.
        checks: The limits; None where they depend on more than the key.
        openings: Makes the ledger's records of its attempts' beginnings.
        admitted: How many have passed their limits since the last `flush`.
        ended: What was answered well since then, as `Tally` says.
        latest: Usage of the last of those, length of the body that its provider was sent, and
            of the one that its client is sent.
        log_rest: What their log lines have alike.
        era: In which keys and configuration are as when it was made.
        expires: Whether its key will not be good for ever.
        look_s: `time.monotonic()` from which `look_closer` is welcome.
    """

    __slots__ = (
        "_endpoint",
        "_gateway",
        "_heads",
        "_meters",
        "_model_ok",
        "_ok",
        "_passed",
        "_plan",
        "admitted",
        "checks",
        "ended",
        "endpoint",
        "era",
        "expires",
        "foreign",
        "head",
        "latest",
        "limit_headers",
        "log_rest",
        "look_s",
        "openings",
        "operation",
        "pool",
        "principal",
        "route",
        "state",
        "target",
        "usage_of",
    )

    def __init__(
        self,
        gateway: Gateway,
        era: object,
        exchange: FreeExchange,
        plan: HeadPlan,
        endpoint: Endpoint,
        principal: Principal,
        route: ModelRoute,
        target: Target,
    ) -> None:
        """Prepare for the requests of *principal* such as *exchange*, with the head of *plan*.

        Raises `Forbidden` where the key has a limit that is not configured.
        """
        operation = endpoint.operation
        assert operation is not None
        assert target.pool is not None
        self.state = state = gateway.state
        self.endpoint = endpoint
        self.principal = principal
        self.route = route
        self.target = target
        self.pool: UpstreamPool = target.pool
        self.operation = operation.name
        self.usage_of = operation.usage_of
        self.limit_headers = endpoint.dialect.limit_headers
        self.foreign = None if operation.foreign is None else operation.foreign[0]
        self.head: bytes | None = None
        self._heads: dict[bytes, bytes] = {}
        self._plan = plan
        path = target.paths.get(operation.name)
        if path is not None:
            self.head = self.head_before(path, plan.forwarded)
        self.checks = state.fixed_checks(gateway.limiter, principal)
        self.openings = Openings(
            principal.key_id,
            endpoint.name,
            route.name,
            target.provider,
            target.model,
            "" if target.price is None else target.price_version,
        )
        self.look_s = 0.0
        self._gateway = gateway
        self.era = era
        self.expires = principal.expires_at_ms is not None
        example = self.call_of(exchange, "")
        example.target = target
        self.log_rest = gateway.access_log.rest_of(example)
        self._meters: TargetMeters = target.meters
        self._endpoint = meters = gateway.meters.endpoint(endpoint.name)
        self._ok = (target.meters.outcome("ok"), meters.outcome("ok", False))
        self._model_ok = gateway.meters.model_requests.labels(route.name, "ok")
        self._passed = [
            gateway.meters.passed(check.rule) for check in self.checks or () if check.rule.enforced
        ]
        self.admitted = 0
        self.ended: list[Tally] = []
        self.latest = (Usage(), 0, 0)

    def head_before(self, path: bytes, lines: bytes) -> bytes:
        """Return a request's head up to the digits of its length.

        All requests of a lane that go to *path* have the same header *lines*.
        """
        head = self._heads.get(path)
        if head is None:
            head = self.target.head(path) + lines + self._plan.trace_lines + b"content-length: "
            self._heads[path] = head
        return head

    @property
    def has_expired(self) -> bool:
        """Whether its key is no longer good."""
        expires_at_ms = self.principal.expires_at_ms
        return expires_at_ms is not None and time_ns() // 1_000_000 >= expires_at_ms

    def call_of(self, exchange: FreeExchange, request_id: str) -> Call:
        """Return one of its requests as the long way knows it before its first attempt."""
        call = Call(exchange, self.endpoint, self._plan, self.state, request_id)
        call.principal = self.principal
        call.model = self.route.name
        return call

    def look_closer(
        self, call: Call, headers: dict[bytes, bytes], duration_s: float, now_s: float
    ) -> None:
        """Keep *call* as an example, and take what its provider says of its own limits.

        Wanted again from `look_s` on.
        """
        meters = self._meters
        if now_s >= meters.quota_due_s:
            meters.note_quotas(headers)
        series = self._endpoint.whole_duration
        if now_s >= series.exemplar_due_s:
            series.exemplify(duration_s, now_s, *exemplar_of(call))
        self.look_s = min(meters.quota_due_s, series.exemplar_due_s)

    def count_parts(self, usage: Usage) -> None:
        """Count what few answers have: tokens from a cache, or of reasoning."""
        self._meters.count_parts(usage)

    def flush(self) -> None:
        """Write to the series what was counted since the last time.

        Once for all requests of a turn: a series costs 0.2 µs, whatever is added to it.
        """
        meters = self._gateway.meters
        admitted = self.admitted
        if admitted:
            self.admitted = 0
            meters.allowed.inc(admitted)
            for series in self._passed:
                series.inc(admitted)
            self.route.budget.note_request(admitted)
        if not self.ended:
            return
        rows, self.ended = self.ended, []
        ended = len(rows)
        inputs, outputs, costs, durations_s, upstream_s, statuses = zip(*rows, strict=True)
        attempt_ok, request_ok = self._ok
        attempt_ok.inc(ended)
        request_ok.inc(ended)
        self._model_ok.inc(ended)
        meters.usage_provider.inc(ended)
        unpriced = costs.count(None)
        cost_nano_usd = sum(filter(None, costs)) if unpriced else sum(costs)
        self._meters.count_tokens(sum(inputs), sum(outputs), cost_nano_usd, unpriced)
        # One answer of a turn is enough for ratios that follow twenty of them.
        self.target.estimator.learn(*self.latest, stream=False)
        endpoint = self._endpoint
        created = statuses.count(201)
        if created:
            endpoint.status(201).inc(created)
        endpoint.status(200).inc(ended - created)
        endpoint.overhead.observe_all(tuple(map(sub, durations_s, upstream_s)))
        if 0 in outputs:
            pairs = zip(outputs, upstream_s, strict=True)
            rates = tuple([tokens / took_s for tokens, took_s in pairs if tokens])
        else:
            rates = tuple(map(truediv, outputs, upstream_s))
        self._meters.output_rate.observe_all(rates)
        endpoint.whole_duration.observe_all(durations_s)
        self._meters.duration.observe_all(upstream_s)
