"""A whole gateway that traces: real processes, a real provider, a real collector."""

from __future__ import annotations

import http.client
import json
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.fakes.openai_upstream import KEY, OpenAIUpstream
from tests.running import RunningGateway, counters
from tests.tracing.collector import Collector, attributes

pytestmark = pytest.mark.process

SECRET = "tg-client-0123456789abcdef"
PARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


def config(upstream: OpenAIUpstream, collector: str, more: str = "") -> str:
    return f"""
providers:
  acme: {{kind: openai-compatible, base_url: "{upstream.url}", api_key: env:ACME}}
models:
  fast: {{targets: [acme/good], retries: 0}}
  flaky: {{targets: [acme/recovers], retries: 2}}
  slow: {{targets: [acme/slow], retries: 0}}
  broken: {{targets: [acme/fails], retries: 0, fallbacks: [fast]}}
keys: {{ci: {{secret: env:CI, team: build}}}}
tracing: {{endpoint: "{collector}", headers: {{x-auth: env:OTLP}}{more}}}
"""


ENVIRONMENT = {"ACME": KEY, "CI": SECRET, "OTLP": "collector-credential-1"}


@pytest.fixture
def upstream() -> Iterator[OpenAIUpstream]:
    with OpenAIUpstream() as running:
        yield running


@pytest.fixture
def collector() -> Iterator[Collector]:
    with Collector() as running:
        yield running


def ask(
    gateway: RunningGateway, model: str, headers: dict[str, str] | None = None, **more: Any
) -> Any:
    connection = http.client.HTTPConnection("127.0.0.1", gateway.port, timeout=10)
    body = {"model": model, "messages": [{"role": "user", "content": "my prompt"}], **more}
    connection.request(
        "POST",
        "/v1/chat/completions",
        json.dumps(body),
        {
            "authorization": f"Bearer {SECRET}",
            "content-type": "application/json",
            **(headers or {}),
        },
    )
    answer = connection.getresponse()
    answer.read()
    connection.close()
    return answer


def test_the_whole_way_is_one_trace(
    tmp_path: Path, upstream: OpenAIUpstream, collector: Collector
) -> None:
    """Over two workers; retries, fallbacks, streams; nothing dropped; ids in the access log."""
    with RunningGateway(
        tmp_path,
        config(upstream, collector.endpoint, ", export_metrics: true, metrics_interval_s: 1"),
        workers=2,
        environment=ENVIRONMENT,
    ) as gateway:
        for number in range(12):
            parent = f"00-{number + 1:032x}-{number + 1:016x}-01"
            assert ask(gateway, "fast", {"traceparent": parent}).status == 200
            seen = upstream.last["good"][0]["traceparent"]
            assert seen.startswith(f"00-{number + 1:032x}-")
            assert seen != parent
        assert ask(gateway, "flaky").status == 200
        assert ask(gateway, "broken", stream=True).status == 200
        collector.wait(lambda: len(collector.servers()) == 14)
        for server in collector.servers()[:12]:
            (client,) = collector.children(server)
            assert server.parent_span_id.hex() == server.trace_id.hex()[16:]
            assert attributes(client.attributes)["gen_ai.provider.name"] == "acme"
            assert attributes(client.attributes)["gen_ai.response.model"] == "good"
            assert attributes(client.attributes)["gen_ai.usage.input_tokens"] == 11
        flaky, broken = collector.servers()[12:]
        assert [attributes(s.attributes).get("error.type") for s in collector.children(flaky)] == [
            "500",
            None,
        ]
        names = [span.name for span in collector.children(broken)]
        assert names == ["chat fails", "chat good"]
        assert [event.name for event in collector.children(broken)[1].events] == ["first_token"]
        assert {resource["tidegate.worker"] for resource in collector.resources} <= {"2", "3", "4"}
        collector.wait(
            lambda: (
                "tidegate_requests" in collector.metrics
                and sum(p.as_double for p in collector.metrics["tidegate_requests"].sum.data_points)
                == 14
            )
        )
        assert counters(gateway.page())("tidegate_telemetry_dropped_total", kind="span") == 0
    lines = [json.loads(line) for line in gateway.log.read_text().splitlines()]
    logged = {line["trace_id"] for line in lines if line["event"] == "request"}
    assert logged == {span.trace_id.hex() for span in collector.servers()}
    everything = b"".join(collector.bodies)
    for secret in (*ENVIRONMENT.values(), "my prompt", "one two"):
        assert secret.encode() not in everything


def test_a_client_that_leaves_ends_both_spans(
    tmp_path: Path, upstream: OpenAIUpstream, collector: Collector
) -> None:
    """As gone, not as failed."""
    with RunningGateway(
        tmp_path, config(upstream, collector.endpoint), environment=ENVIRONMENT
    ) as gateway:
        body = json.dumps(
            {"model": "slow", "stream": True, "messages": [{"role": "user", "content": "x"}]}
        ).encode()
        client = socket.create_connection(("127.0.0.1", gateway.port))
        client.sendall(
            b"POST /v1/chat/completions HTTP/1.1\r\nhost: h\r\nauthorization: Bearer %b\r\n"
            b"content-type: application/json\r\ncontent-length: %d\r\n\r\n%b"
            % (SECRET.encode(), len(body), body)
        )
        assert b"200 OK" in client.recv(65536)
        client.close()
        collector.wait(lambda: len(collector.spans) == 2)
        for span in collector.spans:
            assert attributes(span.attributes)["tidegate.outcome"] == "client_gone"
            assert span.status.code == 0


def test_the_end_sends_what_is_left(
    tmp_path: Path, upstream: OpenAIUpstream, collector: Collector
) -> None:
    """A request just before SIGTERM is in the trace."""
    gateway = RunningGateway(
        tmp_path, config(upstream, collector.endpoint), environment=ENVIRONMENT
    )
    gateway.start()
    ask(gateway, "fast")
    gateway.stop()
    assert len(collector.spans) == 2


def test_a_hanging_collector_slows_no_request(
    tmp_path: Path, upstream: OpenAIUpstream, collector: Collector
) -> None:
    """Nor the end of the gateway; the page tells what was dropped."""
    collector.hang.set()
    with RunningGateway(
        tmp_path, config(upstream, collector.endpoint), environment=ENVIRONMENT
    ) as gateway:
        ask(gateway, "fast")
        collector.wait(lambda: collector.asked >= 1)
        slowest_s = 0.0
        for _ in range(100):
            before_s = time.monotonic()
            assert ask(gateway, "fast").status == 200
            slowest_s = max(slowest_s, time.monotonic() - before_s)
        assert slowest_s < 0.5
        started_s = time.monotonic()
    assert time.monotonic() - started_s < 6.0


def test_opentelemetrys_own_names_begin_tracing(
    tmp_path: Path, upstream: OpenAIUpstream, collector: Collector
) -> None:
    """Without a word in the file."""
    text = config(upstream, collector.endpoint).partition("tracing:")[0]
    environment = {
        **ENVIRONMENT,
        "OTEL_EXPORTER_OTLP_ENDPOINT": collector.endpoint,
        "OTEL_EXPORTER_OTLP_HEADERS": "x-auth=se%20cret",
        "OTEL_RESOURCE_ATTRIBUTES": "deployment.environment.name=test",
        "OTEL_SERVICE_NAME": "edge-gateway",
    }
    with RunningGateway(tmp_path, text, environment=environment) as gateway:
        ask(gateway, "fast", {"traceparent": PARENT})
        collector.wait(lambda: len(collector.spans) == 2)
    assert collector.resources[0]["service.name"] == "edge-gateway"
    assert collector.resources[0]["deployment.environment.name"] == "test"
    assert collector.headers[0]["x-auth"] == "se cret"
