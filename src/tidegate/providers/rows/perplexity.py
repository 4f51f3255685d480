"""Perplexity.

Every piece of its streams holds the usage so far. It has no list of models at this base.
"""

from __future__ import annotations

from tidegate.providers.spec import Provider

PROVIDER = Provider(
    name="perplexity",
    title="Perplexity",
    base_url="https://api.perplexity.ai",
    docs_url="https://docs.perplexity.ai/guides/chat-completions-guide",
    checked_on="2026-11-24",
    env_key="PERPLEXITY_API_KEY",
    stream_usage=False,
    models_path="",
    capabilities=("chat",),
)
