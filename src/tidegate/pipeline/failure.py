"""What an attempt that brought the client nothing means: to the client, and for what follows."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from tidegate.dialects.neutral import WireError
from tidegate.dialects.unreadable import UNREADABLE
from tidegate.errors import BadUpstream, GatewayError, Unavailable, UpstreamTimeout
from tidegate.pipeline.meters import Loss
from tidegate.routing.retry import (
    PASSED_STATUSES,
    Next,
    next_after_fault,
    next_after_status,
    parse_retry_after,
)
from tidegate.upstream.answer import UpstreamAnswer, UpstreamFault

MAX_REFUSAL_BYTES = 1024 * 1024


class UpstreamRefusal(GatewayError):
    """An upstream's answer that keeps its meaning for the client (400, 404, 413, 422, 429).

    Attributes:
        body: The upstream's own body for a caller of the same dialect; empty for any other.
        content_type: Its media type.
    """

    code = "upstream_refused"

    def __init__(
        self,
        status: int,
        *,
        body: bytes = b"",
        content_type: bytes = b"application/json",
        told: WireError | None = None,
        retry_after_s: float | None = None,
    ) -> None:
        message = "" if told is None else told.message
        super().__init__(
            message or f"The provider refused the request with status {status}.",
            param=None if told is None else told.param,
            retry_after_s=retry_after_s,
        )
        self.status = status
        self.kind = "rate_limit_error" if status == 429 else "invalid_request_error"
        self.body = body
        self.content_type = content_type


class Failure:
    """An attempt that brought the client nothing.

    Attributes:
        error: What the client is told if this was the last attempt.
        next: Whether another attempt may follow.
        reason: Closed set, a metric label.
        retry_after_s: How long the upstream asked to wait.
        loss: What the attempt used for nothing; None when that is nothing.
    """

    __slots__ = ("error", "loss", "next", "reason", "retry_after_s")

    def __init__(
        self, error: GatewayError, following: Next, reason: str, retry_after_s: float | None = None
    ) -> None:
        self.error = error
        self.next = following
        self.reason = reason
        self.retry_after_s = retry_after_s
        self.loss: Loss | None = None

    def count_loss(self, cause: str) -> None:
        """Count what the attempt used for nothing, once it is known what follows it."""
        if self.loss is not None:
            self.loss.count(cause)
            self.loss = None


class _ErrorObject(msgspec.Struct):
    code: int | str | None = None
    message: str | None = None


#: Reads a refusal in a target's own dialect, where that is not the caller's.
ReadRefusal = Callable[[int, bytes], WireError]


async def failure_of_answer(
    answer: UpstreamAnswer, read_refusal: ReadRefusal | None
) -> tuple[str, Failure]:
    """Map an upstream's status that is not an answer: `(outcome, failure)`."""
    status = answer.status
    headers = answer.headers
    retry_after_s = parse_retry_after(headers.get(b"retry-after"), headers.get(b"retry-after-ms"))
    following = next_after_status(status)
    if status in PASSED_STATUSES:
        body = await answer.read(MAX_REFUSAL_BYTES)
        error: GatewayError
        if read_refusal is None:
            error = UpstreamRefusal(
                status,
                body=body,
                content_type=headers.get(b"content-type", b"application/json"),
                retry_after_s=retry_after_s,
            )
        else:
            error = UpstreamRefusal(
                status, told=read_refusal(status, body), retry_after_s=retry_after_s
            )
        outcome = "http_429" if status == 429 else "http_4xx"
    elif status in (401, 402, 403):
        error = BadUpstream("The provider refused the gateway's own credential.")
        outcome = "http_4xx"
    elif status == 408:
        error = UpstreamTimeout("The provider timed out.")
        outcome = "timeout"
    elif status in (503, 529):
        error = Unavailable("The provider is overloaded or down.", retry_after_s=retry_after_s)
        outcome = "http_5xx"
    elif status >= 500:
        error = BadUpstream(
            f"The provider failed with status {status}.", retry_after_s=retry_after_s
        )
        outcome = "http_5xx"
    else:
        error = BadUpstream(f"The provider answered with the unexpected status {status}.")
        outcome = "protocol"
    return outcome, Failure(error, following, outcome, retry_after_s)


def outcome_of_fault(fault: UpstreamFault) -> str:
    """Return the metric label of an attempt that ended in *fault*."""
    kind = fault.kind
    if kind in ("first_byte", "idle", "total"):
        return "timeout"
    if kind in ("connect", "tls", "busy"):
        return "connect"
    return "cut" if kind == "truncated" else "protocol"


def failure_of_fault(fault: UpstreamFault) -> Failure:
    """Map a fault below HTTP, the client having seen nothing yet."""
    kind = fault.kind
    error: GatewayError
    if kind in ("first_byte", "idle", "total"):
        error = UpstreamTimeout("The provider did not answer in time.")
    elif kind == "busy":
        error = Unavailable("All connections to the provider are in use.", retry_after_s=1.0)
    elif kind in ("connect", "tls"):
        error = BadUpstream("The provider could not be reached.")
    elif kind == "truncated":
        error = BadUpstream("The provider closed the connection before its answer was whole.")
    else:
        error = BadUpstream("The provider's answer is broken, or larger than it may be.")
    return Failure(error, next_after_fault(fault), outcome_of_fault(fault))


def failure_of_first_event(error: WireError | bytes, raw: bytes = b"") -> Failure:
    """Treat an error that came as the first event of a 200 as the status it stands for.

    Args:
        error: As read, or the JSON of an `error` object in OpenAI's dialect.
        raw: The body that says the same to a caller of the provider's dialect.
    """
    if isinstance(error, bytes):
        return _failure_of_error_object(error)
    if error.status in PASSED_STATUSES:
        refusal = UpstreamRefusal(error.status, body=raw, told=error)
        return Failure(refusal, next_after_status(error.status), "error_event")
    return Failure(
        BadUpstream("The provider's stream began with an error."), "retry", "error_event"
    )


def _failure_of_error_object(raw: bytes) -> Failure:
    try:
        error = msgspec.json.decode(raw, type=_ErrorObject)
    except UNREADABLE:
        error = _ErrorObject()
    status = error.code if isinstance(error.code, int) and 400 <= error.code < 600 else 502
    if status in PASSED_STATUSES:
        refusal = UpstreamRefusal(
            status,
            body=b'{"error":' + raw + b"}",
            content_type=b"application/json",
        )
        return Failure(refusal, next_after_status(status), "error_event")
    return Failure(
        BadUpstream("The provider's stream began with an error."), "retry", "error_event"
    )
