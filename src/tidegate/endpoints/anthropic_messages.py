"""`POST /v1/messages`: Anthropic's Messages API."""

from __future__ import annotations

from tidegate.dialects.anthropic.wire import MESSAGES
from tidegate.endpoints.openai_completions import serve_model
from tidegate.pipeline.endpoint import Endpoint
from tidegate.pipeline.operation import MESSAGE

ENDPOINTS = tuple(
    Endpoint("messages", b"POST", path, MESSAGES.dialect, serve_model, MESSAGE, streams=True)
    for path in (b"/v1/messages", b"/anthropic/v1/messages")
)
