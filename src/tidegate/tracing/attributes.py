"""A trace's records as OTLP spans: names and values by the semantic conventions.

HTTP conventions 1.x for the SERVER span; GenAI conventions (in development, as of November 2026)
for the CLIENT spans. Nothing a client or a provider wrote stands in one, but what the
conventions ask for (model names, ids), and that shortened and through `logs.redact`. What only
Tidegate knows begins with `tidegate.`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Final, NamedTuple

from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from tidegate.config.snapshot import ProviderSnapshot
from tidegate.logs.redact import redact
from tidegate.tracing.content import input_messages, output_messages
from tidegate.tracing.trace import AttemptSpan, Parameters, Trace

Value = str | bool | int | float | list[str]

MAX_NAME_CHARACTERS: Final = 200

_METHODS: Final = frozenset(
    {"GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"}
)
#: Operation of a provider (`providers.operations`) → the conventions' word for it.
_OPERATIONS: Final = MappingProxyType(
    {
        "openai": "chat",
        "responses": "chat",
        "anthropic": "chat",
        "bedrock": "chat",
        "cohere": "chat",
        "completions": "text_completion",
        "embeddings": "embeddings",
        "gemini": "generate_content",
        "gemini_embed": "embeddings",
        "gemini_batch_embed": "embeddings",
        "cohere_embed": "embeddings",
        "vertex_predict": "embeddings",
        "vertex_batch_embed": "embeddings",
    }
)
#: Kind of a provider → the conventions' name of it. Others are named by their kind.
_PROVIDERS: Final = MappingProxyType(
    {
        "azure-openai": "azure.ai.openai",
        "bedrock": "aws.bedrock",
        "gemini": "gcp.gemini",
        "gemini-openai": "gcp.gemini",
        "mistral": "mistral_ai",
        "vertex": "gcp.vertex_ai",
        "xai": "x_ai",
    }
)
#: Generic kinds say nothing about who answers: the configured name says more.
_GENERIC: Final = frozenset({"openai-compatible"})

_MODEL = re.compile(rb'"(?:model|modelVersion)"\s*:\s*"([^"\\\x00-\x1f]{1,200})"')
_ID = re.compile(rb'"(?:id|responseId)"\s*:\s*"([A-Za-z0-9_.:-]{1,200})"')
_FINISH = re.compile(rb'"(?:finish_reason|stop_reason|finishReason)"\s*:\s*"([A-Za-z_]{1,40})"')


#: Not worth remembering: there is another one each time, or it is long.
_UNIQUE: Final = frozenset(
    {
        "tidegate.request_id",
        "gen_ai.response.id",
        "gen_ai.input.messages",
        "gen_ai.output.messages",
    }
)
_MAX_PAIRS: Final = 2000
_pairs: dict[tuple[str, str | bool | int], KeyValue] = {}


class Peer(NamedTuple):
    """A provider as a span names it."""

    name: str
    address: str
    port: int


def peers_of(providers: Iterable[ProviderSnapshot]) -> dict[str, Peer]:
    """Return each configured provider's place and conventional name."""
    peers = {}
    for provider in providers:
        kind = provider.kind
        name = provider.name if kind in _GENERIC else _PROVIDERS.get(kind, kind)
        scheme, _, rest = provider.base_url.partition("://")
        authority = rest.partition("/")[0]
        host, colon, port = authority.rpartition(":")
        if not colon or not port.isdigit():
            host, port = authority, "443" if scheme == "https" else "80"
        peers[provider.name] = Peer(name, host.strip("[]"), int(port))
    return peers


def key_values(attributes: Mapping[str, Value | None]) -> list[KeyValue]:
    """Return *attributes* in OTLP's form, without those that are None.

    Most pairs are those of the last trace: they are made once and copied by whoever takes them,
    which saves a third of the time. To be copied from only.
    """
    pairs = []
    for name, value in attributes.items():
        if value is None:
            continue
        if name in _UNIQUE or isinstance(value, float | list):
            pairs.append(KeyValue(key=name, value=_any_value(value)))
            continue
        pair = _pairs.get((name, value))
        if pair is None:
            if len(_pairs) >= _MAX_PAIRS:
                _pairs.clear()
            pair = _pairs[name, value] = KeyValue(key=name, value=_any_value(value))
        pairs.append(pair)
    return pairs


def _any_value(value: Value) -> AnyValue:
    if isinstance(value, str):
        return AnyValue(string_value=value)
    if isinstance(value, bool):
        return AnyValue(bool_value=value)
    if isinstance(value, int):
        return AnyValue(int_value=value)
    if isinstance(value, float):
        return AnyValue(double_value=value)
    return AnyValue(array_value=ArrayValue(values=[AnyValue(string_value=one) for one in value]))


def server_span(trace: Trace) -> Span:
    """Return the SERVER span of a request."""
    method = trace.method if trace.method in _METHODS else "_OTHER"
    failed = trace.status >= 500 or (
        200 <= trace.status < 400 and trace.outcome not in ("ok", "client_gone")
    )
    attributes: dict[str, Value | None] = {
        "http.request.method": method,
        "http.route": trace.route,
        "url.scheme": trace.scheme,
        "url.path": trace.route,  # the pattern: a path may hold what a client should not have sent
        "network.protocol.name": "http",
        "client.address": trace.client_ip,
        "http.response.status_code": trace.status or None,
        "error.type": trace.outcome if failed else None,
        "tidegate.request_id": trace.request_id,
        "tidegate.outcome": trace.outcome,
        "tidegate.stream": trace.stream,
        "tidegate.key": trace.key,
        "tidegate.team": trace.team,
        "tidegate.model": trace.model,
        "tidegate.limit": trace.limit,
        "tidegate.attempts": len(trace.attempts),
    }
    name = ("HTTP" if method == "_OTHER" else method) + (f" {trace.route}" if trace.route else "")
    span = Span(
        trace_id=bytes.fromhex(trace.trace_id),
        span_id=bytes.fromhex(trace.span_id),
        parent_span_id=bytes.fromhex(trace.parent_id),
        trace_state=trace.state.decode("ascii"),
        flags=0x301 if trace.parent_id else 0x101,  # sampled; whether the parent is remote
        name=name,
        kind=Span.SPAN_KIND_SERVER,
        start_time_unix_nano=trace.started_ns,
        end_time_unix_nano=max(trace.ended_ns, trace.started_ns),
        attributes=key_values(attributes),
    )
    if failed:
        span.status.code = Status.STATUS_CODE_ERROR
    return span


def client_span(
    trace: Trace, attempt: AttemptSpan, peers: Mapping[str, Peer], *, old_names: bool
) -> Span:
    """Return the CLIENT span of an attempt."""
    operation = _OPERATIONS.get(attempt.operation, attempt.operation)
    model = _model_of(attempt)
    error = _error_type(attempt)
    attributes: dict[str, Value | None] = {
        "gen_ai.operation.name": operation,
        "gen_ai.request.model": model,
        "gen_ai.request.stream": attempt.stream or None,
        "http.request.method": "POST",
        "http.request.resend_count": attempt.number - 1 or None,
        "http.response.status_code": attempt.status or None,
        "error.type": error,
        "tidegate.provider": attempt.provider,
        "tidegate.target_model": attempt.label,
        "tidegate.attempt": attempt.number,
        "tidegate.outcome": "client_gone" if _left(attempt) else attempt.outcome,
    }
    peer = peers.get(attempt.provider)
    if peer is not None:
        attributes["gen_ai.provider.name"] = peer.name
        if peer.address:
            attributes["server.address"] = peer.address
            attributes["server.port"] = peer.port
        if old_names:
            attributes["gen_ai.system"] = peer.name
    attributes |= _asked(attempt.parameters)
    attributes |= _used(attempt, old_names=old_names)
    attributes |= _answered(attempt)
    if attempt.request is not None or attempt.answer:
        attributes["gen_ai.input.messages"] = input_messages(attempt)
        attributes["gen_ai.output.messages"] = output_messages(attempt)
    span = Span(
        trace_id=bytes.fromhex(trace.trace_id),
        span_id=bytes.fromhex(attempt.span_id),
        parent_span_id=bytes.fromhex(trace.span_id),
        trace_state=trace.state.decode("ascii"),
        flags=0x101,
        name=f"{operation} {model}" if model else operation,
        kind=Span.SPAN_KIND_CLIENT,
        start_time_unix_nano=attempt.started_ns,
        end_time_unix_nano=max(attempt.ended_ns, attempt.started_ns),
        attributes=key_values(attributes),
    )
    if attempt.first_token_ns > attempt.started_ns:
        span.events.append(Span.Event(name="first_token", time_unix_nano=attempt.first_token_ns))
    if error is not None:
        span.status.code = Status.STATUS_CODE_ERROR
    return span


def _model_of(attempt: AttemptSpan) -> str:
    """Return the model asked for: a configured name, or a client's that the provider knew.

    A name that no provider knows may be anything, a key in the wrong field too: `*`.
    """
    known = attempt.label == attempt.model or attempt.status in (200, 201)
    return _shown(attempt.model) if known else attempt.label


def _left(attempt: AttemptSpan) -> bool:
    return attempt.gone and attempt.outcome == "cancelled"


def _error_type(attempt: AttemptSpan) -> str | None:
    """Return what went wrong with an attempt; a client that left is nobody's error."""
    if attempt.outcome == "ok" or _left(attempt):
        return None
    if attempt.outcome.startswith("http_"):
        return str(attempt.status)
    return attempt.outcome


def _asked(parameters: Parameters | None) -> dict[str, Value | None]:
    if parameters is None:
        return {}
    most = parameters.max_tokens
    for other in (parameters.max_completion_tokens, parameters.max_output_tokens):
        most = other if most is None else most
    return {
        "gen_ai.request.max_tokens": _whole(most),
        "gen_ai.request.temperature": _number(parameters.temperature),
        "gen_ai.request.top_p": _number(parameters.top_p),
        "gen_ai.request.top_k": _number(parameters.top_k),
        "gen_ai.request.seed": _whole(parameters.seed),
        "gen_ai.request.choice.count": _whole(parameters.n),
        "gen_ai.request.frequency_penalty": _number(parameters.frequency_penalty),
        "gen_ai.request.presence_penalty": _number(parameters.presence_penalty),
    }


def _whole(value: object) -> int | None:
    """Return a client's number if it is one that OTLP can hold."""
    is_whole = isinstance(value, int) and not isinstance(value, bool)
    return value if is_whole and -(1 << 63) <= value < 1 << 63 else None  # type: ignore[operator, return-value]


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return float(value)
    except OverflowError:
        return None


def _used(attempt: AttemptSpan, *, old_names: bool) -> dict[str, Value | None]:
    usage = attempt.usage
    if usage is None:
        return {}
    found: dict[str, Value | None] = {
        "gen_ai.usage.input_tokens": usage.input_tokens,
        "gen_ai.usage.output_tokens": usage.output_tokens,
        "gen_ai.usage.cache_read.input_tokens": usage.cached_input_tokens or None,
        "gen_ai.usage.cache_write.input_tokens": usage.cache_write_tokens or None,
        "gen_ai.usage.reasoning.output_tokens": usage.reasoning_tokens or None,
        "tidegate.usage_source": "provider" if attempt.told else "estimated",
    }
    if attempt.cost_nano_usd is not None:
        found["tidegate.cost_usd"] = attempt.cost_nano_usd / 1e9
    if old_names:
        found["gen_ai.usage.prompt_tokens"] = usage.input_tokens
        found["gen_ai.usage.completion_tokens"] = usage.output_tokens
        found["gen_ai.usage.cache_creation.input_tokens"] = usage.cache_write_tokens or None
    return found


def _answered(attempt: AttemptSpan) -> dict[str, Value | None]:
    """Return what an answer says about itself, read from its first and last bytes."""
    if attempt.status not in (200, 201):
        return {}
    model = _MODEL.search(attempt.head) or _MODEL.search(attempt.tail)
    found_id = _ID.search(attempt.head)
    finish = _FINISH.findall(attempt.tail)
    found: dict[str, Value | None] = {
        "gen_ai.response.model": model and _shown(model[1].decode("utf-8", "replace")),
        "gen_ai.response.id": found_id and _shown(found_id[1].decode()),
    }
    if finish:
        found["gen_ai.response.finish_reasons"] = [reason.decode() for reason in finish[-8:]]
    if attempt.stream and attempt.first_token_ns > attempt.started_ns:
        waited_ns = attempt.first_token_ns - attempt.started_ns
        found["gen_ai.response.time_to_first_chunk"] = waited_ns / 1e9
    return found


def _shown(text: str) -> str:
    """Return a name that a client or a provider may have chosen, fit to be shown."""
    return redact(text.encode("utf-8", "replace").decode())[:MAX_NAME_CHARACTERS]
