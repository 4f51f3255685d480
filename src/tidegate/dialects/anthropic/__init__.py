"""Anthropic's Messages API."""

from tidegate.dialects.anthropic.errors import error_body, error_event, limit_headers
from tidegate.dialects.dialect import Dialect
from tidegate.dialects.openai.errors import retry_headers

ANTHROPIC = Dialect(
    name="anthropic",
    error_body=error_body,
    error_event=error_event,
    retry_headers=retry_headers,
    limit_headers=limit_headers,
)
