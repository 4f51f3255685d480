"""OpenAI's Responses API."""

from tidegate.dialects.dialect import Dialect
from tidegate.dialects.openai.errors import error_body, limit_headers, retry_headers
from tidegate.dialects.responses.errors import error_event

RESPONSES = Dialect(
    name="responses",
    error_body=error_body,
    error_event=error_event,
    retry_headers=retry_headers,
    limit_headers=limit_headers,
)
