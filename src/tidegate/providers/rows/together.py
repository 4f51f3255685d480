"""Together AI."""

from __future__ import annotations

from tidegate.dialects.wire import Quirks as WireQuirks
from tidegate.providers.spec import Provider, Quirks

PROVIDER = Provider(
    name="together",
    title="Together AI",
    base_url="https://api.together.ai/v1",
    docs_url="https://docs.together.ai/docs/inference/openai-compatibility",
    checked_on="2026-12-01",
    checked_in="together 3.1.1",
    env_key="TOGETHER_API_KEY",
    capabilities=("chat", "completions", "embeddings"),
    quirks=Quirks(wire=WireQuirks(max_tokens_field="max_tokens")),
)
