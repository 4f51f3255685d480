"""Attempts at targets until one has answered the client, or none is left.

Nothing is tried again once the client has seen a byte of a model's answer. All attempts
of a request share one deadline.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from functools import partial
from time import monotonic
from typing import Any, Protocol

import msgspec

from tidegate.dialects.neutral import NeutralRequest
from tidegate.dialects.usage import Usage
from tidegate.errors import BadRequest, BadUpstream
from tidegate.pipeline.attempt_record import AttemptRecord
from tidegate.pipeline.body_relay import BodyRelay
from tidegate.pipeline.call import Call
from tidegate.pipeline.failure import (
    Failure,
    UpstreamRefusal,
    failure_of_answer,
    failure_of_fault,
    outcome_of_fault,
)
from tidegate.pipeline.forward import lines_to_client
from tidegate.pipeline.gateway import Gateway
from tidegate.pipeline.relay import StreamRelay
from tidegate.pipeline.settle import finish
from tidegate.pipeline.traces import begin_attempt
from tidegate.pipeline.translation import Translation, translate, without_foreign
from tidegate.routing.plan import ModelRoute
from tidegate.routing.retry import PASSED_STATUSES, backoff_s
from tidegate.routing.target import Target
from tidegate.tracing.trace import ObservedAnswer
from tidegate.upstream.answer import Abandoned, UpstreamAnswer, UpstreamFault

log = logging.getLogger("tidegate.pipeline")

#: Turns a target's whole answer into the client's, where the two differ.
Encode = Callable[[bytes, Target], bytes]

MAX_ANSWER_BYTES = 256 * 1024 * 1024


class Request(Protocol):
    """What a caller asks of a model, in its own bytes.

    Attributes:
        body: As it came.
        model: The name that the caller asked for.
        neutral: Its neutral form, once a target has needed that.
    """

    body: bytes
    model: str
    neutral: NeutralRequest | None

    def body_for(self, model: str, raw_model: msgspec.Raw, force_usage: bool) -> bytes:
        """Return the body for a target that speaks the caller's dialect."""


class Sent(Protocol):
    """A first attempt that was sent before anybody waited for its answer.

    Attributes:
        order: All targets of the model, the one that was asked first.
        record: Of the attempt; open.
        translation: How its answer is read.
        sent_at: `time.monotonic()`.
        deadline: Loop time at which the request is over.
    """

    order: Sequence[Target]
    translation: Translation | None
    sent_at: float
    deadline: float

    @property
    def record(self) -> AttemptRecord:
        """See the class."""

    def answer(self) -> Coroutine[Any, Any, UpstreamAnswer]:
        """Wait for the head of the answer; see `UpstreamClient.send`."""


async def run_attempts(
    gateway: Gateway,
    call: Call,
    request: Request,
    route: ModelRoute,
    encode: Encode | None = None,
    sent: Sent | None = None,
) -> None:
    """Answer *call* from *route* or its fallbacks; raises the last attempt's error.

    Args:
        gateway: Services.
        call: The request, admitted.
        request: What it says.
        route: The model's targets.
        encode: Turns a whole answer into the client's.
        sent: The first attempt, where it has been sent already.
    """
    exchange = call.exchange
    deadline = gateway.loop.time() + route.total_s if sent is None else sent.deadline
    relay = StreamRelay(gateway, call) if call.stream else None
    exchange.watcher = call
    try:
        if sent is None:
            route.budget.note_request()
            order = route.order(gateway.chance)
            first = attempt(gateway, call, request, route, order[0], deadline, relay, encode)
        else:
            order = sent.order
            first = _conclude(
                gateway,
                call,
                sent.record,
                sent.answer(),
                sent.translation,
                sent.sent_at,
                relay,
                encode,
            )
        failure = await first
        if failure is not None:
            again = partial(_again, gateway, call, request, route, deadline, relay, encode)
            failure = await _go_on(gateway, call, route, list(order), deadline, failure, again)
    finally:
        if relay is not None:
            relay.close()
    if failure is not None:
        failure.count_loss("cut")
        error, failure = failure.error, None
        try:
            raise error
        finally:
            del error  # its traceback holds this frame: only the collector finds such circles


#: Tries one target; None when the client has been answered.
Again = Callable[[Target], Awaitable[Failure | None]]


async def _again(
    gateway: Gateway,
    call: Call,
    request: Request,
    route: ModelRoute,
    deadline: float,
    relay: StreamRelay | None,
    encode: Encode | None,
    target: Target,
) -> Failure | None:
    return await attempt(gateway, call, request, route, target, deadline, relay, encode)


async def _go_on(
    gateway: Gateway,
    call: Call,
    route: ModelRoute,
    order: list[Target],
    deadline: float,
    failure: Failure,
    again: Again,
) -> Failure | None:
    """Go on after the first attempt failed: retries, other targets, then the fallbacks."""
    left = await _retry(gateway, call, route, order, deadline, failure, again)
    for step in route.chain[1:]:
        if left is None or (left.next == "final" and not _may_fall_back(left)):
            return left
        gateway.meters.fallbacks.labels(step.name, left.reason).inc()
        left.count_loss("fallback")
        step.budget.note_request()
        order = list(step.order(gateway.chance))
        left = await again(order[0])
        if left is not None:
            left = await _retry(gateway, call, step, order, deadline, left, again)
    return left


def _may_fall_back(failure: Failure) -> bool:
    """Whether a fallback model may answer what this one's providers refused for good."""
    return isinstance(failure.error, UpstreamRefusal) and failure.error.status == 404


async def _retry(
    gateway: Gateway,
    call: Call,
    route: ModelRoute,
    order: list[Target],
    deadline: float,
    failure: Failure,
    again: Again,
) -> Failure | None:
    """Try one model name's targets again after *order*'s first failed with *failure*."""
    retries_left = route.retries
    position = 0
    while failure.next != "final":
        target = order[position]
        if failure.next == "failover":
            # This place will not do; the others of the name may.
            order.pop(position)
            if not order:
                return failure
            position %= len(order)
            wait_s = 0.0
        else:
            following = (position + 1) % len(order)
            wait_s = backoff_s(
                route.retries - retries_left + 1,
                gateway.chance,
                failure.retry_after_s,
                other_target=following != position,
            )
            position = following
        if retries_left <= 0 or gateway.loop.time() + wait_s >= deadline:
            return failure
        if not route.budget.take():
            return failure
        retries_left -= 1
        gateway.meters.retries.labels(target.provider, failure.reason).inc()
        failure.count_loss("retry")
        if wait_s > 0.0:
            slept_from = monotonic()
            await asyncio.sleep(wait_s)
            call.upstream_s += monotonic() - slept_from  # the provider's doing, not ours
        following_failure = await again(order[position])
        if following_failure is None:
            return None
        failure = following_failure
    return failure


async def attempt(
    gateway: Gateway,
    call: Call,
    request: Request,
    route: ModelRoute,
    target: Target,
    deadline: float,
    relay: StreamRelay | None,
    encode: Encode | None,
) -> Failure | None:
    """Send the request to one target. None when the client has been answered."""
    try:
        path, lines, body, translation = prepare(gateway, call, request, route, target)
    except BadRequest as error:
        # Nothing was sent: no attempt was made. Another target may be able to.
        return Failure(error, "failover", "unsupported")
    call.attempts += 1
    call.target = target
    record = AttemptRecord(gateway, call, target, len(body))
    record.open()
    lines += begin_attempt(call, record, body, translation) if call.trace else call.plan.trace_lines
    sent_at = monotonic()
    sending = _send(call, target, path, lines, body, deadline)
    return await _conclude(gateway, call, record, sending, translation, sent_at, relay, encode)


async def _send(
    call: Call, target: Target, path: bytes, lines: bytes, body: bytes, deadline: float
) -> UpstreamAnswer:
    if target.signer is not None:
        lines += await target.signed_lines(path, body)
    head = head_for(call, target, path, lines, body)
    return await target.client.send(head, body, deadline=deadline)


def head_for(call: Call, target: Target, path: bytes, lines: bytes, body: bytes) -> bytes:
    """Return the whole head of a request with *body* to *target*."""
    return b"%b%bcontent-length: %d\r\n\r\n" % (
        target.head(path, call.content_type),
        lines,
        len(body),
    )


async def _conclude(
    gateway: Gateway,
    call: Call,
    record: AttemptRecord,
    sending: Coroutine[Any, Any, UpstreamAnswer],
    translation: Translation | None,
    sent_at: float,
    relay: StreamRelay | None,
    encode: Encode | None,
) -> Failure | None:
    """Wait for the answer to an attempt that is recorded, and hand it on; settle the attempt."""
    target = record.target
    answer: UpstreamAnswer | None = None
    outcome = "cancelled"
    failure: Failure | None = None
    told: Usage | None = None
    try:
        answer = await sending
        if record.span is not None:
            answer = ObservedAnswer(answer, record.span)
        call.upstream = answer
        if sent_at >= target.meters.quota_due_s:
            target.meters.note_quotas(answer.headers)
        if answer.status != 200 and answer.status != 201:
            outcome, failure = await failure_of_answer(
                answer, None if translation is None else translation.refusal
            )
            _log_refusal(call, target, answer.status)
        elif relay is not None and _is_event_stream(answer):
            try:
                outcome, failure = await relay.run(answer, target, sent_at, record, translation)
            finally:
                told = relay.usage
        elif call.relays_bodies and not _is_json(answer):
            outcome, failure = await BodyRelay(gateway, call, record, sent_at, b"").run(answer)
        else:
            whole = await answer.read(MAX_ANSWER_BYTES)
            call.upstream_s += monotonic() - sent_at
            outcome = "protocol"  # unless it can be handed on
            whole, told, note = understand(gateway, call, whole, translation)
            if call.status:
                # Keep-alive comments have promised an event stream already.
                raise BadUpstream("The provider answered a stream request with a whole answer.")
            content_type = None
            if encode is not None:
                whole, content_type = encode(whole, target), b"application/json"
            call.delivered_bytes += len(whole)
            record.close("ok", answer.status, told)
            if call.usage_source != "provider":
                note += usage_line(call)
            lines = answer_lines(answer.headers, target, note, content_type)
            finish(gateway, call, answer.status, lines, whole)
    except UpstreamFault as fault:
        outcome, failure = outcome_of_fault(fault), failure_of_fault(fault)
        log.warning(
            "provider fault",
            extra=_fields(call, target, kind=fault.kind, reason=str(fault)),
        )
    except Abandoned:
        record.sent = True
        raise
    finally:
        call.upstream = None
        if answer is not None:
            answer.cancel()
        record.close(outcome, 0 if answer is None else answer.status, told)
        if record.loss is not None:
            if failure is not None:
                failure.loss = record.loss
            else:
                record.loss.count("cut")
    if failure is not None:
        call.upstream_s += monotonic() - sent_at
    return failure


def prepare(
    gateway: Gateway, call: Call, request: Request, route: ModelRoute, target: Target
) -> tuple[bytes, bytes, bytes, Translation | None]:
    """Return path, header lines and body for *target*, and how to read what it answers.

    Raises `BadRequest` where it has no way to be asked this.
    """
    operation = call.operation
    path = (target.stream_paths if call.stream else target.paths).get(operation.name)
    if path is not None:
        asks_usage = operation.asks_usage and target.stream_usage
        body = request.body_for(target.model, target.raw_model, asks_usage)
        if operation.foreign is not None and operation.foreign[0] in body:
            body = without_foreign(gateway, call, route, target, body)
        if target.reshape is not None:
            body = target.reshape(operation.name, body)
        return path, call.plan.forwarded, body, None
    call.note = b""
    translation = translate(call, request, route, target)
    if target.reshape is not None:
        translation.body = target.reshape(translation.back.name, translation.body)
    return translation.path, translation.lines, translation.body, translation


def understand(
    gateway: Gateway, call: Call, whole: bytes, translation: Translation | None
) -> tuple[bytes, Usage | None, bytes]:
    """Return a whole answer in the caller's dialect, its usage, and what is said of losses."""
    if translation is None:
        call.usage = call.operation.usage_of(whole)
        return whole, call.usage, call.note
    whole, call.usage = translation.answer(whole)
    translation.count_losses(gateway)
    return whole, call.usage, translation.note


def usage_line(call: Call) -> bytes:
    """Return the header line that says where the numbers of a usage come from."""
    return b"x-tidegate-usage: " + call.usage_source.encode() + b"\r\n"


def answer_lines(
    headers: dict[bytes, bytes], target: Target, note: bytes, content_type: bytes | None = None
) -> bytes:
    """Return the header lines of a whole answer.

    Args:
        headers: The provider's.
        target: The provider.
        note: Lines of our own; may be empty.
        content_type: Media type of the body; the provider's own by default.
    """
    kind = content_type or headers.get(b"content-type", b"application/json")
    return b"".join((target.note, note, lines_to_client(headers), b"content-type: ", kind, b"\r\n"))


_STREAM_TYPES = (b"text/event-stream", b"application/vnd.amazon.eventstream")


def _is_event_stream(answer: UpstreamAnswer) -> bool:
    return answer.headers.get(b"content-type", b"").lower().startswith(_STREAM_TYPES)


def _is_json(answer: UpstreamAnswer) -> bool:
    return answer.headers.get(b"content-type", b"").lower().startswith(b"application/json")


def _log_refusal(call: Call, target: Target, status: int) -> None:
    """Say what an operator can act on: our own credential, or a provider in trouble."""
    if status in (401, 402, 403):
        log.error(
            "provider refused the gateway's own credential",
            extra=_fields(call, target, upstream_status=status),
        )
        if status == 401 and target.signer is not None:
            target.signer.doubt()
    elif status not in PASSED_STATUSES or status == 429:
        log.warning("provider failed", extra=_fields(call, target, upstream_status=status))


def _fields(call: Call, target: Target, **more: object) -> dict[str, object]:
    """Fields of a log line about an attempt; no text that a client or a provider wrote."""
    return {
        "fields": {
            "request_id": call.request_id,
            "provider": target.provider,
            "target_model": target.label,
            "attempt": call.attempts,
            **more,
        }
    }
