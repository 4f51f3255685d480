"""LM Studio."""

from __future__ import annotations

from tidegate.dialects.wire import Quirks as WireQuirks
from tidegate.providers.spec import Provider, Quirks

PROVIDER = Provider(
    name="lmstudio",
    title="LM Studio",
    base_url="http://localhost:1234/v1",
    docs_url="https://lmstudio.ai/docs/developer/openai-compat",
    checked_on="2026-12-01",
    key_required=False,
    dialects=("openai", "responses"),
    quirks=Quirks(wire=WireQuirks(keeps_responses=True, max_tokens_field="max_tokens")),
    capabilities=("chat", "completions", "embeddings", "responses"),
)
