"""xAI."""

from __future__ import annotations

from tidegate.dialects.wire import Quirks as WireQuirks
from tidegate.providers.spec import Provider, Quirks

PROVIDER = Provider(
    name="xai",
    title="xAI",
    base_url="https://api.x.ai/v1",
    docs_url="https://docs.x.ai/docs/api-reference",
    checked_on="2026-11-24",
    env_key="XAI_API_KEY",
    dialects=("openai", "responses"),
    quirks=Quirks(wire=WireQuirks(keeps_responses=True)),
    capabilities=("chat", "responses"),
)
