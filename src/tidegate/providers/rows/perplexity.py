"""Perplexity.

It offers OpenAI's Responses format; its chat completions ended in September 2026. So it is
not offered by itself as long as this gateway serves no `/v1/responses`.
"""

from __future__ import annotations

from tidegate.providers.spec import Provider, Quirks

PROVIDER = Provider(
    name="perplexity",
    title="Perplexity",
    base_url="https://api.perplexity.ai/v1",
    docs_url="https://docs.perplexity.ai/docs/grounded-llm/openai-compatibility",
    checked_on="2026-11-24",
    env_key="PERPLEXITY_API_KEY",
    discover=False,
    quirks=Quirks(stream_usage=False),
    capabilities=("responses",),
)
