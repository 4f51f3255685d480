"""Every error the gateway raises on purpose, with its HTTP status and stable code.

A dialect renders a `GatewayError` in the shape its SDKs expect; the message is
written for the caller and never holds a secret or another tenant's text.
"""

from __future__ import annotations

import re


class GatewayError(Exception):
    """Base of all refusals and failures that reach a client. Never raised itself.

    Attributes:
        status: HTTP status of the answer.
        kind: Family of the error, in OpenAI's vocabulary (`invalid_request_error`, …).
        code: Stable machine-readable string; documented in docs/reference/errors.md.
        message: One sentence for the caller.
        param: Name of the request field at fault, if one is.
        retry_after_s: Seconds after which a retry can succeed; None when unknown.
        should_retry: Value of `x-should-retry`; None leaves the SDK its own choice.
    """

    status = 500
    kind = "api_error"
    code = "internal_error"
    should_retry: bool | None = None

    def __init__(
        self, message: str, *, param: str | None = None, retry_after_s: float | None = None
    ) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        self.retry_after_s = retry_after_s


class BadRequest(GatewayError):
    """The request cannot be served as it is written (400)."""

    status, kind, code = 400, "invalid_request_error", "invalid_request"
    should_retry = False


class Unauthenticated(GatewayError):
    """No key, or one that is not ours (401). `reason` is a closed set, a metric label."""

    status, kind, code = 401, "invalid_request_error", "invalid_api_key"
    should_retry = False

    def __init__(self, message: str, *, reason: str) -> None:
        super().__init__(message)
        self.reason = reason


class Forbidden(GatewayError):
    """A valid key that may not do this (403)."""

    status, kind, code = 403, "permission_error", "permission_denied"
    should_retry = False


class NotFound(GatewayError):
    """No such path or object (404)."""

    status, kind, code = 404, "invalid_request_error", "not_found"
    should_retry = False


class ModelNotFound(NotFound):
    """The named model is not configured, or not allowed for this key (404)."""

    code = "model_not_found"


class MethodNotAllowed(GatewayError):
    """The path exists, the method does not (405)."""

    status, kind, code = 405, "invalid_request_error", "method_not_allowed"
    should_retry = False

    def __init__(self, message: str, *, allow: str) -> None:
        super().__init__(message)
        self.allow = allow


class RequestTimeout(GatewayError):
    """The client sent its body too slowly (408)."""

    status, kind, code = 408, "invalid_request_error", "request_timeout"


class BodyTooLarge(GatewayError):
    """The request body is over the configured cap (413)."""

    status, kind, code = 413, "invalid_request_error", "request_too_large"
    should_retry = False


class RateLimited(GatewayError):
    """One of the caller's limits refused the request (429). `retry_after_s` is exact."""

    status, kind, code = 429, "rate_limit_error", "rate_limit_exceeded"


class BadUpstream(GatewayError):
    """The provider could not be reached or did not speak HTTP as it should (502)."""

    status, kind, code = 502, "api_error", "upstream_error"


class Unavailable(GatewayError):
    """The gateway or the provider cannot take the request now (503)."""

    status, kind, code = 503, "api_error", "service_unavailable"


class UpstreamTimeout(GatewayError):
    """The provider did not answer in time (504)."""

    status, kind, code = 504, "api_error", "upstream_timeout"


class ClientGone(Exception):
    """The client closed its connection; nobody is left to answer. Not a `GatewayError`."""


class ConfigError(Exception):
    """The configuration cannot be used.

    Attributes:
        problems: `(path, reason)` pairs, such as `("limits.per-key.window", "…")`. A reason
            about a file's content ends with its line: `… (line 3)`.
        file: The configuration file that was read; empty for none.
    """

    def __init__(self, problems: list[tuple[str, str]], file: str = "") -> None:
        super().__init__("; ".join(f"{path}: {reason}" for path, reason in problems))
        self.problems = problems
        self.file = file

    def lines(self) -> list[str]:
        """Return a line for each problem, with the file's name before what stands in the file."""
        return [
            f"{self.file}: {path}: {reason}"
            if self.file and _LINE.search(reason)
            else f"{path}: {reason}"
            for path, reason in self.problems
        ]


_LINE = re.compile(r" \(line \d+\)$")
