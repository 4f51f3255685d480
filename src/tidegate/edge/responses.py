"""Bytes of answers: status lines made once, the Date line once a second, errors as JSON."""

from __future__ import annotations

import http
import math
import time
from email.utils import formatdate

import msgspec

from tidegate.edge.rules import Rule
from tidegate.errors import GatewayError, MethodNotAllowed
from tidegate.ids import request_id

_REASONS = {status.value: status.phrase for status in http.HTTPStatus}

STATUS_LINES = {
    status: b"HTTP/1.1 %d %b\r\n" % (status, _REASONS.get(status, "Unknown").encode())
    for status in range(200, 600)
}
"""Status → first line of an answer. Also to HTTP/1.0 requests, as RFC 9112 2.5 asks."""

BODY_LINES = {status: line for status, line in STATUS_LINES.items() if status not in (204, 304)}
"""Those of answers that have a body."""

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
CLOSE = b"connection: close\r\n"
KEEP_ALIVE = b"connection: keep-alive\r\n"
JSON_TYPE = b"content-type: application/json\r\n"


class DateLine:
    """The Date header line, formatted once a second.

    Attributes:
        line: `date: …` with its CRLF, good until `until`.
        until: Loop time in seconds.
    """

    __slots__ = ("_line", "_second", "line", "until")

    def __init__(self) -> None:
        self._second = 0
        self._line = b""
        self.line = b""
        self.until = 0.0

    def renew(self, now: float) -> bytes:
        """Return `line` of the second that begins or runs at the loop time *now*."""
        self.until = now + 1.0 - time.time() % 1.0
        self.line = self.now()
        return self.line

    def now(self) -> bytes:
        """Return `date: …` with its CRLF."""
        second = int(time.time())
        if second != self._second:
            self._second = second
            self._line = b"date: %b\r\n" % formatdate(second, usegmt=True).encode()
        return self._line


def error_body(message: str, kind: str, code: str, param: str | None = None) -> bytes:
    """Return an error as JSON in OpenAI's shape, which every SDK shows to its user."""
    error = {"message": message, "type": kind, "param": param, "code": code}
    return msgspec.json.encode({"error": error})


def gateway_error_answer(error: GatewayError) -> tuple[bytes, bytes]:
    """Return `(header lines, body)` for *error*, for handlers that did not render it."""
    headers = [JSON_TYPE, request_id_line()]
    if isinstance(error, MethodNotAllowed):
        headers.append(b"allow: %b\r\n" % error.allow.encode("latin-1"))
    if error.retry_after_s is not None:
        headers.append(b"retry-after: %d\r\n" % math.ceil(error.retry_after_s))
    if error.should_retry is not None:
        headers.append(b"x-should-retry: %b\r\n" % (b"true" if error.should_retry else b"false"))
    return b"".join(headers), error_body(error.message, error.kind, error.code, error.param)


def refusal_answer(rule: Rule, date_line: bytes) -> bytes:
    """Return the whole answer to a request that breaks *rule*."""
    kind = "api_error" if rule.status >= 500 else "invalid_request_error"
    body = error_body(rule.refuses, kind, rule.name)
    return b"".join(
        (
            STATUS_LINES[rule.status],
            date_line,
            JSON_TYPE,
            request_id_line(),
            CLOSE,
            b"content-length: %d\r\n\r\n" % len(body),
            body,
        )
    )


def request_id_line() -> bytes:
    """Return an `x-request-id` line for an answer that no pipeline has given one."""
    return b"x-request-id: %b\r\n" % request_id().encode()
