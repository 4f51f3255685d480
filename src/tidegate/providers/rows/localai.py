"""LocalAI."""

from __future__ import annotations

from tidegate.dialects.wire import Quirks as WireQuirks
from tidegate.providers.spec import Provider, Quirks

PROVIDER = Provider(
    name="localai",
    title="LocalAI",
    base_url="http://localhost:8080/v1",
    docs_url="https://localai.io/docs/overview/",
    checked_on="2026-12-01",
    checked_in="source of August 2026",
    key_required=False,
    dialects=("openai", "responses"),
    capabilities=("chat", "completions", "embeddings", "moderations", "responses"),
    quirks=Quirks(wire=WireQuirks(max_tokens_field="max_tokens")),
)
