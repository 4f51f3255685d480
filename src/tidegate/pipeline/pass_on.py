"""Requests that name no model, passed on to one provider: files, batches, its own endpoints.

There is one attempt, with a ledger row of its own; nothing is tried again, as nobody here knows
what may be done twice.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from time import monotonic
from typing import NamedTuple

from tidegate.pipeline.attempt_record import AttemptRecord
from tidegate.pipeline.body_relay import BodyRelay
from tidegate.pipeline.call import Call
from tidegate.pipeline.failure import (
    MAX_REFUSAL_BYTES,
    Failure,
    UpstreamRefusal,
    failure_of_answer,
    failure_of_fault,
    outcome_of_fault,
)
from tidegate.pipeline.gateway import Gateway
from tidegate.pipeline.settle import finish
from tidegate.pipeline.traces import begin_attempt
from tidegate.routing.retry import parse_retry_after
from tidegate.routing.target import Target
from tidegate.tracing.trace import ObservedAnswer
from tidegate.upstream.answer import Abandoned, UpstreamAnswer, UpstreamFault

log = logging.getLogger("tidegate.pipeline")

#: Whole answers that are read here are small objects and pages of them.
MAX_OBJECT_BYTES = 16 * 1024 * 1024

#: Statuses that are about our credential, the connection, or the provider itself.
_NOT_FOR_THE_CALLER = frozenset({401, 402, 403, 407, 408, 421, 426})


class Onward(NamedTuple):
    """What a provider is sent.

    Attributes:
        method: Upper-case bytes.
        path: Below the base URL, query included.
        lines: Header lines beside the provider's own, each with its CRLF.
        body: May be empty.
        content_type: Of the body; empty for none.
    """

    method: bytes
    path: bytes
    lines: bytes = b""
    body: bytes = b""
    content_type: bytes = b""


#: Takes a good answer: `(outcome, failure)`.
_Take = Callable[[UpstreamAnswer, AttemptRecord, float], Awaitable[tuple[str, Failure | None]]]


async def fetch(gateway: Gateway, call: Call, target: Target, onward: Onward) -> bytes:
    """Return the provider's answer, which must be a good one; raises a `GatewayError`.

    The attempt is settled, the call is not.
    """
    whole = b""

    async def take(
        answer: UpstreamAnswer, record: AttemptRecord, sent_at: float
    ) -> tuple[str, Failure | None]:
        nonlocal whole
        whole = await answer.read(MAX_OBJECT_BYTES)
        call.upstream_s += monotonic() - sent_at
        return "ok", None

    await _send(gateway, call, target, onward, take)
    return whole


async def relay(
    gateway: Gateway,
    call: Call,
    target: Target,
    onward: Onward,
    lines_of: Callable[[dict[bytes, bytes]], bytes],
    note: Callable[[bytes], Awaitable[None]] | None = None,
) -> None:
    """Answer the call with what the provider sends, piece by piece; raises a `GatewayError`.

    Args:
        gateway: Services.
        call: Settled when this returns.
        target: The provider.
        onward: What it is sent.
        lines_of: Its headers → lines of the client's answer beside the media type.
        note: Takes a good answer that is JSON, whole, before the client has it.
    """

    async def take(
        answer: UpstreamAnswer, record: AttemptRecord, sent_at: float
    ) -> tuple[str, Failure | None]:
        lines = lines_of(answer.headers)
        content_type = answer.headers.get(b"content-type", b"")
        if note is not None and content_type.lower().startswith(b"application/json"):
            whole = await answer.read(MAX_OBJECT_BYTES)
            call.upstream_s += monotonic() - sent_at
            await note(whole)
            record.close("ok", answer.status, None)
            lines += target.note + b"content-type: " + content_type + b"\r\n"
            finish(gateway, call, answer.status, lines, whole)
            return "ok", None
        return await BodyRelay(gateway, call, record, sent_at, lines).run(answer)

    await _send(gateway, call, target, onward, take)


async def _send(gateway: Gateway, call: Call, target: Target, onward: Onward, take: _Take) -> None:
    call.attempts += 1
    call.target = target
    call.estimates = "none"
    call.exchange.watcher = call
    body = onward.body
    record = AttemptRecord(gateway, call, target, len(body))
    record.open()
    trace = call.trace
    lines = begin_attempt(call, record, body, None) if trace else call.plan.trace_lines
    sent_at = monotonic()
    answer: UpstreamAnswer | None = None
    outcome = "cancelled"
    failure: Failure | None = None
    try:
        if target.signer is not None:
            lines += await target.signed_lines(onward.path, body, onward.method)
        if body or onward.method in (b"POST", b"PUT", b"PATCH"):
            lines += b"content-length: %d\r\n" % len(body)
        head = target.request_head(onward.method, onward.path, onward.content_type)
        deadline = gateway.loop.time() + call.state.snapshot.open_total_s
        answer = await target.client.send(
            b"%b%b%b\r\n" % (head, onward.lines, lines), body, deadline=deadline
        )
        if record.span is not None:
            answer = ObservedAnswer(answer, record.span)
        call.upstream = answer
        if 200 <= answer.status < 300:
            outcome = "protocol"  # unless it can be handed on
            outcome, failure = await take(answer, record, sent_at)
        else:
            outcome, failure = await _refusal(answer)
            log.log(
                logging.WARNING if outcome != "http_4xx" else logging.INFO,
                "provider refused a request that was passed on",
                extra=_fields(call, target, upstream_status=answer.status),
            )
    except UpstreamFault as fault:
        outcome, failure = outcome_of_fault(fault), failure_of_fault(fault)
        log.warning(
            "provider fault", extra=_fields(call, target, kind=fault.kind, reason=str(fault))
        )
    except Abandoned:
        record.sent = True
        raise
    finally:
        call.upstream = None
        if answer is not None:
            answer.cancel()
        record.close(outcome, 0 if answer is None else answer.status, None)
    if failure is not None:
        call.upstream_s += monotonic() - sent_at
        raise failure.error


async def _refusal(answer: UpstreamAnswer) -> tuple[str, Failure]:
    """Return what a status other than 2xx means; 4xx keep their words, but for our own faults."""
    status, headers = answer.status, answer.headers
    if not 400 <= status < 500 or status in _NOT_FOR_THE_CALLER:
        return await failure_of_answer(answer, None)
    body = await answer.read(MAX_REFUSAL_BYTES)
    outcome = "http_429" if status == 429 else "http_4xx"
    refusal = UpstreamRefusal(
        status,
        body=body,
        content_type=headers.get(b"content-type", b"application/json"),
        retry_after_s=parse_retry_after(
            headers.get(b"retry-after"), headers.get(b"retry-after-ms")
        ),
    )
    return outcome, Failure(refusal, "final", outcome)


def _fields(call: Call, target: Target, **more: object) -> dict[str, object]:
    """Fields of a log line; no text that a client or a provider wrote."""
    return {
        "fields": {
            "request_id": call.request_id,
            "provider": target.provider,
            "endpoint": call.endpoint.name,
            **more,
        }
    }
