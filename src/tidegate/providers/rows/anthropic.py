"""Anthropic."""

from __future__ import annotations

from tidegate.dialects.wire import Quirks as WireQuirks
from tidegate.providers.spec import Provider, Quirks

PROVIDER = Provider(
    name="anthropic",
    title="Anthropic",
    base_url="https://api.anthropic.com",
    docs_url="https://platform.claude.com/docs/en/api/messages",
    checked_on="2026-12-01",
    checked_in="anthropic 2.13.0",
    env_key="ANTHROPIC_API_KEY",
    auth="header:x-api-key",
    dialects=("anthropic",),
    starter_models=("claude-sonnet-5-5", "claude-haiku-5-5"),
    quirks=Quirks(models_path="/v1/models", wire=WireQuirks(thinking="budget")),
)
