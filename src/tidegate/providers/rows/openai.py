"""OpenAI."""

from __future__ import annotations

from tidegate.dialects.wire import Quirks as WireQuirks
from tidegate.providers.spec import Provider, Quirks

PROVIDER = Provider(
    name="openai",
    title="OpenAI",
    base_url="https://api.openai.com/v1",
    docs_url="https://platform.openai.com/docs/api-reference",
    checked_on="2026-12-01",
    checked_in="openai 3.57.0",
    env_key="OPENAI_API_KEY",
    dialects=("openai", "responses"),
    quirks=Quirks(counts_responses=True, wire=WireQuirks(keeps_responses=True)),
    capabilities=("chat", "completions", "embeddings", "moderations", "responses"),
)
