"""Collects the endpoints of all files of this folder."""

from __future__ import annotations

from tidegate.endpoints import (
    anthropic_messages,
    gemini,
    health,
    metrics,
    openai_completions,
    openai_models,
    seed_chat,
)
from tidegate.pipeline.endpoint import RouteTable


def route_table() -> RouteTable:
    """Return the data port's whole routing table."""
    return RouteTable(
        (
            *openai_completions.ENDPOINTS,
            *openai_models.ENDPOINTS,
            *anthropic_messages.ENDPOINTS,
            *gemini.ENDPOINTS,
            *seed_chat.ENDPOINTS,
            *health.ENDPOINTS,
            *metrics.ENDPOINTS,
        )
    )
