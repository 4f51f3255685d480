"""What spans say of requests: tree, ids, attributes, status; in memory, all but the sockets."""

from __future__ import annotations

import json
from typing import Any

import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status
from tests.pipeline.scene import ANSWER, FakeAnswer, FakeExchange, FakeUpstream, Scene, chat
from tests.tracing.collector import attributes

from tidegate.config.snapshot import TracingSnapshot
from tidegate.tracing.attributes import Peer, client_span, server_span
from tidegate.tracing.trace import Trace
from tidegate.tracing.tracer import Tracer
from tidegate.upstream.answer import UpstreamFault

PARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
PEERS = {f"p{n}": Peer("acme", "api.acme.example", 443) for n in range(3)}
ERROR = Status.STATUS_CODE_ERROR
SILENT = UpstreamFault("first_byte", "x", sent=True, answered=False)
NO_HTTP = UpstreamFault("protocol", "x", sent=True, answered=True)


class Traced:
    """A scene whose traces are kept."""

    def __init__(self, models: dict[str, list[FakeUpstream]], **more: Any) -> None:
        settings = {
            name: more.pop(name)
            for name in ("sample_ratio", "follow_client", "capture_content")
            if name in more
        }
        self.old_names = more.pop("old_names", False)
        self.scene = Scene(models, **more)
        self.traces: list[Trace] = []
        self.scene.gateway.tracer = Tracer(TracingSnapshot(endpoint="http://c", **settings), self)

    def offer(self, trace: Trace) -> None:
        self.traces.append(trace)

    async def run(self, exchange: FakeExchange) -> FakeExchange:
        return await self.scene.run(exchange)

    def spans(self, number: int = -1) -> list[Span]:
        """The SERVER span of a request and its attempts."""
        trace = self.traces[number]
        return [
            server_span(trace),
            *(client_span(trace, one, PEERS, old_names=self.old_names) for one in trace.attempts),
        ]


def events(*pieces: dict[str, Any] | str) -> bytes:
    texts = [piece if isinstance(piece, str) else json.dumps(piece) for piece in pieces]
    return b"".join(f"data: {text}\n\n".encode() for text in texts)


def chunk(content: str | None = None, finish: str | None = None) -> dict[str, Any]:
    delta = {} if content is None else {"content": content}
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return {"id": "chatcmpl-7", "model": "real-model-1", "choices": [choice]}


WHOLE = json.dumps(
    {
        "id": "chatcmpl-7",
        "model": "real-model-1",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "the secret answer"},
                "finish_reason": "stop",
            }
        ],
        "usage": {
            "prompt_tokens": 30,
            "completion_tokens": 20,
            "prompt_tokens_details": {"cached_tokens": 10},
            "completion_tokens_details": {"reasoning_tokens": 5},
        },
    }
).encode()


async def test_a_request_is_a_server_span_over_a_client_span() -> None:
    """By the names of the HTTP and GenAI conventions."""
    traced = Traced({"m": [FakeUpstream(FakeAnswer(body=WHOLE))]})
    await traced.run(FakeExchange(body=chat(temperature=0.5, max_tokens=100, seed=7)))
    server, client = traced.spans()
    assert server.kind == Span.SPAN_KIND_SERVER
    assert server.name == "POST /v1/chat/completions"
    assert server.parent_span_id == b""
    assert client.kind == Span.SPAN_KIND_CLIENT
    assert client.name == "chat m-up"
    assert client.trace_id == server.trace_id
    assert client.parent_span_id == server.span_id != client.span_id
    assert len(server.trace_id) == 16
    assert len(client.span_id) == 8
    assert server.start_time_unix_nano <= client.start_time_unix_nano
    assert client.start_time_unix_nano < client.end_time_unix_nano <= server.end_time_unix_nano
    found = attributes(server.attributes)
    assert found.pop("tidegate.request_id").startswith("req_")
    assert found == {
        "http.request.method": "POST",
        "http.route": "/v1/chat/completions",
        "url.scheme": "http",
        "url.path": "/v1/chat/completions",
        "network.protocol.name": "http",
        "client.address": "192.0.2.1",
        "http.response.status_code": 200,
        "tidegate.outcome": "ok",
        "tidegate.stream": False,
        "tidegate.key": "tester",
        "tidegate.model": "m",
        "tidegate.attempts": 1,
    }
    assert attributes(client.attributes) == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "acme",
        "gen_ai.request.model": "m-up",
        "gen_ai.request.max_tokens": 100,
        "gen_ai.request.temperature": 0.5,
        "gen_ai.request.seed": 7,
        "gen_ai.response.model": "real-model-1",
        "gen_ai.response.id": "chatcmpl-7",
        "gen_ai.response.finish_reasons": ["stop"],
        "gen_ai.usage.input_tokens": 30,
        "gen_ai.usage.output_tokens": 20,
        "gen_ai.usage.cache_read.input_tokens": 10,
        "gen_ai.usage.reasoning.output_tokens": 5,
        "http.request.method": "POST",
        "http.response.status_code": 200,
        "server.address": "api.acme.example",
        "server.port": 443,
        "tidegate.provider": "p0",
        "tidegate.target_model": "m-up",
        "tidegate.attempt": 1,
        "tidegate.outcome": "ok",
        "tidegate.usage_source": "provider",
    }
    assert (server.status.code, client.status.code) == (0, 0)
    assert b"secret answer" not in client.SerializeToString()


async def test_old_names_come_beside_the_new_ones() -> None:
    """For back ends that do not know the newest conventions."""
    traced = Traced({"m": [FakeUpstream(FakeAnswer(body=WHOLE))]}, old_names=True)
    await traced.run(FakeExchange(body=chat()))
    found = attributes(traced.spans()[1].attributes)
    assert found["gen_ai.system"] == found["gen_ai.provider.name"] == "acme"
    assert found["gen_ai.usage.prompt_tokens"] == found["gen_ai.usage.input_tokens"] == 30
    assert found["gen_ai.usage.completion_tokens"] == 20


async def test_a_clients_trace_goes_on_to_the_provider() -> None:
    """With the attempt as the parent there, and the client's span as the parent here."""
    upstream = FakeUpstream(FakeAnswer(body=ANSWER))
    traced = Traced({"m": [upstream]})
    headers = {"traceparent": PARENT, "tracestate": "rojo=1,congo=2"}
    await traced.run(FakeExchange(body=chat(), headers=headers))
    server, client = traced.spans()
    assert server.trace_id.hex() == PARENT[3:35]
    assert server.parent_span_id.hex() == PARENT[36:52]
    assert server.trace_state == client.trace_state == "rojo=1,congo=2"
    head = upstream.sent[0][0].decode()
    assert head.count("traceparent:") == head.count("tracestate:") == 1
    assert f"traceparent: 00-{PARENT[3:35]}-{client.span_id.hex()}-01\r\n" in head
    assert "tracestate: rojo=1,congo=2\r\n" in head


@pytest.mark.parametrize("parent", ["00-zz", PARENT.upper(), PARENT + "-x", "x" * 300])
async def test_a_malformed_parent_begins_a_new_trace(parent: str) -> None:
    """And reaches no provider, nor does its state."""
    upstream = FakeUpstream(FakeAnswer(body=ANSWER))
    traced = Traced({"m": [upstream]})
    headers = {"traceparent": parent, "tracestate": "rojo=1"}
    await traced.run(FakeExchange(body=chat(), headers=headers))
    server = traced.spans()[0]
    assert (server.parent_span_id, server.trace_state) == (b"", "")
    head = upstream.sent[0][0].decode()
    assert parent not in head
    assert "tracestate" not in head
    assert f"00-{server.trace_id.hex()}-" in head


async def test_without_tracing_a_clients_headers_pass_untouched() -> None:
    """A gateway that does not trace is no gap in a trace."""
    upstream = FakeUpstream(FakeAnswer(body=ANSWER))
    scene = Scene({"m": [upstream]})
    headers = {"traceparent": PARENT, "tracestate": "rojo=1"}
    await scene.run(FakeExchange(body=chat(), headers=headers))
    assert f"traceparent: {PARENT}\r\ntracestate: rojo=1\r\n".encode() in upstream.sent[0][0]


async def test_what_is_not_sampled_is_passed_on_and_not_recorded() -> None:
    """So that what lies behind does not record the rest of it."""
    upstream = FakeUpstream(FakeAnswer(body=ANSWER))
    traced = Traced({"m": [upstream]}, sample_ratio=0.0)
    await traced.run(FakeExchange(body=chat()))
    await traced.run(FakeExchange(body=chat(), headers={"traceparent": PARENT[:-1] + "0"}))
    assert traced.traces == []
    assert b"-00\r\n" in upstream.sent[0][0].partition(b"traceparent: ")[2]
    assert b"traceparent: " + PARENT[:36].encode() in upstream.sent[1][0]
    await traced.run(FakeExchange(body=chat(), headers={"traceparent": PARENT}))
    assert len(traced.traces) == 1


async def test_the_ratio_alone_decides_where_clients_are_not_followed() -> None:
    """No client can fill or hide from the collector."""
    answer = FakeUpstream(FakeAnswer(body=ANSWER))
    traced = Traced({"m": [answer]}, sample_ratio=0.0, follow_client=False)
    await traced.run(FakeExchange(body=chat(), headers={"traceparent": PARENT}))
    assert traced.traces == []
    traced = Traced({"m": [answer]}, sample_ratio=1.0, follow_client=False)
    await traced.run(FakeExchange(body=chat(), headers={"traceparent": PARENT[:-1] + "0"}))
    assert len(traced.traces) == 1


def test_the_ratio_is_kept_and_the_same_everywhere() -> None:
    """A trace is sampled by its id, so that all gateways agree on it."""
    tracers = [
        Tracer(TracingSnapshot(sample_ratio=0.25, follow_client=False), Traced.__new__(Traced))
        for _ in range(2)
    ]
    begun = [tracers[0].begin(None, None, 0.0) for _ in range(4000)]
    assert 880 <= sum(trace.sampled for trace in begun) <= 1120
    for trace in begun:
        again = tracers[1].begin(f"00-{trace.trace_id}-{'1' * 16}-00".encode(), None, 0.0)
        assert again.sampled == trace.sampled


async def test_each_retry_and_fallback_is_a_span_of_its_own() -> None:
    """With its own error; the request itself went well."""
    first = FakeUpstream(
        FakeAnswer(500, b"{}"), UpstreamFault("connect", "no", sent=False, answered=False)
    )
    second = FakeUpstream(FakeAnswer(body=ANSWER))
    traced = Traced({"m": [first], "n": [second]}, fallbacks={"m": ["n"]}, retries=1)
    exchange = await traced.run(FakeExchange(body=chat()))
    assert exchange.status == 200
    server, *attempts = traced.spans()
    assert [span.name for span in attempts] == ["chat m-up", "chat m-up", "chat n-up"]
    assert {span.parent_span_id for span in attempts} == {server.span_id}
    assert len({span.span_id for span in attempts}) == 3
    found = [attributes(span.attributes) for span in attempts]
    assert [one.get("error.type") for one in found] == ["500", "connect", None]
    assert [one.get("http.response.status_code") for one in found] == [500, None, 200]
    assert [one["tidegate.attempt"] for one in found] == [1, 2, 3]
    assert [one.get("http.request.resend_count") for one in found] == [None, 1, 2]
    assert [span.status.code for span in attempts] == [ERROR, ERROR, 0]
    assert server.status.code == 0
    ends = [(span.start_time_unix_nano, span.end_time_unix_nano) for span in attempts]
    assert ends == sorted(ends)


@pytest.mark.parametrize(
    ("upstream", "status", "outcome", "error", "server_error"),
    [
        (FakeAnswer(500, b"{}"), 502, "http_5xx", "500", True),
        (FakeAnswer(429, b"{}"), 429, "http_429", "429", False),
        (FakeAnswer(400, b"{}"), 400, "http_4xx", "400", False),
        (FakeAnswer(401, b"{}"), 502, "http_4xx", "401", True),
        (SILENT, 504, "timeout", "timeout", True),
        (NO_HTTP, 502, "protocol", "protocol", True),
    ],
)  # fmt: skip
async def test_errors_are_told_at_both_ends(
    upstream: Any, status: int, outcome: str, error: str, server_error: bool
) -> None:
    """A client's own fault is an error of no server (HTTP conventions)."""
    traced = Traced({"m": [FakeUpstream(upstream)]}, retries=0)
    await traced.run(FakeExchange(body=chat()))
    server, client = traced.spans()
    assert attributes(server.attributes)["http.response.status_code"] == status
    assert (server.status.code == ERROR) is server_error
    assert ("error.type" in attributes(server.attributes)) is server_error
    assert attributes(client.attributes)["tidegate.outcome"] == outcome
    assert attributes(client.attributes)["error.type"] == error
    assert client.status.code == ERROR


async def test_refusals_of_ours_have_no_attempt() -> None:
    """And no error of the server's; an unknown path is not quoted."""
    traced = Traced({"m": [FakeUpstream(FakeAnswer(body=ANSWER))]})
    await traced.run(FakeExchange(body=chat(), secret=None))
    await traced.run(FakeExchange(path="/v1/hunter2-in-a-path", method="BREW"))
    unauthorized, unknown = traced.spans(0), traced.spans(1)
    assert len(unauthorized) == len(unknown) == 1
    assert attributes(unauthorized[0].attributes)["http.response.status_code"] == 401
    assert unknown[0].name == "HTTP"
    assert attributes(unknown[0].attributes)["http.request.method"] == "_OTHER"
    assert b"hunter2" not in unknown[0].SerializeToString()
    assert unknown[0].status.code == 0


async def test_health_and_metrics_are_not_traced() -> None:
    """A probe each second would be most of all traces."""
    traced = Traced({"m": [FakeUpstream(FakeAnswer(body=ANSWER))]})
    for path in ("/livez", "/readyz", "/metrics", "/api/v1/health"):
        await traced.run(FakeExchange(method="GET", path=path, secret=None))
    assert traced.traces == []


async def test_a_stream_tells_its_first_token() -> None:
    """As an event, and as a duration."""
    pieces: list[Any] = [events(chunk("a"), chunk("b")), events(chunk(None, "stop"), "[DONE]")]
    traced = Traced({"m": [FakeUpstream(FakeAnswer(pieces=pieces))]})
    await traced.run(FakeExchange(body=chat(stream=True)))
    server, client = traced.spans()
    found = attributes(client.attributes)
    assert found["gen_ai.request.stream"] is True
    assert found["gen_ai.response.model"] == "real-model-1"
    assert found["gen_ai.response.finish_reasons"] == ["stop"]
    assert found["tidegate.usage_source"] == "estimated"
    assert found["gen_ai.response.time_to_first_chunk"] > 0.0
    (event,) = client.events
    assert event.name == "first_token"
    assert client.start_time_unix_nano < event.time_unix_nano <= client.end_time_unix_nano
    assert attributes(server.attributes)["tidegate.stream"] is True
    assert (server.status.code, client.status.code) == (0, 0)


async def test_a_cut_stream_is_an_error_though_it_began_with_200() -> None:
    """Both spans say so."""
    pieces: list[Any] = [
        events(chunk("a")),
        UpstreamFault("truncated", "x", sent=True, answered=True),
    ]
    traced = Traced({"m": [FakeUpstream(FakeAnswer(pieces=pieces))]})
    await traced.run(FakeExchange(body=chat(stream=True)))
    server, client = traced.spans()
    assert attributes(server.attributes)["http.response.status_code"] == 200
    assert attributes(server.attributes)["error.type"] == "stream_cut"
    assert attributes(client.attributes)["error.type"] == "cut"
    assert server.status.code == client.status.code == ERROR


async def test_a_client_that_leaves_is_nobodys_error() -> None:
    """Both spans end, and say who went."""
    import asyncio

    waiting = asyncio.Event()
    pieces: list[Any] = [events(chunk("a")), waiting]
    traced = Traced({"m": [FakeUpstream(FakeAnswer(pieces=pieces))]})
    exchange = FakeExchange(body=chat(stream=True))
    task = asyncio.create_task(traced.run(exchange))
    async with asyncio.timeout(5):
        while not exchange.sent:
            await asyncio.sleep(0)
    exchange.leave()
    await task
    server, client = traced.spans()
    for span in (server, client):
        assert attributes(span.attributes)["tidegate.outcome"] == "client_gone"
        assert "error.type" not in attributes(span.attributes)
        assert span.status.code == 0


async def test_content_is_told_only_when_asked_for() -> None:
    """Then as the conventions want it, and still without credentials."""
    body = chat(messages=[{"role": "user", "content": "my prompt, sk-0123456789abcdef"}])
    traced = Traced({"m": [FakeUpstream(FakeAnswer(body=WHOLE))]}, capture_content=True)
    await traced.run(FakeExchange(body=body))
    found = attributes(traced.spans()[1].attributes)
    assert json.loads(found["gen_ai.input.messages"]) == [
        {"role": "user", "parts": [{"type": "text", "content": "my prompt, ***"}]}
    ]
    (answer,) = json.loads(found["gen_ai.output.messages"])
    assert answer["parts"] == [{"type": "text", "content": "the secret answer"}]
    traced = Traced({"m": [FakeUpstream(FakeAnswer(body=WHOLE))]})
    await traced.run(FakeExchange(body=body))
    assert b"my prompt" not in traced.spans()[1].SerializeToString()


async def test_captured_content_is_capped() -> None:
    """Neither a long prompt nor a long stream fills the memory or the collector."""
    words: list[Any] = [events(chunk("word " * 2000)) for _ in range(60)]
    pieces = [*words, events(chunk(None, "stop"), "[DONE]")]
    traced = Traced({"m": [FakeUpstream(FakeAnswer(pieces=pieces))]}, capture_content=True)
    long = [{"role": "user", "content": "x" * 100_000}]
    await traced.run(FakeExchange(body=chat(stream=True, messages=long)))
    assert traced.traces[0].held_bytes < 600_000
    found = attributes(traced.spans()[1].attributes)
    assert len(found["gen_ai.input.messages"]) < 20_000
    assert found["gen_ai.output.messages"].startswith('[{"role":"assistant"')
    assert len(found["gen_ai.output.messages"]) < 20_000


async def test_strange_parameters_are_left_out() -> None:
    """A client's nonsense neither ends the request nor reaches the collector."""
    strange = chat(temperature="hot-secret", max_tokens=1 << 70, seed=True, top_p=[1], n=None)
    traced = Traced({"m": [FakeUpstream(FakeAnswer(body=ANSWER))]})
    exchange = await traced.run(FakeExchange(body=strange))
    found = attributes(traced.spans()[1].attributes)
    assert not [
        name for name in found if name.startswith("gen_ai.request.") and "model" not in name
    ]
    assert exchange.ended


async def test_the_call_tells_its_trace_to_exemplars_and_the_log() -> None:
    """Only if it is recorded: an id that leads nowhere is worse than none."""
    traced = Traced({"m": [FakeUpstream(FakeAnswer(body=ANSWER))]}, sample_ratio=0.0)
    series = traced.scene.meters.endpoint("chat_completions").whole_duration
    await traced.run(FakeExchange(body=chat()))
    (exemplar,) = series.exemplars.values()
    assert exemplar.label == "request_id"
    series.exemplar_due_s = 0.0
    await traced.run(FakeExchange(body=chat(), headers={"traceparent": PARENT}))
    assert any(one.text == PARENT[3:35] for one in series.exemplars.values())
