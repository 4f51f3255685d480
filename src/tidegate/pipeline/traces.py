"""What a trace is told of a call and its attempts. Nothing here runs where nothing is traced."""

from __future__ import annotations

from time import time_ns
from typing import TYPE_CHECKING

from tidegate.dialects.usage import Usage
from tidegate.tracing.trace import AttemptSpan, Trace
from tidegate.tracing.tracer import Tracer

if TYPE_CHECKING:
    from tidegate.pipeline.attempt_record import AttemptRecord
    from tidegate.pipeline.call import Call
    from tidegate.pipeline.translation import Translation


def begin_trace(tracer: Tracer, call: Call) -> None:
    """Find the call's place in a trace, or begin one."""
    headers = call.exchange.headers
    trace = call.trace = tracer.begin(
        headers.get(b"traceparent"), headers.get(b"tracestate"), call.started_at
    )
    if trace.sampled:
        call.trace_id = trace.trace_id


def finish_trace(trace: Trace, call: Call) -> None:
    """Write down how the call ended, and hand the trace over if it is recorded."""
    if not trace.sampled:
        return
    trace.ended_ns = time_ns()
    endpoint = call.endpoint
    trace.method = call.exchange.method.decode("ascii", "replace")
    if endpoint.path:
        trace.route = endpoint.path.decode() + ("/{name}" if endpoint.takes_name else "")
    trace.client_ip = call.exchange.client_ip
    trace.request_id = call.request_id
    trace.status = call.status
    trace.outcome = call.outcome
    trace.stream = call.stream
    trace.model = call.model
    if call.principal is not None:
        trace.key, trace.team = call.principal.name, call.principal.team
    if call.decision is not None and call.decision.refused_by is not None:
        trace.limit = call.decision.refused_by.name
    trace.tracer.finish(trace)


def begin_attempt(
    call: Call, record: AttemptRecord, body: bytes, translation: Translation | None
) -> bytes:
    """Begin the attempt's span if the trace is recorded; return the trace's header lines."""
    trace = call.trace
    assert trace is not None
    if not trace.sampled:
        return trace.lines(trace.span_id)
    target, operation = record.target, call.operation
    span = record.span = trace.tracer.attempt(trace, call.attempts)
    span.provider, span.model, span.label = target.provider, target.model, target.label
    span.operation, span.stream = operation.name, call.stream
    if translation is not None:
        span.dialect = translation.back.name
    elif operation.wire is not None:
        span.dialect = operation.wire.name
    span.send(body)
    return trace.lines(span.span_id)


def end_attempt(
    span: AttemptSpan,
    call: Call,
    outcome: str,
    status: int,
    usage: Usage | None,
    told: bool,
    cost_nano_usd: int | None,
) -> None:
    """Write down how an attempt ended."""
    trace = call.trace
    if trace is not None and call.ttft_s is not None and outcome != "error_event":
        span.first_token_ns = trace.offset_ns + int((call.started_at + call.ttft_s) * 1e9)
    span.gone = call.exchange.disconnected
    span.cost_nano_usd = cost_nano_usd if usage is not None else None
    span.end(outcome, status, usage, told)
