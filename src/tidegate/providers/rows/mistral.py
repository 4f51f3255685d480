"""Mistral AI.

It refuses fields that it does not know and sends the usage with the last piece of every
stream anyway, so it is not asked for it.
"""

from __future__ import annotations

from tidegate.dialects.wire import Quirks as WireQuirks
from tidegate.providers.spec import Provider, Quirks

PROVIDER = Provider(
    name="mistral",
    title="Mistral AI",
    base_url="https://api.mistral.ai/v1",
    docs_url="https://docs.mistral.ai/api",
    checked_on="2026-12-01",
    checked_in="mistralai 3.7.0",
    env_key="MISTRAL_API_KEY",
    quirks=Quirks(stream_usage=False, wire=WireQuirks(max_tokens_field="max_tokens")),
    capabilities=("chat", "embeddings", "moderations"),
)
