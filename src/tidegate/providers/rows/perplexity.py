"""Perplexity.

It is asked in OpenAI's Responses format, in which it offers models of many makers; clients of
other APIs are translated. Its chat completions are not below this address.
"""

from __future__ import annotations

from tidegate.providers.spec import Provider

PROVIDER = Provider(
    name="perplexity",
    title="Perplexity",
    base_url="https://api.perplexity.ai/v1",
    docs_url="https://docs.perplexity.ai/docs/grounded-llm/openai-compatibility",
    checked_on="2026-12-01",
    checked_in="perplexityai 0.46.1",
    env_key="PERPLEXITY_API_KEY",
    dialects=("responses",),
    discover=False,
    capabilities=("responses",),
)
