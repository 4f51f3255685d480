"""OpenRouter."""

from __future__ import annotations

from tidegate.providers.spec import Provider

PROVIDER = Provider(
    name="openrouter",
    title="OpenRouter",
    base_url="https://openrouter.ai/api/v1",
    docs_url="https://openrouter.ai/docs/api-reference/overview",
    checked_on="2026-12-01",
    checked_in="openrouter 1.3.84",
    env_key="OPENROUTER_API_KEY",
    dialects=("openai", "responses"),
    capabilities=("chat", "embeddings", "responses"),
)
