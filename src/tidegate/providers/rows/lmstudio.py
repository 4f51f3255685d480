"""LM Studio."""

from __future__ import annotations

from tidegate.providers.spec import Provider

PROVIDER = Provider(
    name="lmstudio",
    title="LM Studio",
    base_url="http://localhost:1234/v1",
    docs_url="https://lmstudio.ai/docs/developer/openai-compat",
    checked_on="2026-11-24",
    key_required=False,
    capabilities=("chat", "completions", "embeddings", "responses"),
)
