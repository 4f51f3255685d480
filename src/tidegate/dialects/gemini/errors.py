"""Errors in the shape that Google's SDKs read.

    {"error": {"code": 429, "message": "…", "status": "RESOURCE_EXHAUSTED", "details": [
      {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "rate_limit_exceeded", …},
      {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "3s"}]}}

Source: `APIError` of the google-genai package, 3.x, and google.rpc's error details.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from tidegate.dialects.encode import encode_json
from tidegate.dialects.neutral import WireError
from tidegate.dialects.openai.errors import LimitStateView, ietf_lines
from tidegate.dialects.unreadable import UNREADABLE
from tidegate.errors import GatewayError

_STATUS_NAMES = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    405: "UNIMPLEMENTED",
    408: "DEADLINE_EXCEEDED",
    409: "ABORTED",
    413: "INVALID_ARGUMENT",
    422: "INVALID_ARGUMENT",
    429: "RESOURCE_EXHAUSTED",
    499: "CANCELLED",
    501: "UNIMPLEMENTED",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}
_KINDS = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    429: "rate_limit_error",
}
_STATUS_OF_NAME = {
    "INVALID_ARGUMENT": 400,
    "FAILED_PRECONDITION": 400,
    "OUT_OF_RANGE": 400,
    "UNAUTHENTICATED": 401,
    "PERMISSION_DENIED": 403,
    "NOT_FOUND": 404,
    "RESOURCE_EXHAUSTED": 429,
    "CANCELLED": 499,
    "UNAVAILABLE": 503,
    "DEADLINE_EXCEEDED": 504,
}


def _body(status: int, message: str, code: str, retry_after_s: float | None) -> bytes:
    details: list[dict[str, Any]] = []
    if code:
        details.append(
            {
                "@type": "type.googleapis.com/google.rpc.ErrorInfo",
                "reason": code,
                "domain": "tidegate",
            }
        )
    if retry_after_s is not None:
        details.append(
            {
                "@type": "type.googleapis.com/google.rpc.RetryInfo",
                "retryDelay": f"{max(0.0, retry_after_s):.3f}s",
            }
        )
    error: dict[str, Any] = {
        "code": status,
        "message": message,
        "status": _STATUS_NAMES.get(status, "INTERNAL"),
    }
    if details:
        error["details"] = details
    return encode_json({"error": error})


def error_body(error: GatewayError) -> bytes:
    """Render *error* as the body of an answer."""
    return _body(error.status, error.message, error.code, error.retry_after_s)


def error_event(error: GatewayError) -> bytes:
    """Render *error* as the last event of a stream that was cut."""
    return b"data: " + error_body(error) + b"\n\n"


def wire_error_event(error: WireError) -> bytes:
    """Render an upstream's error as the last event of a stream."""
    return b"data: " + _body(error.status, error.message, error.code, None) + b"\n\n"


class _ErrorObject(msgspec.Struct):
    code: int | None = None
    message: str | None = None
    status: str | None = None


class _ErrorBody(msgspec.Struct):
    error: _ErrorObject | None = None


_decode = msgspec.json.Decoder(_ErrorBody).decode
_decode_list = msgspec.json.Decoder(list[_ErrorBody]).decode


def decode_error(status: int, body: bytes) -> WireError:
    """Read a refusal; a *status* of 0 is taken from the error itself.

    Some Google endpoints send the object inside a list of one.
    """
    found: _ErrorObject | None = None
    try:
        if body.lstrip()[:1] == b"[":
            listed = _decode_list(body)
            found = listed[0].error if listed else None
        else:
            found = _decode(body).error
    except UNREADABLE:
        found = None
    if found is None:
        found = _ErrorObject()
    name = found.status or ""
    if not status:
        told = found.code if found.code is not None and 400 <= found.code < 600 else None
        status = told or _STATUS_OF_NAME.get(name, 502)
    kind = _KINDS.get(status) or ("invalid_request_error" if status < 500 else "api_error")
    message = found.message or f"The provider answered with status {status}."
    return WireError(status, message, kind, name.lower())


def limit_headers(states: Sequence[LimitStateView]) -> bytes:
    """Render the IETF pair of all limits; the vendor has no headers of its own."""
    return ietf_lines(states) if states else b""
