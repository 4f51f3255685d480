"""Novita AI."""

from __future__ import annotations

from tidegate.dialects.wire import Quirks as WireQuirks
from tidegate.providers.spec import Provider, Quirks

PROVIDER = Provider(
    name="novita",
    title="Novita AI",
    base_url="https://api.novita.ai/openai/v1",
    docs_url="https://novita.ai/docs/api-reference/model-apis-introduction",
    checked_on="2026-12-01",
    checked_in="novita-sdk 0.5.0",
    env_key="NOVITA_API_KEY",
    capabilities=("chat", "completions", "embeddings"),
    quirks=Quirks(wire=WireQuirks(max_tokens_field="max_tokens")),
)
