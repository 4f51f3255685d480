"""OpenAI's chat completions, legacy completions and embeddings."""

from tidegate.dialects.dialect import Dialect
from tidegate.dialects.openai.errors import error_body, error_event, limit_headers, retry_headers

OPENAI = Dialect(
    name="openai",
    error_body=error_body,
    error_event=error_event,
    retry_headers=retry_headers,
    limit_headers=limit_headers,
)
