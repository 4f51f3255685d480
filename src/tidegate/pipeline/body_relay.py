"""An answer that is no event stream and no JSON, handed on piece by piece: sound, files, texts.

The client's connection holds the provider back while it does not read. An answer that is cut
upstream is cut for the client as well: its connection is closed without the end of the body.
"""

from __future__ import annotations

from time import monotonic

from tidegate.errors import BadUpstream
from tidegate.pipeline.attempt_record import AttemptRecord
from tidegate.pipeline.call import Call
from tidegate.pipeline.failure import Failure, outcome_of_fault
from tidegate.pipeline.forward import lines_to_client
from tidegate.pipeline.gateway import Gateway
from tidegate.pipeline.settle import settle
from tidegate.upstream.answer import UpstreamAnswer, UpstreamFault


class BodyRelay:
    """The way of one body. Use once: `await BodyRelay(…).run(answer)`.

    Args:
        gateway: Services.
        call: Whose client reads.
        record: The attempt, which is settled before the last byte leaves.
        sent_at: `time.monotonic()` when its request was sent.
        lines: Header lines of the client's answer beside the media type.
    """

    __slots__ = ("_answer", "_call", "_gateway", "_lines", "_record", "_sent_at")

    def __init__(
        self, gateway: Gateway, call: Call, record: AttemptRecord, sent_at: float, lines: bytes
    ) -> None:
        self._gateway = gateway
        self._call = call
        self._record = record
        self._sent_at = sent_at
        self._lines = lines
        self._answer: UpstreamAnswer | None = None

    async def run(self, answer: UpstreamAnswer) -> tuple[str, Failure | None]:
        """Relay *answer* to its end: `(outcome, None)` once the client has seen a part of it.

        Raises `UpstreamFault` where it has seen nothing: another attempt may follow.
        """
        call = self._call
        if call.status:
            raise BadUpstream("The provider answered a stream request with another media type.")
        self._answer = answer
        try:
            await answer.relay(self._on_data)
        except UpstreamFault as fault:
            if not call.status:
                raise
            outcome = outcome_of_fault(fault)
            call.outcome = "stream_cut"
            self._settle(outcome)
            call.exchange.abort()
            return outcome, None
        if not call.status:
            self._open()
        self._settle("ok")
        call.exchange.end()
        return "ok", None

    def _on_data(self, data: bytes) -> None:
        """Take one piece from the provider; runs inside its read callback."""
        call = self._call
        if not call.status:
            self._open()
        call.delivered_bytes += len(data)
        call.exchange.write(data)

    def _open(self) -> None:
        call, answer = self._call, self._answer
        assert answer is not None
        call.status = answer.status
        call.ttft_s = monotonic() - call.started_at
        lines = call.base_headers() + self._record.target.note + self._lines
        media_type = answer.headers.get(b"content-type")
        if media_type is not None:
            lines += b"content-type: " + media_type + b"\r\n"
        call.exchange.start(answer.status, lines + lines_to_client(answer.headers))

    def _settle(self, outcome: str) -> None:
        """Settle the attempt and the call; what is left to do is one write."""
        call = self._call
        call.upstream_s += monotonic() - self._sent_at
        self._record.close(outcome, call.status, None)
        settle(self._gateway, call, call.status)
        call.exchange.watcher = None
