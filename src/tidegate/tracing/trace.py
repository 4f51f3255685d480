"""What the loop writes down of a request: one record for it, and one for each attempt.

Plain slots and no conversion: 7 to 10 µs a recorded request with one attempt. The exporter's thread
reads them once the request is over; nobody writes to them any more then.
"""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic_ns, time_ns
from typing import TYPE_CHECKING, Any, Final, Literal

import msgspec

from tidegate.dialects.usage import Usage
from tidegate.upstream.answer import UpstreamAnswer

if TYPE_CHECKING:
    from tidegate.tracing.tracer import Tracer

MAX_PARAMETERS_BODY_BYTES: Final = 64 * 1024
"""A larger request's parameters are left out: reading past its pictures would hold the loop."""

EDGE_BYTES: Final = 1024
"""How much of an answer's beginning and end is kept to read its model, id and reason from."""


class Parameters(msgspec.Struct):
    """What a request asks of the sampling; each dialect's own name of it."""

    max_tokens: Any = None
    max_completion_tokens: Any = None
    max_output_tokens: Any = None
    temperature: Any = None
    top_p: Any = None
    top_k: Any = None
    seed: Any = None
    n: Any = None
    frequency_penalty: Any = None
    presence_penalty: Any = None


_read_parameters = msgspec.json.Decoder(Parameters).decode


class AttemptSpan:
    """One attempt at a target: the CLIENT span.

    Attributes:
        span_id: 16 hexadecimal digits.
        number: Counts the request's attempts from 1.
        provider: Configured name.
        model: The model's name there.
        label: The model's configured name, `*` where the client chose it.
        operation: As `providers.operations` names it: `openai`, `anthropic`, `embeddings` …
        dialect: Wire format of the body that is sent.
        stream: Whether a stream was asked for.
        started_ns: Unix time of the first byte sent.
        ended_ns: Unix time of its end; 0 before.
        first_token_ns: Unix time of the first piece of the answer; 0 when none came.
        outcome: As on the metrics page.
        status: The provider's HTTP status; 0 when it sent none.
        gone: Whether the client had left by its end.
        usage: As the provider told, or as estimated.
        told: Whether the provider told it.
        cost_nano_usd: What it cost in 1e-9 USD; None when that is not known.
        parameters: As asked for; None when they were not read.
        head: The answer's first bytes, before any translation.
        tail: Its last bytes.
        request: The body sent, where content is captured.
        answer: The answer as far as it was captured.
    """

    __slots__ = (
        "_capture_bytes",
        "answer",
        "cost_nano_usd",
        "dialect",
        "ended_ns",
        "first_token_ns",
        "gone",
        "head",
        "label",
        "model",
        "number",
        "operation",
        "outcome",
        "parameters",
        "provider",
        "request",
        "span_id",
        "started_ns",
        "status",
        "stream",
        "tail",
        "told",
        "usage",
    )

    def __init__(self, span_id: str, number: int, capture_bytes: int) -> None:
        self.span_id = span_id
        self.number = number
        self.provider = ""
        self.model = ""
        self.label = ""
        self.operation = ""
        self.dialect = ""
        self.stream = False
        self.started_ns = 0
        self.ended_ns = 0
        self.first_token_ns = 0
        self.outcome = ""
        self.status = 0
        self.gone = False
        self.usage: Usage | None = None
        self.told = False
        self.cost_nano_usd: int | None = None
        self.parameters: Parameters | None = None
        self.head = b""
        self.tail = b""
        self.request: bytes | None = None
        self.answer: list[bytes] = []
        self._capture_bytes = capture_bytes

    def send(self, body: bytes) -> None:
        """Note what is about to be sent."""
        self.started_ns = time_ns()
        if len(body) <= MAX_PARAMETERS_BODY_BYTES:
            try:
                self.parameters = _read_parameters(body)
            except msgspec.DecodeError:
                self.parameters = None
        if self._capture_bytes and len(body) <= self._capture_bytes:
            self.request = body

    def see(self, data: bytes) -> None:
        """Note a piece of the answer: its edges, and all of it where content is captured."""
        if len(self.head) < EDGE_BYTES:
            self.head += data[:EDGE_BYTES]
        self.tail = (
            data[-EDGE_BYTES:] if len(data) >= EDGE_BYTES else ((self.tail + data)[-EDGE_BYTES:])
        )
        if self._capture_bytes > 0:
            self.answer.append(data[: self._capture_bytes])
            self._capture_bytes -= len(data)

    def end(self, outcome: str, status: int, usage: Usage | None, told: bool) -> None:
        """Note how it ended."""
        self.ended_ns = time_ns()
        self.outcome = outcome
        self.status = status
        self.usage = usage
        self.told = told

    @property
    def held_bytes(self) -> int:
        """Content that it keeps in memory until it is sent."""
        return len(self.request or b"") + sum(map(len, self.answer))


class Trace:
    """One request: the SERVER span, the place of both in their trace, and the attempts.

    Attributes:
        trace_id: 32 hexadecimal digits.
        span_id: 16 hexadecimal digits of the SERVER span.
        parent_id: The span that the request came from; empty for a root.
        sampled: Whether it is recorded. One that is not is passed on all the same.
        state: `tracestate` to pass on and to record.
        tracer: Who began it.
        attempts: In order.
        started_ns: Unix time of the request's first byte.
        offset_ns: Unix time minus `time.monotonic_ns`, when it began.
        ended_ns: Unix time of its end.

    The rest is the request's: `method`, `route` (a pattern of ours, None for an unknown path),
    `scheme`, `client_ip`, `request_id`, `status` (0 when nothing was answered), `outcome`,
    `stream`, `key`, `team`, `model` (configured names or None) and `limit`, which refused it.
    """

    __slots__ = (
        "attempts",
        "client_ip",
        "ended_ns",
        "key",
        "limit",
        "method",
        "model",
        "offset_ns",
        "outcome",
        "parent_id",
        "request_id",
        "route",
        "sampled",
        "scheme",
        "span_id",
        "started_ns",
        "state",
        "status",
        "stream",
        "team",
        "trace_id",
        "tracer",
    )

    def __init__(
        self,
        tracer: Tracer,
        trace_id: str,
        span_id: str,
        parent_id: str,
        *,
        sampled: bool,
        state: bytes,
        started_at: float,
    ) -> None:
        self.tracer = tracer
        self.trace_id = trace_id
        self.span_id = span_id
        self.parent_id = parent_id
        self.sampled = sampled
        self.state = state
        self.attempts: list[AttemptSpan] = []
        self.offset_ns = time_ns() - monotonic_ns()
        self.started_ns = self.offset_ns + int(started_at * 1e9)
        self.ended_ns = 0
        self.method = ""
        self.route: str | None = None
        self.scheme: Literal["http", "https"] = "http"
        self.client_ip = ""
        self.request_id = ""
        self.status = 0
        self.outcome = ""
        self.stream = False
        self.key: str | None = None
        self.team: str | None = None
        self.model: str | None = None
        self.limit: str | None = None

    def lines(self, span_id: str) -> bytes:
        """Return the header lines that make *span_id* the parent of what a provider records."""
        flags = b"01" if self.sampled else b"00"
        lines = b"traceparent: 00-%b-%b-%b\r\n" % (self.trace_id.encode(), span_id.encode(), flags)
        return lines + b"tracestate: " + self.state + b"\r\n" if self.state else lines

    @property
    def spans(self) -> int:
        """How many spans it is."""
        return 1 + len(self.attempts)

    @property
    def held_bytes(self) -> int:
        """Content that its attempts keep in memory until it is sent."""
        return sum(attempt.held_bytes for attempt in self.attempts)


class ObservedAnswer:
    """An upstream's answer whose bytes a span sees as they go by (`upstream.answer`)."""

    __slots__ = ("_answer", "_span", "framing", "headers", "status")

    def __init__(self, answer: UpstreamAnswer, span: AttemptSpan) -> None:
        self._answer = answer
        self._span = span
        self.status = answer.status
        self.headers = answer.headers
        self.framing = answer.framing

    async def read(self, max_bytes: int) -> bytes:
        """Return the whole body."""
        body = await self._answer.read(max_bytes)
        self._span.see(body)
        return body

    async def relay(self, sink: Callable[[bytes], None]) -> None:
        """Call *sink* with each piece of the body."""
        see = self._span.see

        def seen(data: bytes) -> None:
            see(data)
            sink(data)

        await self._answer.relay(seen)

    def pause(self) -> None:
        """Read nothing more until `resume`."""
        self._answer.pause()

    def resume(self) -> None:
        """Undo `pause`."""
        self._answer.resume()

    def cancel(self) -> None:
        """Give the answer up."""
        self._answer.cancel()
