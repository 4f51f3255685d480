"""Collects the endpoints of all files of this folder."""

from __future__ import annotations

from tidegate.endpoints import (
    anthropic_messages,
    gemini,
    health,
    metrics,
    models,
    openai_completions,
    openai_files,
    openai_media,
    openai_responses,
    provider_passthrough,
    responses_compact,
    responses_count,
    seed_chat,
)
from tidegate.pipeline.endpoint import RouteTable


def route_table(*, has_page: bool = True) -> RouteTable:
    """Return the data port's whole routing table; without the metrics page if it is elsewhere."""
    return RouteTable(
        (
            *openai_completions.ENDPOINTS,
            *openai_media.ENDPOINTS,
            *openai_files.ENDPOINTS,
            *models.ENDPOINTS,
            *openai_responses.ENDPOINTS,
            *responses_compact.ENDPOINTS,
            *responses_count.ENDPOINTS,
            *anthropic_messages.ENDPOINTS,
            *gemini.ENDPOINTS,
            *seed_chat.ENDPOINTS,
            *health.ENDPOINTS,
            *(metrics.ENDPOINTS if has_page else ()),
        ),
        otherwise=provider_passthrough.ANY_PATH,
    )


def page_table() -> RouteTable:
    """Return what the metrics page's own listener serves: the page, `/livez` and `/readyz`."""
    return RouteTable((*metrics.ENDPOINTS, *health.PROBES))
