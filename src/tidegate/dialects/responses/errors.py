"""Errors in a Responses stream: a flat `error` event, then the failed response.

    event: error
    data: {"type":"error","sequence_number":7,"code":"…","message":"…","param":null}

    event: response.failed
    data: {"type":"response.failed","sequence_number":8,"response":{…,"error":{…}}}

The Python SDK hands an `error` event to its user and raises nothing, other clients wait for a
last event of the response itself: so both are written. Before a stream begins, errors look as
in the rest of OpenAI's API.
"""

from __future__ import annotations

from typing import Any

import msgspec

from tidegate.dialects.encode import encode_json
from tidegate.dialects.neutral import WireError
from tidegate.errors import GatewayError

_CODE_OF_STATUS = {
    400: "invalid_prompt",
    413: "invalid_prompt",
    422: "invalid_prompt",
    429: "rate_limit_exceeded",
}


def error_event(error: GatewayError) -> bytes:
    """Render *error* as the end of a stream of which nothing else is known."""
    told = WireError(error.status, error.message, error.kind, error.code, error.param)
    return failed_events(told, 0, None)


def failed_events(error: WireError, sequence: int, response: dict[str, Any] | None) -> bytes:
    """Render *error* as the two last events of a stream.

    Args:
        error: What went wrong.
        sequence: Number of the first of the two.
        response: The response as far as it came; None when nothing is known of it.
    """
    code = error.code or _CODE_OF_STATUS.get(error.status, "server_error")
    flat: dict[str, Any] = {
        "type": "error",
        "sequence_number": sequence,
        "code": code,
        "message": error.message,
        "param": error.param,
    }
    failed: dict[str, Any] = {"id": "", "object": "response", "output": []}
    if response is not None:
        failed = response
    failed["status"] = "failed"
    failed["error"] = {"code": code, "message": error.message}
    last = {"type": "response.failed", "sequence_number": sequence + 1, "response": failed}
    return b"event: error\ndata: %b\n\nevent: response.failed\ndata: %b\n\n" % (
        encode_json(flat),
        encode_json(last),
    )


class FlatError(msgspec.Struct):
    """Fields of an error event, or of a failed response's `error`."""

    message: str | None = None
    code: str | int | None = None
    param: str | None = None


_STATUS_OF_CODE = {
    "rate_limit_exceeded": 429,
    "insufficient_quota": 429,
    "server_error": 502,
    "server_is_overloaded": 503,
}


def error_of_flat(flat: FlatError) -> WireError:
    """Read an error that came in a stream; the code tells what status it stands for."""
    code = flat.code
    status = 502
    if isinstance(code, int):
        status = code if 400 <= code < 600 else 502
    elif code:
        status = _STATUS_OF_CODE.get(code, 400)
    kind = "rate_limit_error" if status == 429 else "api_error"
    if 400 <= status < 500 and status != 429:
        kind = "invalid_request_error"
    return WireError(
        status,
        flat.message or "The provider's response failed.",
        kind,
        "" if code is None else str(code),
        flat.param,
    )
