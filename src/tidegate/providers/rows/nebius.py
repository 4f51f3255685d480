"""Nebius Token Factory."""

from __future__ import annotations

from tidegate.dialects.wire import Quirks as WireQuirks
from tidegate.providers.spec import Provider, Quirks

PROVIDER = Provider(
    name="nebius",
    title="Nebius Token Factory",
    base_url="https://api.tokenfactory.nebius.com/v1",
    docs_url="https://docs.tokenfactory.nebius.com/api-reference/introduction",
    checked_on="2026-11-24",
    env_key="NEBIUS_API_KEY",
    capabilities=("chat", "completions", "embeddings"),
    quirks=Quirks(wire=WireQuirks(max_tokens_field="max_tokens")),
)
