"""Errors and limit headers in the shape that Anthropic's SDKs read.

    {"type": "error", "error": {"type": "rate_limit_error", "message": "…",
                                "details": {"error_code": "rate_limit_exceeded"}}}

The SDK decides by status, shows `error.message`, and offers `error.details.error_code`
(anthropic package 2.x, `_exceptions.py`). It honours `retry-after-ms`, `retry-after` and
`x-should-retry` as OpenAI's does. In a stream the event must be named `error`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import msgspec

from tidegate.clock import wall_ms
from tidegate.dialects.encode import encode_json
from tidegate.dialects.neutral import WireError
from tidegate.dialects.openai.errors import LimitStateView, RuleView, ietf_lines, ietf_template
from tidegate.dialects.unreadable import UNREADABLE
from tidegate.errors import GatewayError

_TYPE_OF_STATUS = {
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    408: "timeout_error",
    409: "conflict_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
    529: "overloaded_error",
}
#: Type → the status that it comes with, for errors in streams, which have none.
STATUS_OF_TYPE = {
    "invalid_request_error": 400,
    "authentication_error": 401,
    "billing_error": 402,
    "permission_error": 403,
    "not_found_error": 404,
    "conflict_error": 409,
    "request_too_large": 413,
    "rate_limit_error": 429,
    "api_error": 500,
    "timeout_error": 504,
    "overloaded_error": 529,
}


def error_type(status: int) -> str:
    """Return the type of an error by its status."""
    known = _TYPE_OF_STATUS.get(status)
    if known is not None:
        return known
    return "invalid_request_error" if 400 <= status < 500 else "api_error"


def _body(status: int, message: str, code: str) -> bytes:
    error: dict[str, object] = {"type": error_type(status), "message": message}
    if code:
        error["details"] = {"error_code": code}
    return encode_json({"type": "error", "error": error})


def error_body(error: GatewayError) -> bytes:
    """Render *error* as the body of an answer."""
    return _body(error.status, error.message, error.code)


def error_event(error: GatewayError) -> bytes:
    """Render *error* as the last event of a stream that was cut."""
    return b"event: error\ndata: " + error_body(error) + b"\n\n"


def wire_error_event(error: WireError) -> bytes:
    """Render an upstream's error as the last event of a stream."""
    return b"event: error\ndata: " + _body(error.status, error.message, error.code) + b"\n\n"


# --- reading --------------------------------------------------------------------------------


class _Details(msgspec.Struct):
    error_code: str | None = None


class _ErrorObject(msgspec.Struct):
    type: str | None = None
    message: str | None = None
    details: _Details | None = None


class _ErrorBody(msgspec.Struct):
    error: _ErrorObject | None = None


_decode_error = msgspec.json.Decoder(_ErrorBody).decode
#: Types that have another name in OpenAI's vocabulary.
_KINDS = {"request_too_large": "invalid_request_error", "timeout_error": "api_error"}


def decode_error(status: int, body: bytes) -> WireError:
    """Read a refusal; a *status* of 0 is looked up by the error's type."""
    try:
        found = _decode_error(body).error or _ErrorObject()
    except UNREADABLE:
        found = _ErrorObject()
    kind = found.type or error_type(status or 502)
    if status == 0:
        status = STATUS_OF_TYPE.get(found.type or "", 502)
    code = found.details.error_code if found.details is not None else None
    return WireError(
        status,
        found.message or f"The provider answered with status {status}.",
        _KINDS.get(kind, kind),
        code or "",
    )


# --- limits ---------------------------------------------------------------------------------


def limit_headers(states: Sequence[LimitStateView], now_ms: Callable[[], int] = wall_ms) -> bytes:
    """Render the `anthropic-ratelimit-*` lines of the binding limit and the IETF pair for all.

    The reset is a date here (RFC 3339), rounded up to the second. Requests at once are no
    requests per time: they stand in the IETF lines only.
    """
    if not states:
        return b""
    if len(states) == 1 and not states[0][0].is_concurrency:
        rule, remaining, reset_ns = states[0]
        reset_s = -(-(now_ms() - (-reset_ns // 1_000_000)) // 1000)
        template = _templates.get(rule.policy_item) or _template_of(rule)
        wait_s = -(-reset_ns // 1_000_000_000)
        return template % (remaining, _date(reset_s), remaining, wait_s)
    lines = ietf_lines(states)
    timed = [state for state in states if not state[0].is_concurrency]
    if not timed:
        return lines
    rule, remaining, reset_ns = min(timed, key=_remaining)
    reset_s = -(-(now_ms() - (-reset_ns // 1_000_000)) // 1000)
    return (
        b"anthropic-ratelimit-requests-limit: %d\r\n"
        b"anthropic-ratelimit-requests-remaining: %d\r\n"
        b"anthropic-ratelimit-requests-reset: %b\r\n%b"
        % (rule.amount, remaining, _date(reset_s), lines)
    )


_templates: dict[bytes, bytes] = {}
_MAX_TEMPLATES = 1_000


def _template_of(rule: RuleView) -> bytes:
    """Write the lines of one limit, all but what changes."""
    lines = b"anthropic-ratelimit-requests-limit: %d\r\n" % rule.amount
    lines += b"anthropic-ratelimit-requests-remaining: %d\r\n"
    lines += b"anthropic-ratelimit-requests-reset: %b\r\n" + ietf_template(rule)
    if len(_templates) >= _MAX_TEMPLATES:
        _templates.clear()
    _templates[rule.policy_item] = lines
    return lines


def _remaining(state: LimitStateView) -> int:
    return state[1]


_dates: dict[int, bytes] = {}
_MAX_DATES = 100


def _date(unix_s: int) -> bytes:
    date = _dates.get(unix_s)
    if date is None:
        if len(_dates) >= _MAX_DATES:
            _dates.clear()
        date = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(unix_s)).encode()
        _dates[unix_s] = date
    return date
