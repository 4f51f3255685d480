"""Begins traces, decides which are recorded, and hands the recorded ones to the exporter."""

from __future__ import annotations

import random
from typing import Final, Protocol

from tidegate.config.snapshot import TracingSnapshot
from tidegate.tracing.context import clean_tracestate, parse_traceparent
from tidegate.tracing.trace import AttemptSpan, Trace

MAX_CAPTURED_BYTES: Final = 256 * 1024
"""Largest request whose content is captured, and most of an answer's."""

_SAMPLE_BITS: Final = 56
"""A trace is sampled by its last 56 bits: those that W3C wants to be random."""


class SpanSink(Protocol):
    """Takes finished traces."""

    def offer(self, trace: Trace) -> None:
        """Take *trace*, or drop and count it. Never waits."""


class Tracer:
    """One configuration's way to trace.

    Args:
        settings: The section `tracing`.
        sink: Where recorded traces go.
        https: Whether the data port speaks TLS.
        bits: Returns as many random bits; ids need not be secret.
    """

    def __init__(
        self,
        settings: TracingSnapshot,
        sink: SpanSink,
        *,
        https: bool = False,
        bits: random.Random | None = None,
    ) -> None:
        self.settings = settings
        self._sink = sink
        self._scheme: Final = "https" if https else "http"
        self._bits = (bits or random.Random()).getrandbits
        self._follow = settings.follow_client
        self._bound = round(settings.sample_ratio * (1 << _SAMPLE_BITS))
        self._capture_bytes = MAX_CAPTURED_BYTES if settings.capture_content else 0

    def begin(self, traceparent: bytes | None, tracestate: bytes | None, at_s: float) -> Trace:
        """Return the trace of a request with these headers that began *at_s* (`monotonic`)."""
        parent = parse_traceparent(traceparent)
        if parent is None:
            trace_id, parent_id, state = f"{self._bits(128) or 1:032x}", "", b""
        else:
            trace_id, parent_id = parent.trace_id, parent.span_id
            state = clean_tracestate(tracestate)
        if parent is not None and self._follow:
            sampled = parent.sampled
        else:
            sampled = int(trace_id[-_SAMPLE_BITS // 4 :], 16) < self._bound
        trace = Trace(
            self,
            trace_id,
            self._span_id(),
            parent_id,
            sampled=sampled,
            state=state,
            started_at=at_s,
        )
        trace.scheme = self._scheme
        return trace

    def attempt(self, trace: Trace, number: int) -> AttemptSpan:
        """Return a new attempt of *trace*."""
        span = AttemptSpan(self._span_id(), number, self._capture_bytes if trace.sampled else 0)
        if trace.sampled:
            trace.attempts.append(span)
        return span

    def finish(self, trace: Trace) -> None:
        """Hand over a trace whose request has ended."""
        self._sink.offer(trace)

    def _span_id(self) -> str:
        return f"{self._bits(64) or 1:016x}"
