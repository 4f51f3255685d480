"""OpenAI."""

from __future__ import annotations

from tidegate.providers.spec import Provider

PROVIDER = Provider(
    name="openai",
    title="OpenAI",
    base_url="https://api.openai.com/v1",
    docs_url="https://platform.openai.com/docs/api-reference",
    checked_on="2026-11-24",
    env_key="OPENAI_API_KEY",
    capabilities=("chat", "completions", "embeddings", "moderations", "responses"),
)
