"""The ledger's view of one attempt: opened before a byte leaves, settled once at its end."""

from __future__ import annotations

from time import monotonic, time_ns
from typing import TYPE_CHECKING

from tidegate.dialects.usage import Usage
from tidegate.ids import attempt_id
from tidegate.ledger.frames import open_frame, progress_frame, settle_frame
from tidegate.ledger.records import Outcome, UsageSource
from tidegate.pipeline.meters import Loss
from tidegate.pipeline.traces import end_attempt

if TYPE_CHECKING:
    from tidegate.pipeline.call import Call
    from tidegate.pipeline.gateway import Gateway
    from tidegate.routing.target import Target
    from tidegate.tracing.trace import AttemptSpan

_NOTHING = Usage()
#: One write in 64 is timed, by the low bits of the clock.
WRITE_SAMPLE = 63

#: Outcome of the metrics page → outcome of the row.
_ROW_OUTCOMES: dict[str, Outcome] = {
    "ok": "ok",
    "http_4xx": "client_error",
    "http_429": "rate_limited",
    "http_5xx": "upstream_error",
    "error_event": "upstream_error",
    "protocol": "upstream_error",
    "timeout": "timeout",
    "connect": "connect_error",
    "cut": "cut",
}


class AttemptRecord:
    """One attempt in the journal.

    Attributes:
        target: The deployment that is tried.
        request_bytes: Length of the body sent to it.
        sent: Whether the request is known to have been sent without an answer's head.
        loss: What the attempt used for nothing, as far as what follows it decides the cause.
        span: The attempt in a recorded trace; None in any other.
    """

    __slots__ = (
        "_attempt_id",
        "_bytes_before",
        "_call",
        "_closed",
        "_gateway",
        "_journal",
        "_opened_ms",
        "_recorded",
        "_sent_at",
        "loss",
        "request_bytes",
        "sent",
        "span",
        "target",
    )

    def __init__(self, gateway: Gateway, call: Call, target: Target, request_bytes: int) -> None:
        """Prepare the row; `open` or `resume` follows."""
        self._gateway = gateway
        self._journal = gateway.journal
        self._call = call
        self.target = target
        self.request_bytes = request_bytes
        self._closed = False
        self.sent = False
        self.loss: Loss | None = None
        self.span: AttemptSpan | None = None
        self._bytes_before = call.delivered_bytes
        self._sent_at = monotonic()
        self._attempt_id = attempt_id(call.request_id, call.attempts)
        self._opened_ms = 0
        self._recorded = False

    def open(self) -> None:
        """Open the row. Raises `JournalFull` where no attempt may go without one."""
        call, target = self._call, self.target
        began_ns = time_ns()
        self._opened_ms = began_ns // 1_000_000
        principal = call.principal
        frame = open_frame(
            self._attempt_id,
            call.attempts,
            self._opened_ms,
            "" if principal is None else principal.key_id,
            call.endpoint.name,
            call.model or "",
            target.provider,
            target.model,
            call.stream,
            0,
            None,
            "" if target.price is None else target.price_version,
        )
        self._recorded = self._journal.append([frame], [])
        meters = self._gateway.meters
        meters.ledger_opens.inc()
        if began_ns & WRITE_SAMPLE == 0:
            meters.ledger_write.observe((time_ns() - began_ns) / 1e9)

    def resume(self, opened_ms: int, sent_at: float, recorded: bool) -> None:
        """Go on with a row that was opened before, at *opened_ms*, if it was *recorded* at all."""
        self._opened_ms = opened_ms
        self._sent_at = sent_at
        self._recorded = recorded

    @property
    def call(self) -> Call:
        """Whose attempt it is."""
        return self._call

    def progress(self) -> None:
        """Note what a long stream has used so far, for the case that this process dies."""
        if not self._recorded:
            return
        call = self._call
        delivered = call.delivered_bytes - self._bytes_before
        usage = self.target.estimator.estimate(self.request_bytes, delivered, stream=call.stream)
        self._journal.append_progress(
            progress_frame(
                self._attempt_id,
                time_ns() // 1_000_000,
                usage.input_tokens,
                usage.output_tokens,
                self.target.cost_nano_usd(usage),
                None if call.ttft_s is None else round(call.ttft_s * 1000),
                delivered,
            )
        )

    def close(self, outcome: str, status: int, told: Usage | None) -> None:
        """Settle the row, count the attempt, tokens, money and where the numbers come from.

        See `end`.
        """
        frame = self.end(outcome, status, told)
        if frame:
            self._gateway.meters.ledger_settles.inc()
            self._journal.append_settle(frame)

    def end(self, outcome: str, status: int, told: Usage | None) -> bytes:
        """Count as `close` does; return the record that settles the row, empty when there is none.

        Only the first call does anything: it is made before an answer's last byte leaves, and
        once more when the attempt is over, whatever became of it.

        Args:
            outcome: As on the metrics page; `cancelled` when the client left or we stop.
            status: HTTP status of the upstream; 0 when it sent none.
            told: What the provider told of the usage.
        """
        if self._closed:
            return b""
        self._closed = True
        call, target = self._call, self.target
        target.meters.outcome(outcome).inc()
        duration_s = monotonic() - self._sent_at
        target.meters.duration.observe(duration_s)
        delivered = call.delivered_bytes - self._bytes_before
        usage: Usage | None = told
        source: UsageSource = "provider"
        if told is None:
            usage, source = self._estimated(outcome, status, delivered)
        elif outcome == "ok" and call.estimates != "none":
            target.estimator.learn(told, self.request_bytes, delivered, stream=call.stream)
            if told.output_tokens and duration_s > 0.0:
                target.meters.output_rate.observe(told.output_tokens / duration_s)
        call.usage = usage or call.usage
        call.usage_source = source
        counted = usage or _NOTHING
        cost_nano_usd = target.cost_nano_usd(counted) if usage is not None else 0
        target.meters.count_usage(usage, source, cost_nano_usd)
        if self.span is not None:
            end_attempt(self.span, call, outcome, status, usage, told is not None, cost_nano_usd)
        tap = self._gateway.access_log.tap
        if tap is not None:
            tap.attempt(call, target, outcome, status, duration_s, cost_nano_usd)
        identities = self._gateway.meters.identities
        if identities is not None and usage is not None and call.principal is not None:
            identities.of(call.principal).count_usage(usage, cost_nano_usd)
        if outcome != "ok":
            self._note_loss(outcome, status, usage, delivered)
        if not self._recorded:
            return b""
        now_ms = time_ns() // 1_000_000
        row_outcome = _ROW_OUTCOMES.get(outcome)
        if row_outcome is None:
            row_outcome = "client_gone" if call.exchange.disconnected else "cancelled"
        return settle_frame(
            self._attempt_id,
            now_ms,
            row_outcome,
            status,
            counted.input_tokens,
            counted.cached_input_tokens,
            counted.cache_write_tokens,
            counted.output_tokens,
            counted.reasoning_tokens,
            source,
            cost_nano_usd,
            None if call.ttft_s is None else int(call.ttft_s * 1000),
            now_ms - self._opened_ms,
            delivered,
        )

    def _note_loss(self, outcome: str, status: int, usage: Usage | None, delivered: int) -> None:
        """Count what was used for nothing, now or once it is known what follows.

        An attempt that a provider turned down has used nothing. Of one that it worked on
        without telling, the input is estimated: that is what providers bill first.
        """
        call, target = self._call, self.target
        if usage is None:
            if outcome in ("connect", "error_event") or status not in (0, 200, 201):
                return
            usage = target.estimator.estimate(self.request_bytes, 0, stream=call.stream)
        tokens = usage.input_tokens + usage.output_tokens
        loss = Loss(target.meters, tokens, target.cost_nano_usd(usage) or 0)
        if call.exchange.disconnected:
            loss.count("disconnect")
        elif delivered or outcome == "cancelled":
            loss.count("cut")
        else:
            self.loss = loss

    def _estimated(
        self, outcome: str, status: int, delivered: int
    ) -> tuple[Usage | None, UsageSource]:
        """Return what an attempt has likely used whose provider told nothing.

        A client that left before the first byte has made the provider read its input.
        """
        source: UsageSource
        estimates = self._call.estimates
        if estimates == "none":
            return None, "none"
        if outcome == "ok":
            source = "estimated"
        elif delivered or (outcome == "cancelled" and (self.sent or status in (200, 201))):
            source = "partial"
        else:
            return None, "none"
        if estimates == "input":
            delivered = 0
        estimator = self.target.estimator
        return (
            estimator.estimate(self.request_bytes, delivered, stream=self._call.stream),
            source,
        )
