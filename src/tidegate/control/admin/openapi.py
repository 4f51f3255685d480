"""The OpenAPI description of the admin API, made from the structs that its answers are."""

from __future__ import annotations

import functools
from typing import Any, Final

import msgspec

from tidegate import __version__
from tidegate.control.live import answers
from tidegate.control.live.measures import GROUPINGS, MEASURES
from tidegate.control.live.ring import TIERS

Document = dict[str, Any]

_STREAM: Final = (
    "Server-sent events; a comment line after 15 s without one. `sample`: a `SampleEvent` each "
    "second. `requests`: a `RequestsAnswer` with at most 100 rows since the last one, at most "
    "once a second. `alerts`: an `AlertsAnswer` when it has changed. `instance`: an "
    "`InstanceAnswer` when something lasting has changed. A reader that falls 32 events behind "
    "is let go."
)


def _series_description() -> str:
    parts = []
    for by, measures in MEASURES.items():
        named = ", ".join(f"`{m.name}` ({m.unit})" for m in measures)
        parts.append(f"by={by}: {named}.")
    return (
        "Lines of charts, oldest value first. At most 50 label values each, the busiest; the rest "
        "is `other`. Label values that did nothing in the range are left out. "
        "In 24h a gauge's value is the highest of its minute. " + " ".join(parts)
    )


def _answer(description: str, kind: type | None) -> Document:
    answer: Document = {"description": description}
    if kind is not None:
        schema = {"$ref": f"#/components/schemas/{kind.__name__}"}
        answer["content"] = {"application/json": {"schema": schema}}
    return answer


def _operation(
    summary: str,
    kind: type | None,
    *,
    status: int = 200,
    description: str = "",
    parameters: list[Document] | None = None,
    is_public: bool = False,
    errors: tuple[int, ...] = (),
) -> Document:
    operation: Document = {
        "summary": summary,
        "responses": {str(status): _answer("Success.", kind)},
    }
    if description:
        operation["description"] = description
    if parameters:
        operation["parameters"] = parameters
    if is_public:
        operation["security"] = []
    for code in sorted({*errors, *(() if is_public else (401,)), 421}):
        operation["responses"][str(code)] = _answer(_ERRORS[code], answers.ErrorAnswer)
    return operation


_ERRORS: Final = {
    400: "A parameter or the body is not as described.",
    401: "Neither the admin token nor a session.",
    403: "Asked for by a page of another origin.",
    413: "The body is too large.",
    421: "The `Host` is none of the control port's names.",
    503: "Twenty are watching already.",
}


_KINDS: Final = (
    answers.AlertsAnswer,
    answers.ErrorAnswer,
    answers.InstanceAnswer,
    answers.LimitsAnswer,
    answers.RequestsAnswer,
    answers.SampleEvent,
    answers.SeriesAnswer,
    answers.Session,
    answers.SessionRequest,
)


def _query(name: str, schema: Document, description: str) -> Document:
    return {"name": name, "in": "query", "schema": schema, "description": description}


def _session_paths() -> Document:
    opening = _operation(
        "Exchange the admin token for a session cookie",
        None,
        status=204,
        description="Sets `tidegate_session` (HttpOnly, SameSite=Strict, 12 hours).",
        is_public=True,
        errors=(400, 401, 403, 413),
    )
    schema = {"$ref": "#/components/schemas/SessionRequest"}
    opening["requestBody"] = {
        "required": True,
        "content": {"application/json": {"schema": schema}},
    }
    return {
        "get": _operation("Tell whether there is a session", answers.Session),
        "post": opening,
        "delete": _operation("End the session", None, status=204, errors=(403,)),
    }


def _series() -> Document:
    spans = [tier.name for tier in TIERS]
    groupings = list(GROUPINGS)
    return _operation(
        "Read figures over time",
        answers.SeriesAnswer,
        description=_series_description(),
        parameters=[
            _query("range", {"enum": spans, "default": spans[0]}, "How far back."),
            _query("by", {"enum": groupings, "default": groupings[0]}, "Grouped by what."),
        ],
        errors=(400,),
    )


def _live() -> Document:
    live = _operation("Follow the gateway", None, description=_STREAM, errors=(503,))
    live["responses"]["200"]["content"] = {"text/event-stream": {"schema": {"type": "string"}}}
    return live


def _requests() -> Document:
    most = {"type": "integer", "minimum": 1, "maximum": 500, "default": 200}
    return _operation(
        "Read recent requests",
        answers.RequestsAnswer,
        description="Collected from the first question on, for a minute after each; "
        "the last 500 are kept, in memory only.",
        parameters=[_query("limit", most, "Most rows.")],
        errors=(400,),
    )


def openapi() -> Document:
    """Return the document."""
    paths: Document = {
        "/api/session": _session_paths(),
        "/api/instance": {"get": _operation("Describe the gateway", answers.InstanceAnswer)},
        "/api/series": {"get": _series()},
        "/api/live": {"get": _live()},
        "/api/requests": {"get": _requests()},
        "/api/limits": {"get": _operation("See who is near a limit", answers.LimitsAnswer)},
        "/api/alerts": {"get": _operation("Read alerts and rules", answers.AlertsAnswer)},
        "/api/openapi.json": {"get": _operation("Read this document", None)},
    }
    _, components = msgspec.json.schema_components(
        _KINDS, ref_template="#/components/schemas/{name}"
    )
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Tidegate admin API",
            "version": __version__,
            "description": "Of the control port. Times are Unix milliseconds (`_ms`) or "
            "seconds (`_s`).",
        },
        "security": [{"token": []}, {"session": []}],
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {
                "token": {"type": "http", "scheme": "bearer"},
                "session": {"type": "apiKey", "in": "cookie", "name": "tidegate_session"},
            },
        },
    }


@functools.cache
def openapi_json() -> bytes:
    """Return the document as JSON."""
    return msgspec.json.encode(openapi())
