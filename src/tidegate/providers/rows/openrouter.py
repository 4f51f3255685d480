"""OpenRouter."""

from __future__ import annotations

from tidegate.providers.spec import Provider

PROVIDER = Provider(
    name="openrouter",
    title="OpenRouter",
    base_url="https://openrouter.ai/api/v1",
    docs_url="https://openrouter.ai/docs/api-reference/overview",
    checked_on="2026-11-24",
    env_key="OPENROUTER_API_KEY",
    dialects=("openai", "responses"),
    capabilities=("chat", "completions", "embeddings", "responses"),
)
