"""Any OpenAI-compatible server."""

from __future__ import annotations

from tidegate.providers.spec import Provider

PROVIDER = Provider(
    name="openai-compatible",
    title="Any OpenAI-compatible server",
    base_url=None,
    docs_url="https://platform.openai.com/docs/api-reference",
    checked_on="2026-11-24",
    key_required=False,
    capabilities=("chat", "completions", "embeddings", "moderations", "responses"),
)
