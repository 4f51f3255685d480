"""A thread of each worker that turns finished traces into OTLP and sends them.

The loop only appends to a queue. The thread gives the interpreter up after each trace, so that
the loop never waits for more than one to be turned into protobuf (about 45 µs); a collector that
is dead, slow or hanging costs traces, which are counted, and nothing else.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Mapping
from typing import Final

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import InstrumentationScope
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans

from tidegate import __version__
from tidegate.config.snapshot import Snapshot
from tidegate.tracing.attributes import Value, client_span, key_values, peers_of, server_span
from tidegate.tracing.otlp import OtlpSender
from tidegate.tracing.resource import SCOPE_NAME, resource_of
from tidegate.tracing.trace import Trace

MAX_QUEUED_SPANS: Final = 4096
MAX_QUEUED_BYTES: Final = 16 * 1024 * 1024
"""Of captured content; a trace beyond goes without."""
MAX_BATCH_SPANS: Final = 256
LINGER_S: Final = 1.0
"""How long a span may wait for others to go with it."""
GIVE_UP_S: Final = 30.0
"""How long one batch is tried to be sent."""
FLUSH_S: Final = 1.5
"""How long a worker that ends waits for its last spans to leave."""
_BACKOFF_S: Final = (0.5, 1.0, 2.0, 4.0, 8.0)


class SpanExporter:
    """Queue and thread. `offer` and `dropped` are the loop's; all else is the thread's.

    Args:
        snapshot: The configuration; its section `tracing` has an endpoint.
        slot: The worker's.
    """

    def __init__(self, snapshot: Snapshot, slot: int) -> None:
        self._old_names = snapshot.tracing.old_names
        self._peers = peers_of(snapshot.providers)
        resource: Mapping[str, Value] = resource_of(snapshot, slot)
        self._resource = Resource(attributes=key_values(resource))
        self._scope = InstrumentationScope(name=SCOPE_NAME, version=__version__)
        self._sender = OtlpSender(snapshot.tracing, "/v1/traces")
        self._queue: deque[Trace] = deque()
        # Written by one side each, read by both: neither needs a lock.
        self._offered_spans = 0
        self._taken_spans = 0
        self._offered_bytes = 0
        self._taken_bytes = 0
        self._refused_spans = 0
        self._lost_spans = 0
        self._wake = threading.Event()
        self._closing_at_s: float | None = None
        self._thread = threading.Thread(target=self._run, name="otlp-spans", daemon=True)
        self._thread.start()

    @property
    def dropped(self) -> int:
        """Spans that were never sent, so far."""
        return self._refused_spans + self._lost_spans

    def offer(self, trace: Trace) -> None:
        """Take a finished trace, or drop and count it."""
        spans = trace.spans
        waiting = self._offered_spans - self._taken_spans
        if waiting + spans > MAX_QUEUED_SPANS or self._closing_at_s is not None:
            self._refused_spans += spans
            return
        held = trace.held_bytes
        if held:
            if self._offered_bytes - self._taken_bytes + held > MAX_QUEUED_BYTES:
                for attempt in trace.attempts:
                    attempt.request = None
                    attempt.answer = []
            else:
                self._offered_bytes += held
        self._offered_spans += spans
        self._queue.append(trace)
        if waiting < MAX_BATCH_SPANS <= waiting + spans:
            self._wake.set()

    def close(self, flush_s: float = FLUSH_S) -> None:
        """Send what is queued, for at most *flush_s* seconds; what is left then is lost."""
        self._closing_at_s = time.monotonic() + flush_s
        self._wake.set()
        self._thread.join(flush_s + 0.2)

    def abandon(self) -> None:
        """Let it send what is queued and end by itself: its successor has begun."""
        self._closing_at_s = time.monotonic() + GIVE_UP_S
        self._wake.set()

    # The thread

    def _run(self) -> None:
        while True:
            self._wake.wait(LINGER_S)
            self._wake.clear()
            while self._queue:
                self._send(*self._next_batch())
            if self._closing_at_s is not None and not self._queue:
                self._sender.close()
                return

    def _next_batch(self) -> tuple[bytes, int]:
        """Return the next spans as a serialized request, and how many they are."""
        scope_spans = ScopeSpans(scope=self._scope)
        count = 0
        while self._queue and count < MAX_BATCH_SPANS:
            trace = self._queue.popleft()
            self._taken_spans += trace.spans
            self._taken_bytes += trace.held_bytes
            try:
                spans = [server_span(trace)]
                spans += [
                    client_span(trace, attempt, self._peers, old_names=self._old_names)
                    for attempt in trace.attempts
                ]
            except Exception:  # noqa: BLE001 (one trace that cannot be told must not end them all)
                self._lost_spans += trace.spans
                continue
            scope_spans.spans.extend(spans)
            count += len(spans)
            time.sleep(0)  # the loop's turn
        message = ExportTraceServiceRequest(
            resource_spans=[ResourceSpans(resource=self._resource, scope_spans=[scope_spans])]
        )
        return message.SerializeToString(), count

    def _send(self, message: bytes, count: int) -> None:
        if not count:
            return
        give_up_at_s = time.monotonic() + GIVE_UP_S
        for wait_s in (*_BACKOFF_S, 0.0):
            result = self._sender.send(message, self._until(give_up_at_s))
            if result == "sent":
                return
            left_s = self._until(give_up_at_s) - time.monotonic() - wait_s
            if result == "refused" or left_s <= 0.0 or wait_s == 0.0:
                break
            if self._closing_at_s is None:
                self._sleep(wait_s)
            elif self._queue or wait_s > 1.0:
                break
            else:
                time.sleep(min(wait_s, 0.1))
        self._lost_spans += count

    def _until(self, give_up_at_s: float) -> float:
        closing_at_s = self._closing_at_s
        return give_up_at_s if closing_at_s is None else min(give_up_at_s, closing_at_s)

    def _sleep(self, wait_s: float) -> None:
        """Wait before another try, but not when the end has come."""
        until_s = time.monotonic() + wait_s
        while self._closing_at_s is None and (left_s := until_s - time.monotonic()) > 0.0:
            self._wake.wait(left_s)
            self._wake.clear()
