"""`GET …/models` and `GET …/models/{id}`, in the shape that the caller's SDK reads.

    OpenAI      {"object":"list","data":[{"id":"fast","object":"model","owned_by":"tidegate",
                "capabilities":["chat"],"context_length":200000,"max_model_len":200000, …}]}
    Anthropic   {"data":[{"type":"model","id":"fast","max_input_tokens":200000, …}], …}
    Gemini      {"models":[{"name":"models/fast","inputTokenLimit":200000, …}]}

A request with `anthropic-version` is Anthropic's, one with `x-goog-api-key` or below `/v1beta` is
Gemini's. Only models that the key may use are shown, with what is known of them (`model_facts`):
in fields that the dialect has for it, else in those that its clients read. OpenAI's has none; the
context is `context_length` there, as with OpenRouter, and `max_model_len`, as with vLLM.
Sources: `ModelInfo` of the anthropic package, `Model` of google-genai.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import Any
from urllib.parse import parse_qs, unquote_to_bytes

import msgspec

from tidegate.dialects.anthropic import ANTHROPIC
from tidegate.dialects.gemini import GEMINI
from tidegate.dialects.openai import OPENAI
from tidegate.endpoints.model_facts import ModelFacts, facts_of
from tidegate.errors import BadRequest
from tidegate.pipeline.call import Call
from tidegate.pipeline.endpoint import Endpoint
from tidegate.pipeline.gateway import Gateway
from tidegate.pipeline.handle import admit, authenticate
from tidegate.pipeline.settle import finish
from tidegate.routing.plan import ModelRoute

_JSON = b"content-type: application/json\r\n"
_MAX_PAGE = 1000
#: No model of ours has a date; the SDKs want one.
_LONG_AGO = "1970-01-01T00:00:00Z"


async def list_models(gateway: Gateway, call: Call) -> None:
    """Answer with the models of this key."""
    shape = _take_shape(call)
    principal = await authenticate(gateway, call)
    names = call.state.visible_models(principal)
    query = {
        name: values[-1] for name, values in parse_qs(call.exchange.query.decode("latin-1")).items()
    }
    page = _LISTS[shape](call, names, query)
    await admit(gateway, call, principal, None)
    finish(gateway, call, 200, _JSON, msgspec.json.encode(page))


async def get_model(gateway: Gateway, call: Call) -> None:
    """Answer with one model, or 404 with near matches. Names may hold slashes."""
    shape = _take_shape(call)
    principal = await authenticate(gateway, call)
    name = unquote_to_bytes(call.plan.tail).decode("utf-8", "replace")
    route = call.state.route(name, principal)
    await admit(gateway, call, principal, None)
    finish(gateway, call, 200, _JSON, msgspec.json.encode(_SHAPES[shape](name, route)))


def _take_shape(call: Call) -> str:
    """Return whose shape is wanted, errors included."""
    headers = call.exchange.headers
    if call.endpoint.dialect is OPENAI:
        if b"anthropic-version" in headers:
            call.endpoint = _AS_ANTHROPIC
        elif b"x-goog-api-key" in headers:
            call.endpoint = _AS_GEMINI
    return call.endpoint.dialect.name


# --- OpenAI ---------------------------------------------------------------------------------


def _of_openai(name: str, route: ModelRoute | None) -> dict[str, Any]:
    shown: dict[str, Any] = {"id": name, "object": "model", "created": 0, "owned_by": "tidegate"}
    if route is not None:
        facts = facts_of(route)
        shown["capabilities"] = facts.capabilities
        _add_size(shown, facts, ("context_length", "max_model_len"), "max_output_tokens")
    return shown


def _add_size(shown: dict[str, Any], facts: ModelFacts, contexts: Iterable[str], out: str) -> None:
    """Add how much a model takes and what it costs, as far as that is known."""
    if facts.context_tokens is not None:
        shown.update(dict.fromkeys(contexts, facts.context_tokens))
    if facts.max_output_tokens is not None:
        shown[out] = facts.max_output_tokens
    if facts.pricing:
        shown["pricing"] = facts.pricing


def _openai_list(call: Call, names: list[str], query: dict[str, str]) -> dict[str, Any]:
    routes = call.state.routes
    return {"object": "list", "data": [_of_openai(name, routes.get(name)) for name in names]}


# --- Anthropic ------------------------------------------------------------------------------


def _of_anthropic(name: str, route: ModelRoute | None) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "type": "model",
        "id": name,
        "display_name": name,
        "created_at": _LONG_AGO,
        "lifecycle": "active",
    }
    if route is not None:
        _add_size(shown, facts_of(route), ("max_input_tokens",), "max_tokens")
    return shown


def _anthropic_list(call: Call, names: list[str], query: dict[str, str]) -> dict[str, Any]:
    limit = _page_size(query.get("limit"), "limit")
    more = False
    if "before_id" in query:
        names = names[: _place_of(query["before_id"], names, "before_id")]
        names, more = names[-limit:], len(names) > limit
    else:
        if "after_id" in query:
            names = names[_place_of(query["after_id"], names, "after_id") + 1 :]
        names, more = names[:limit], len(names) > limit
    routes = call.state.routes
    return {
        "data": [_of_anthropic(name, routes.get(name)) for name in names],
        "has_more": more,
        "first_id": names[0] if names else None,
        "last_id": names[-1] if names else None,
    }


def _place_of(name: str, names: list[str], param: str) -> int:
    try:
        return names.index(name)
    except ValueError:
        raise BadRequest(f"'{param}' names no model of this list.", param=param) from None


# --- Gemini ---------------------------------------------------------------------------------


def _of_gemini(name: str, route: ModelRoute | None) -> dict[str, Any]:
    facts = None if route is None else facts_of(route)
    kinds = ["chat"] if facts is None else facts.capabilities
    methods: list[str] = []
    if "chat" in kinds:
        methods += ["generateContent", "streamGenerateContent", "countTokens"]
    if "embeddings" in kinds:
        methods += ["embedContent", "batchEmbedContents"]
    shown: dict[str, Any] = {
        "name": f"models/{name}",
        "displayName": name,
        "supportedGenerationMethods": methods,
    }
    if facts is not None:
        _add_size(shown, facts, ("inputTokenLimit",), "outputTokenLimit")
    return shown


def _gemini_list(call: Call, names: list[str], query: dict[str, str]) -> dict[str, Any]:
    limit = _page_size(query.get("pageSize"), "pageSize")
    token = query.get("pageToken", "")
    if token:
        names = names[_place_of(token, names, "pageToken") + 1 :]
    routes = call.state.routes
    page: dict[str, Any] = {
        "models": [_of_gemini(name, routes.get(name)) for name in names[:limit]]
    }
    if len(names) > limit:
        page["nextPageToken"] = names[limit - 1]
    return page


def _page_size(text: str | None, param: str) -> int:
    if text is None:
        return _MAX_PAGE
    if not text.isdecimal() or not 1 <= int(text[:9]) <= _MAX_PAGE:
        raise BadRequest(f"'{param}' must be between 1 and {_MAX_PAGE}.", param=param)
    return int(text[:9])


_SHAPES: dict[str, Callable[[str, ModelRoute | None], dict[str, Any]]] = {
    OPENAI.name: _of_openai,
    ANTHROPIC.name: _of_anthropic,
    GEMINI.name: _of_gemini,
}
_LISTS: dict[str, Callable[[Call, list[str], dict[str, str]], dict[str, Any]]] = {
    OPENAI.name: _openai_list,
    ANTHROPIC.name: _anthropic_list,
    GEMINI.name: _gemini_list,
}
_AS_ANTHROPIC = Endpoint("models", b"GET", b"/v1/models", ANTHROPIC, list_models)
_AS_GEMINI = Endpoint("models", b"GET", b"/v1/models", GEMINI, list_models)
_PLACES = (
    (b"/v1/models", OPENAI),
    (b"/models", OPENAI),
    (b"/anthropic/v1/models", ANTHROPIC),
    (b"/v1beta/models", GEMINI),
    (b"/gemini/v1beta/models", GEMINI),
    (b"/gemini/v1/models", GEMINI),
)
_RUNS: tuple[tuple[Callable[[Gateway, Call], Awaitable[None]], bool], ...] = (
    (list_models, False),
    (get_model, True),
)

ENDPOINTS = tuple(
    Endpoint("models", b"GET", path, dialect, run, takes_name=takes_name)
    for path, dialect in _PLACES
    for run, takes_name in _RUNS
)
