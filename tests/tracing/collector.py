"""A collector of our own: a real HTTP server that decodes what it is sent as OTLP."""

from __future__ import annotations

import gzip
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span


def plain(value: AnyValue) -> Any:
    """Return an attribute's value as Python has it."""
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [plain(one) for one in value.array_value.values]
    return getattr(value, kind)


def attributes(pairs: list[KeyValue] | Any) -> dict[str, Any]:
    """Return attributes as a dict; a key that stands twice fails."""
    found = {pair.key: plain(pair.value) for pair in pairs}
    assert len(found) == len(pairs)
    return found


class Collector:
    """Use as a context manager.

    Attributes:
        endpoint: For `tracing.endpoint`.
        spans: As received.
        resources: Attributes of each trace request's resource.
        metrics: Newest metrics by name.
        metric_resources: Attributes of each metrics request's resource.
        bodies: Every decoded body, for searches.
        headers: Headers of each request.
        asked: How many requests came, answered well or not.
        status: What is answered, 200 at first.
        hang: While set, no request is answered.
    """

    def __init__(self) -> None:
        self.spans: list[Span] = []
        self.resources: list[dict[str, Any]] = []
        self.metrics: dict[str, Any] = {}
        self.metric_resources: list[dict[str, Any]] = []
        self.bodies: list[bytes] = []
        self.headers: list[dict[str, str]] = []
        self.asked = 0
        self.status = 200
        self.hang = threading.Event()
        self._go_on = threading.Event()
        collector = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                collector._take(self)

            def log_message(self, format: str, *args: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.endpoint = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    def __enter__(self) -> Collector:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._go_on.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(10)

    def _take(self, handler: BaseHTTPRequestHandler) -> None:
        body = handler.rfile.read(int(handler.headers["content-length"]))
        self.asked += 1
        if self.hang.is_set():
            self._go_on.wait(30)
            handler.close_connection = True
            return
        if self.status == 200:
            if handler.headers.get("content-encoding") == "gzip":
                body = gzip.decompress(body)
            assert handler.headers["content-type"] == "application/x-protobuf"
            self._keep(handler.path, body)
            self.headers.append({name.lower(): value for name, value in handler.headers.items()})
        handler.send_response(self.status)
        handler.send_header("content-length", "0")
        handler.end_headers()

    def _keep(self, path: str, body: bytes) -> None:
        self.bodies.append(body)
        if path == "/v1/traces":
            for traces in ExportTraceServiceRequest.FromString(body).resource_spans:
                self.resources.append(attributes(traces.resource.attributes))
                for scope in traces.scope_spans:
                    assert scope.scope.name == "tidegate"
                    self.spans += scope.spans
        else:
            assert path == "/v1/metrics"
            for metrics in ExportMetricsServiceRequest.FromString(body).resource_metrics:
                self.metric_resources.append(attributes(metrics.resource.attributes))
                self.metrics = {m.name: m for s in metrics.scope_metrics for m in s.metrics}

    def wait(self, happened: Callable[[], Any], timeout_s: float = 10.0) -> None:
        """Wait until *happened*; fail when it does not."""
        until_s = time.monotonic() + timeout_s
        while not happened():
            assert time.monotonic() < until_s, f"not in {timeout_s} s; {len(self.spans)} spans"
            time.sleep(0.02)

    def servers(self) -> list[Span]:
        """SERVER spans in the order of their ends."""
        found = [span for span in self.spans if span.kind == Span.SPAN_KIND_SERVER]
        return sorted(found, key=lambda span: span.end_time_unix_nano)

    def children(self, server: Span) -> list[Span]:
        """CLIENT spans below *server*, in the order of their starts."""
        found = [span for span in self.spans if span.parent_span_id == server.span_id]
        assert all(span.kind == Span.SPAN_KIND_CLIENT for span in found)
        assert all(span.trace_id == server.trace_id for span in found)
        return sorted(found, key=lambda span: span.start_time_unix_nano)
