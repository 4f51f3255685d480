"""FriendliAI."""

from __future__ import annotations

from tidegate.dialects.wire import Quirks as WireQuirks
from tidegate.providers.spec import Provider, Quirks

PROVIDER = Provider(
    name="friendli",
    title="FriendliAI",
    base_url="https://api.friendli.ai/serverless/v1",
    docs_url="https://friendli.ai/docs/guides/serverless_endpoints/openai_compatibility",
    checked_on="2026-12-01",
    checked_in="friendli 0.16.5",
    env_key="FRIENDLI_TOKEN",
    dialects=("openai", "responses"),
    capabilities=("chat", "completions", "responses"),
    quirks=Quirks(wire=WireQuirks(max_tokens_field="max_tokens")),
)
