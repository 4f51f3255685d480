"""Refusals of Amazon Bedrock.

{"message": "…"}  with the kind in the header `x-amzn-errortype`, or in `__type`
"""

from __future__ import annotations

import msgspec

from tidegate.dialects.neutral import WireError
from tidegate.dialects.unreadable import UNREADABLE

#: Exceptions of a stream, which have no status → the status that they stand for.
STATUS_OF_EXCEPTION = {
    "accessDeniedException": 403,
    "internalServerException": 500,
    "modelErrorException": 424,
    "modelNotReadyException": 429,
    "modelStreamErrorException": 502,
    "modelTimeoutException": 504,
    "resourceNotFoundException": 404,
    "serviceQuotaExceededException": 429,
    "serviceUnavailableException": 503,
    "throttlingException": 429,
    "validationException": 400,
}
_KINDS = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    429: "rate_limit_error",
}


class _Error(msgspec.Struct):
    message: str | None = None
    Message: str | None = None
    type: str | None = msgspec.field(default=None, name="__type")


_decode = msgspec.json.Decoder(_Error).decode


def decode_error(status: int, body: bytes, exception: str = "") -> WireError:
    """Read a refusal, or an *exception* of a stream (then *status* is 0)."""
    try:
        found = _decode(body)
    except UNREADABLE:
        found = _Error()
    code = exception or (found.type or "").rpartition("#")[2]
    if not status:
        status = STATUS_OF_EXCEPTION.get(code, 502)
    kind = _KINDS.get(status) or ("invalid_request_error" if status < 500 else "api_error")
    message = found.message or found.Message or f"The provider answered with status {status}."
    return WireError(status, message, kind, code)
