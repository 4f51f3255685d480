"""Cloudflare Workers AI."""

from __future__ import annotations

from tidegate.dialects.wire import Quirks as WireQuirks
from tidegate.providers.spec import Provider, Quirks

PROVIDER = Provider(
    name="cloudflare",
    title="Cloudflare Workers AI",
    base_url=None,
    example_url="https://api.cloudflare.com/client/v4/accounts/ACCOUNT/ai/v1",
    docs_url="https://developers.cloudflare.com/workers-ai/configuration/open-ai-compatibility",
    checked_on="2026-12-01",
    env_key="CLOUDFLARE_API_KEY",
    own_hosts=("api.cloudflare.com",),
    dialects=("openai", "responses"),
    capabilities=("chat", "embeddings", "responses"),
    discover=False,
    quirks=Quirks(models_path="", wire=WireQuirks(max_tokens_field="max_tokens")),
)
