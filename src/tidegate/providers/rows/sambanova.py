"""SambaNova."""

from __future__ import annotations

from tidegate.providers.spec import Provider

PROVIDER = Provider(
    name="sambanova",
    title="SambaNova",
    base_url="https://api.sambanova.ai/v1",
    docs_url="https://docs.sambanova.ai/docs/en/features/openai-compatibility",
    checked_on="2026-11-24",
    env_key="SAMBANOVA_API_KEY",
    capabilities=("chat", "embeddings"),
)
