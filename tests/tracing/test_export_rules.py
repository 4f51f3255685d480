"""What reaches a collector, and what a collector that fails costs: spans, and nothing else."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from typing import Any

import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from tests.free_ports import free_port
from tests.tracing.collector import Collector, attributes

from tidegate.config.snapshot import EdgeSnapshot, MetricsSnapshot, Snapshot, TracingSnapshot
from tidegate.memory import FIRST_WORKER_SLOT, Segment
from tidegate.metrics.families.requests import REQUEST_DURATION, REQUESTS
from tidegate.metrics.registry import Registry
from tidegate.tracing.exporter import MAX_QUEUED_BYTES, MAX_QUEUED_SPANS, SpanExporter
from tidegate.tracing.otlp_metrics import MetricsExporter
from tidegate.tracing.push import MetricsPush
from tidegate.tracing.trace import Trace
from tidegate.tracing.tracer import Tracer
from tidegate.tracing.worker import WorkerTracing


def snapshot(endpoint: str | None, **more: Any) -> Snapshot:
    """A configuration that traces to *endpoint*."""
    return Snapshot(
        generation=1,
        edge=EdgeSnapshot(),
        providers=(),
        models=(),
        limits=(),
        default_limits=(),
        metrics=MetricsSnapshot(),
        pepper=b"p" * 32,
        data_dir="/data",
        tracing=TracingSnapshot(endpoint=endpoint, **more),
    )


def finished(tracer: Tracer, attempts: int = 1, content: bytes = b"") -> Trace:
    """A trace as a request leaves it."""
    trace = tracer.begin(None, None, time.monotonic())
    trace.method, trace.route, trace.status, trace.outcome = "POST", "/v1/x", 200, "ok"
    for number in range(1, attempts + 1):
        span = tracer.attempt(trace, number)
        span.provider, span.model, span.operation = "p", "m", "openai"
        span.send(content or b"{}")
        if content:
            span.request = content
        span.end("ok", 200, None, False)
    trace.ended_ns = time.time_ns()
    return trace


@pytest.fixture
def collector() -> Iterator[Collector]:
    with Collector() as running:
        yield running


def test_spans_arrive_with_their_resource(collector: Collector) -> None:
    """Who sent them, once; the collector's own headers with them."""
    settings = snapshot(
        collector.endpoint,
        headers=(("x-tenant", "north"),),
        resource=(("service.name", "edge"), ("deployment.environment.name", "test")),
    )
    exporter = SpanExporter(settings, 3)
    tracer = Tracer(settings.tracing, exporter)
    for _ in range(300):
        tracer.finish(finished(tracer))
    collector.wait(lambda: len(collector.spans) == 600)
    exporter.close()
    assert exporter.dropped == 0
    assert len({span.span_id for span in collector.spans}) == 600
    for server in collector.servers():
        assert len(collector.children(server)) == 1
    resource = collector.resources[0]
    assert resource["service.name"] == "edge"
    assert resource["deployment.environment.name"] == "test"
    assert resource["tidegate.worker"] == "3"
    assert len(resource["service.instance.id"]) == 32
    assert collector.headers[0]["x-tenant"] == "north"


def test_the_end_of_a_worker_sends_what_is_queued(collector: Collector) -> None:
    """At once, without the usual wait for more."""
    exporter = SpanExporter(snapshot(collector.endpoint), 2)
    tracer = Tracer(TracingSnapshot(), exporter)
    tracer.finish(finished(tracer))
    started_s = time.monotonic()
    exporter.close()
    assert time.monotonic() - started_s < 1.0
    assert len(collector.spans) == 2
    tracer.finish(finished(tracer))
    assert exporter.dropped == 2  # too late, and counted


def test_a_dead_collector_costs_spans_only() -> None:
    """The queue is bounded, what does not fit is counted, the end is not held up."""
    exporter = SpanExporter(snapshot(f"http://127.0.0.1:{free_port()}"), 2)
    tracer = Tracer(TracingSnapshot(), exporter)
    for _ in range(MAX_QUEUED_SPANS):
        tracer.finish(finished(tracer))
    assert exporter.dropped >= MAX_QUEUED_SPANS - 1024
    started_s = time.monotonic()
    exporter.close()
    assert time.monotonic() - started_s < 2.0
    assert not exporter._thread.is_alive()
    assert exporter.dropped == 2 * MAX_QUEUED_SPANS


def test_a_hanging_collector_never_holds_up_the_loop(collector: Collector) -> None:
    """Neither a request, however long nothing is answered, nor the end beyond its deadline."""
    collector.hang.set()
    exporter = SpanExporter(snapshot(collector.endpoint), 2)
    tracer = Tracer(TracingSnapshot(), exporter)
    slowest_s = 0.0
    until_s = time.monotonic() + 2.0
    offered = 0
    while time.monotonic() < until_s:
        trace = finished(tracer)
        before_s = time.monotonic()
        tracer.finish(trace)
        slowest_s = max(slowest_s, time.monotonic() - before_s)
        offered += 2
        time.sleep(0.0002)
    assert slowest_s < 0.1
    assert exporter.dropped > 0
    started_s = time.monotonic()
    exporter.close()
    assert time.monotonic() - started_s < 2.0


def test_a_collector_that_is_overloaded_is_asked_again(collector: Collector) -> None:
    """503 loses nothing, if it passes; 400 is final."""
    collector.status = 503
    exporter = SpanExporter(snapshot(collector.endpoint), 2)
    tracer = Tracer(TracingSnapshot(), exporter)
    tracer.finish(finished(tracer))
    collector.wait(lambda: collector.asked >= 2)
    assert exporter.dropped == 0
    collector.status = 200
    collector.wait(lambda: len(collector.spans) == 2)
    collector.status = 400
    tracer.finish(finished(tracer))
    collector.wait(lambda: exporter.dropped == 2)
    exporter.close()


def test_captured_content_is_bounded_in_memory() -> None:
    """What is beyond goes without it; the spans stay."""
    exporter = SpanExporter(snapshot(f"http://127.0.0.1:{free_port()}"), 2)
    tracer = Tracer(TracingSnapshot(capture_content=True), exporter)
    held = 0
    for number in range(400):
        trace = finished(tracer, content=b"%d" % number + b"x" * 200_000)
        tracer.finish(trace)
        held += trace.held_bytes
    assert held <= 2 * MAX_QUEUED_BYTES
    assert exporter._offered_spans == 800
    exporter.close()


def test_a_trace_that_cannot_be_told_does_not_end_the_others(collector: Collector) -> None:
    """It is counted."""
    exporter = SpanExporter(snapshot(collector.endpoint), 2)
    tracer = Tracer(TracingSnapshot(), exporter)
    broken = finished(tracer)
    broken.trace_id = "no hexadecimal digits"
    tracer.finish(broken)
    tracer.finish(finished(tracer))
    collector.wait(lambda: len(collector.spans) == 2)
    assert exporter.dropped == 2
    exporter.close()


async def test_a_reload_keeps_what_has_not_changed(collector: Collector) -> None:
    """And replaces, begins and ends the rest; running requests keep their tracer."""
    tracing = WorkerTracing(asyncio.get_running_loop(), 2)
    assert tracing.use(snapshot(None)) is None
    first = tracing.use(snapshot(collector.endpoint))
    assert first is not None
    assert tracing.use(snapshot(collector.endpoint)) is first
    other = tracing.use(snapshot(collector.endpoint, sample_ratio=0.5))
    assert other is not None
    assert other is not first
    first.finish(finished(first))
    assert tracing.use(snapshot(None)) is None
    await asyncio.to_thread(collector.wait, lambda: len(collector.spans) == 2)
    tracing.close()
    assert tracing.dropped == 0


@pytest.fixture
def registry() -> Registry:
    return Registry(Segment.create(worker_slots=4), FIRST_WORKER_SLOT)


def test_metrics_are_the_sums_of_all_processes(collector: Collector, registry: Registry) -> None:
    """Counters as cumulative sums, histograms with their bounds, once for the instance."""
    other = Registry(registry.segment, FIRST_WORKER_SLOT + 1)
    for one in (registry, other):
        one.counter(REQUESTS).labels("chat_completions", "200").inc(3)
        for seconds in (0.001, 0.3, 1e9):
            one.histogram(REQUEST_DURATION).labels("chat_completions", "false").observe(seconds)
    exporter = MetricsExporter(snapshot(collector.endpoint), registry)
    assert exporter.export()
    exporter.close()
    requests = collector.metrics["tidegate_requests"]
    assert requests.sum.is_monotonic
    assert requests.sum.aggregation_temporality == 2
    (point,) = requests.sum.data_points
    assert point.as_double == 6
    assert 0 < point.start_time_unix_nano <= point.time_unix_nano
    assert attributes(point.attributes) == {"endpoint": "chat_completions", "status": "200"}
    duration = collector.metrics["tidegate_request_duration_seconds"]
    assert duration.unit == "s"
    (buckets,) = duration.histogram.data_points
    assert tuple(buckets.explicit_bounds) == REQUEST_DURATION.buckets
    assert len(buckets.bucket_counts) == len(REQUEST_DURATION.buckets) + 1
    assert buckets.count == sum(buckets.bucket_counts) == 6
    assert buckets.bucket_counts[-1] == 2
    assert buckets.sum == pytest.approx(2 * (0.301 + 1e9))
    assert collector.metrics["rate_limit_allowed"].sum.data_points[0].as_double == 0.0
    assert collector.metrics["process_start_time_seconds"].gauge.data_points[0].as_double > 1e9
    assert "tidegate.worker" not in collector.metric_resources[0]


def test_a_push_that_fails_is_counted(registry: Registry) -> None:
    """Where the page shows it."""
    push = MetricsPush(registry.segment)
    dead = snapshot(f"http://127.0.0.1:{free_port()}", export_metrics=True, metrics_interval_s=0.0)
    push.use(dead)
    push.tick()
    push.close()
    assert push._dropped().value == 2


def test_metrics_are_pushed_only_when_asked_for(collector: Collector, registry: Registry) -> None:
    """And by the newest configuration."""
    push = MetricsPush(registry.segment)
    push.use(snapshot(collector.endpoint))
    push.tick()
    assert not collector.metrics
    push.use(snapshot(collector.endpoint, export_metrics=True, metrics_interval_s=3600.0))
    push.tick()
    push.tick()
    assert not collector.metrics
    push.close()
    assert collector.metrics


def test_kinds_of_spans_are_told_apart(collector: Collector) -> None:
    """One SERVER span for any number of attempts."""
    exporter = SpanExporter(snapshot(collector.endpoint), 2)
    tracer = Tracer(TracingSnapshot(), exporter)
    tracer.finish(finished(tracer, attempts=5))
    exporter.close()
    kinds = [span.kind for span in collector.spans]
    assert kinds == [Span.SPAN_KIND_SERVER, *[Span.SPAN_KIND_CLIENT] * 5]
