"""Google's Gemini API (`generateContent`)."""

from tidegate.dialects.dialect import Dialect
from tidegate.dialects.gemini.errors import error_body, error_event, limit_headers
from tidegate.dialects.openai.errors import retry_headers

GEMINI = Dialect(
    name="gemini",
    error_body=error_body,
    error_event=error_event,
    retry_headers=retry_headers,
    limit_headers=limit_headers,
)
