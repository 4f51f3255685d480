"""AI21."""

from __future__ import annotations

from tidegate.dialects.wire import Quirks as WireQuirks
from tidegate.providers.spec import Provider, Quirks

PROVIDER = Provider(
    name="ai21",
    title="AI21",
    base_url="https://api.ai21.com/studio/v1",
    docs_url="https://docs.ai21.com/reference/jamba-1-6-api-ref",
    checked_on="2026-12-01",
    checked_in="ai21 4.3.0",
    env_key="AI21_API_KEY",
    capabilities=("chat",),
    quirks=Quirks(
        stream_usage=False, models_path="", wire=WireQuirks(max_tokens_field="max_tokens")
    ),
)
