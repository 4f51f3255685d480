"""An event stream on its way from a target to the client.

The client's side of a stream outlives attempts: after 15 s of silence it is opened with a
comment, and an attempt that fails before any event may still be followed by another. From
the first event on, the stream either ends whole (`[DONE]`) or in an error event.
"""

from __future__ import annotations

import math
from time import monotonic

from tidegate.dialects.openai.stream import KEEP_ALIVE
from tidegate.dialects.passing import PassingStream, Scanner, StreamBroken
from tidegate.dialects.translate import StreamTranslation
from tidegate.dialects.usage import Usage
from tidegate.errors import BadUpstream
from tidegate.pipeline.attempt_record import AttemptRecord
from tidegate.pipeline.call import Call
from tidegate.pipeline.failure import Failure, failure_of_first_event
from tidegate.pipeline.forward import lines_to_client
from tidegate.pipeline.gateway import Gateway
from tidegate.pipeline.meters import exemplar_of
from tidegate.pipeline.settle import settle
from tidegate.pipeline.translation import Translation
from tidegate.routing.target import Target
from tidegate.upstream.answer import UpstreamAnswer, UpstreamFault

SILENCE_S = 15.0
#: How often a long stream notes what it has used, for the case that the worker dies.
PROGRESS_S = 1.0
#: How long an upstream may take to end its body after `[DONE]` before it is cut off.
_AFTER_DONE_S = 1.0

STREAM_HEADERS = (
    b"content-type: text/event-stream; charset=utf-8\r\n"
    b"cache-control: no-cache\r\nx-accel-buffering: no\r\n"
)


class FirstEventError(Exception):
    """The first event of a stream is an error: the client has seen nothing yet."""


class StreamRelay:
    """The client's side of one stream; also the sink of the upstream's pieces.

    Attributes:
        deadline: When silence has lasted long enough for a comment (see `sweep.Sweep`).
    """

    __slots__ = (
        "_body_ended",
        "_call",
        "_exchange",
        "_gateway",
        "_last_at",
        "_loop",
        "_progress_at",
        "_record",
        "_scanner",
        "_sent_at",
        "_target",
        "_translation",
        "_upstream",
        "deadline",
    )

    def __init__(self, gateway: Gateway, call: Call) -> None:
        self._gateway = gateway
        self._loop = gateway.loop
        self._call = call
        self._exchange = call.exchange
        self._scanner: Scanner | None = None
        self._translation: Translation | None = None
        self._target: Target | None = None
        self._upstream: UpstreamAnswer | None = None
        self._last_at = 0.0
        self._sent_at = 0.0
        self._record: AttemptRecord | None = None
        self._body_ended = False
        self._progress_at = 0.0
        self.deadline = self._loop.time() + SILENCE_S
        gateway.sweep.add(self)

    def close(self) -> None:
        """Stop watching for silence."""
        self._gateway.sweep.discard(self)

    async def run(
        self,
        answer: UpstreamAnswer,
        target: Target,
        sent_at: float,
        record: AttemptRecord,
        translation: Translation | None,
    ) -> tuple[str, Failure | None]:
        """Relay *answer* to its end: `(outcome, failure)`, no failure once bytes were sent."""
        call = self._call
        scanner: Scanner = (
            call.operation.scanner(call) if translation is None else translation.stream()
        )
        self._translation = translation
        self._scanner, self._target, self._upstream = scanner, target, answer
        self._sent_at = sent_at
        self._record = record
        self._progress_at = sent_at + PROGRESS_S
        self._body_ended = False
        fault: UpstreamFault | None = None
        try:
            await answer.relay(self._on_data)
            if not scanner.done and scanner.error is None:
                self._body_ended = True
                self._take(scanner.end())
        except UpstreamFault as caught:
            fault = caught
        except FirstEventError:
            raw = scanner.raw_error if isinstance(scanner, PassingStream) else b""
            return "error_event", failure_of_first_event(scanner.error or b"{}", raw)
        except StreamBroken as broken:
            fault = UpstreamFault("protocol", str(broken), sent=True, answered=True)
        finally:
            self._upstream = None
            if not call.settled:
                call.usage = scanner.usage
        if call.settled:
            return "ok" if scanner.finished and scanner.error is None else "error_event", None
        if not scanner.started and scanner.error is None and not scanner.finished:
            # Nothing of an answer was seen: another attempt may follow.
            raise fault or UpstreamFault(
                "truncated", "the stream ended before its first event", sent=True, answered=True
            )
        if scanner.finished:
            self._end_whole()
            return "ok", None
        outcome = "timeout" if fault is not None and fault.kind == "idle" else "cut"
        self._end_cut(outcome)
        return outcome, None

    def _on_data(self, data: bytes) -> None:
        """Take one piece from the upstream; runs inside its read callback."""
        scanner = self._scanner
        assert scanner is not None
        try:
            out = scanner.feed(data)
        except StreamBroken as broken:
            self._take(broken.whole)
            raise
        self._take(out)

    def _take(self, out: bytes) -> None:
        """Hand on what the scanner let through, and end the stream where it has ended."""
        scanner = self._scanner
        assert scanner is not None
        if scanner.error is not None and not scanner.started:
            raise FirstEventError
        if out:
            self._forward(out)
        if scanner.done or scanner.error is not None:
            if not self._call.settled:
                if scanner.error is not None:
                    self._end_after_error()
                else:
                    self._end_whole()
            self.deadline = self._loop.time() + _AFTER_DONE_S

    def _forward(self, out: bytes) -> None:
        if not out:
            return
        call = self._call
        now = monotonic()
        target = self._target
        assert target is not None
        if not call.status:
            self._open()
        if call.ttft_s is not None:
            target.meters.inter_token.observe(now - self._last_at)
        elif self._scanner is not None and self._scanner.started:
            call.ttft_s = now - call.started_at
            series = target.meters.ttft
            series.observe(call.ttft_s)
            if now >= series.exemplar_due_s:
                series.exemplify(call.ttft_s, now, *exemplar_of(call))
        self._last_at = now
        self.deadline = now + SILENCE_S
        if self._scanner is not None and self._scanner.started:
            call.delivered_bytes += len(out)  # comments are no part of an answer
        if now >= self._progress_at and self._record is not None:
            self._progress_at = now + PROGRESS_S
            self._record.progress()
        self._exchange.write(out)

    def _open(self) -> None:
        """Send the head of the client's answer."""
        call = self._call
        call.status = 200
        lines = call.base_headers() + STREAM_HEADERS
        if self._target is not None:
            lines += self._target.note
        lines += call.note if self._translation is None else self._translation.note
        if self._upstream is not None:
            lines += lines_to_client(self._upstream.headers)
        self._exchange.start(200, lines)

    def _end_whole(self) -> None:
        scanner = self._scanner
        assert scanner is not None
        last = scanner.terminator()
        if isinstance(scanner, StreamTranslation) and scanner.failed:
            self._end("upstream_error", last, "protocol")  # it turned out to be unfit at its end
        else:
            self._end("ok", last, "ok")

    def _end_after_error(self) -> None:
        """End behind the upstream's own error event, which has been forwarded."""
        if self._body_ended:  # a translation's word for a stream that stopped in the middle
            self._end("stream_cut", b"", "cut")
        else:
            self._end("upstream_error", b"", "error_event")

    def _end_cut(self, upstream_outcome: str) -> None:
        error = BadUpstream("The provider's stream ended before it was finished.")
        last = self._call.endpoint.dialect.error_event(error)
        self._end("stream_cut", last, upstream_outcome)

    def _end(self, outcome: str, last: bytes, upstream_outcome: str) -> None:
        """Settle the attempt and the call, then let the last bytes leave."""
        call = self._call
        call.outcome = outcome
        call.upstream_s += monotonic() - self._sent_at
        if not call.status:
            self._open()
        if self._record is not None:
            self._record.close(upstream_outcome, 200, self.usage)
        if self._translation is not None and isinstance(self._scanner, StreamTranslation):
            self._translation.count_losses(self._gateway, self._scanner.losses)
        settle(self._gateway, call, call.status)
        call.exchange.watcher = None
        if last:
            self._exchange.write(last)
        self._exchange.end()

    @property
    def usage(self) -> Usage | None:
        """What the provider of the newest attempt has told of its usage."""
        return None if self._scanner is None else self._scanner.usage

    def on_deadline(self, now: float) -> None:
        """Break a silence with a comment, or cut off an upstream that does not end."""
        call = self._call
        if call.settled:
            self.deadline = math.inf
            if self._upstream is not None:
                self._upstream.cancel()
            return
        self.deadline = now + SILENCE_S
        if self._exchange.disconnected:
            return
        if not call.status:
            self._open()
        self._exchange.write(KEEP_ALIVE)
