"""The end of a request: count it, log it, then let the last byte leave.

Everything is counted before the answer's last byte is written, so a client that reads the
metrics page after its answer finds itself in it.
"""

from __future__ import annotations

from time import monotonic

from tidegate.errors import GatewayError, MethodNotAllowed, Unauthenticated
from tidegate.pipeline.call import Call
from tidegate.pipeline.failure import UpstreamRefusal
from tidegate.pipeline.gateway import Gateway
from tidegate.pipeline.meters import exemplar_of

#: Outcomes that say of a model that nobody answered for it.
_FAILED = frozenset({"stream_cut", "upstream_error", "upstream_timeout", "service_unavailable"})
_JSON = b"content-type: application/json\r\n"


def finish(gateway: Gateway, call: Call, status: int, headers: bytes, body: bytes) -> None:
    """Answer a call whole. *headers* are lines after those of every answer."""
    call.status = status
    lines = call.base_headers() + headers
    settle(gateway, call, status)
    call.exchange.answer(status, lines, body)


def refuse(gateway: Gateway, call: Call, error: GatewayError) -> None:
    """Answer with *error* in the dialect; in-band when a stream has begun."""
    if call.settled:
        return
    if call.exchange.disconnected:
        call.outcome = "client_gone"
        return
    call.outcome = error.code
    dialect = call.endpoint.dialect
    if call.status:
        settle(gateway, call, call.status)
        call.exchange.write(dialect.error_event(error))
        call.exchange.end()
        return
    headers = dialect.retry_headers(error)
    if isinstance(error, MethodNotAllowed):
        headers += b"allow: " + error.allow.encode() + b"\r\n"
    elif isinstance(error, Unauthenticated):
        headers += b"www-authenticate: Bearer\r\n"
    if isinstance(error, UpstreamRefusal) and error.body:
        headers += b"content-type: " + error.content_type + b"\r\n"
        finish(gateway, call, error.status, headers, error.body)
        return
    finish(gateway, call, error.status, headers + _JSON, dialect.error_body(error))


def settle(gateway: Gateway, call: Call, status: int) -> None:
    """Count and log one request, once. *status* 0 means that the client left before one."""
    call.settled = True
    if call.decision is not None and call.decision.holds:
        # Before the last byte: the client's next request must find its place free.
        call.decision.release()
    endpoint = call.endpoint
    if not endpoint.counted:
        return
    now_s = monotonic()
    duration_s = now_s - call.started_at
    meters = gateway.meters.endpoint(endpoint.name)
    meters.status(status).inc()
    meters.outcome(call.outcome, call.stream).inc()
    if call.model is not None:
        result = "ok" if call.outcome == "ok" else "failed" if call.outcome in _FAILED else "other"
        gateway.meters.model_requests.labels(call.model, result).inc()
    series = meters.stream_duration if call.stream else meters.whole_duration
    series.observe(duration_s)
    if now_s >= series.exemplar_due_s:
        series.exemplify(duration_s, now_s, *exemplar_of(call))
    if call.upstream_s:
        meters.overhead.observe(duration_s - call.upstream_s)
    if call.outcome == "client_gone":
        phase = "answer" if call.delivered_bytes else "upstream" if call.attempts else "request"
        gateway.meters.disconnects.labels(phase).inc()
    identities = gateway.meters.identities
    if identities is not None and call.principal is not None:
        identities.of(call.principal).status(status).inc()
    gateway.access_log.note(call, status, duration_s)
