"""Scaleway Generative APIs.

`SCW_SECRET_KEY` opens the whole cloud account, so it alone does not offer the provider.
"""

from __future__ import annotations

from tidegate.dialects.wire import Quirks as WireQuirks
from tidegate.providers.spec import Provider, Quirks

PROVIDER = Provider(
    name="scaleway",
    title="Scaleway Generative APIs",
    base_url="https://api.scaleway.ai/v1",
    docs_url="https://scaleway.com/en/docs/generative-apis/api-cli/using-chat-api",
    checked_on="2026-12-01",
    env_key="SCW_SECRET_KEY",
    capabilities=("chat", "embeddings"),
    discover=False,
    quirks=Quirks(
        wire=WireQuirks(
            max_tokens_field="max_tokens",
            unsupported=frozenset({"frequency_penalty", "n", "user"}),
        ),
    ),
)
