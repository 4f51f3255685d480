"""SambaNova."""

from __future__ import annotations

from tidegate.providers.spec import Provider

PROVIDER = Provider(
    name="sambanova",
    title="SambaNova",
    base_url="https://api.sambanova.ai/v1",
    docs_url="https://docs.sambanova.ai/docs/en/features/openai-compatibility",
    checked_on="2026-12-01",
    checked_in="sambanova 1.13.0",
    env_key="SAMBANOVA_API_KEY",
    dialects=("openai", "responses"),
    capabilities=("chat", "completions", "embeddings", "responses"),
)
