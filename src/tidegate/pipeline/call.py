"""One client request on its way through the pipeline, and what is known of it so far."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from tidegate.dialects.usage import Usage

if TYPE_CHECKING:
    from tidegate.edge.exchange import Exchange
    from tidegate.keys.principal import Principal
    from tidegate.ledger.records import UsageSource
    from tidegate.limits.limiter import Decision
    from tidegate.pipeline.endpoint import Endpoint
    from tidegate.pipeline.gateway import State
    from tidegate.pipeline.head_plan import HeadPlan
    from tidegate.pipeline.operation import Operation
    from tidegate.routing.target import Target
    from tidegate.tracing.trace import Trace
    from tidegate.upstream.answer import UpstreamAnswer


class Call:
    """State of one request; made at its head, dropped when it is settled.

    Attributes:
        exchange: The request and the way to answer it.
        endpoint: What it asks for.
        plan: What its head alone decides.
        state: The configuration generation that it began with, and keeps over a reload.
        request_id: Ours, on every answer and log line.
        principal: Who asks; None until authenticated.
        decision: The limiter's; None until asked.
        model: Configured model name, or None. Never the client's own text.
        stream: Whether an event stream was asked for.
        target: The deployment tried last.
        attempts: How many were tried.
        status: Status that the client was sent; 0 before.
        outcome: One word for the log: `ok`, an error code, or `client_gone`.
        usage: Tokens, when the provider told, or as estimated.
        usage_source: Where they come from, as in the ledger.
        estimates: What may be estimated from bytes where a provider tells nothing: input and
            output, the input alone, or nothing (bytes of sound and pictures are no tokens).
        content_type: Media type of the body, where it is not JSON.
        relays_bodies: Whether an answer that is no JSON is handed on piece by piece.
        upstream_s: Seconds spent waiting for upstreams (all attempts).
        ttft_s: Seconds from the request's arrival to the first piece of the answer.
        delivered_bytes: Bytes of the model's answer handed to the client.
        settled: Guards against settling twice.
        wants_usage: Whether the client asked for a stream's usage event itself.
        choices: How many answers a stream has to finish before it is whole (`n`).
        upstream: The answer being read, if any.
        note: Header line that names what a body lost that else passes through; empty for none.
        trace: Its place in a trace; None where nothing is traced.
        trace_id: The trace's id, if it is recorded.
    """

    # Defaults stand on the class: most of a refused or whole request never sets them, and
    # twenty stores a request would cost 0.7 µs.
    principal: Principal | None = None
    decision: Decision | None = None
    model: str | None = None
    stream: bool = False
    target: Target | None = None
    attempts: int = 0
    status: int = 0
    outcome: str = "ok"
    usage: Usage | None = None
    usage_source: UsageSource = "provider"
    estimates: Literal["tokens", "input", "none"] = "tokens"
    content_type: bytes = b""
    relays_bodies: bool = False
    upstream_s: float = 0.0
    ttft_s: float | None = None
    delivered_bytes: int = 0
    settled: bool = False
    wants_usage: bool = False
    choices: int = 1
    upstream: UpstreamAnswer | None = None
    note: bytes = b""
    trace: Trace | None = None
    trace_id: str | None = None

    def __init__(
        self,
        exchange: Exchange,
        endpoint: Endpoint,
        plan: HeadPlan,
        state: State,
        request_id: str,
    ) -> None:
        self.exchange = exchange
        self.endpoint = endpoint
        self.plan = plan
        self.state = state
        self.request_id = request_id
        self.started_at = exchange.started_at

    @property
    def operation(self) -> Operation:
        """What is asked of a model; only for endpoints that ask something."""
        operation = self.endpoint.operation
        assert operation is not None
        return operation

    def client_gone(self) -> None:
        """Cancel the work for a client that has left (`edge.exchange.ClientWatcher`)."""
        if self.exchange.task is not None:
            self.exchange.task.cancel()

    def client_slow(self) -> None:
        """Hold back the upstream while the client does not read."""
        if self.upstream is not None:
            self.upstream.pause()

    def client_ready(self) -> None:
        """Let the upstream go on."""
        if self.upstream is not None:
            self.upstream.resume()

    def base_headers(self) -> bytes:
        """Return the header lines of every answer: request id, and limits once decided."""
        lines = b"x-request-id: " + self.request_id.encode() + b"\r\n"
        if self.decision is not None and self.decision.states:
            lines += self.endpoint.dialect.limit_headers(self.decision.states)
        return lines
