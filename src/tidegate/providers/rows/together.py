"""Together AI."""

from __future__ import annotations

from tidegate.providers.spec import Provider

PROVIDER = Provider(
    name="together",
    title="Together AI",
    base_url="https://api.together.ai/v1",
    docs_url="https://docs.together.ai/docs/inference/openai-compatibility",
    checked_on="2026-11-24",
    env_key="TOGETHER_API_KEY",
    capabilities=("chat", "completions", "embeddings"),
)
