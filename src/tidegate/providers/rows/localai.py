"""LocalAI."""

from __future__ import annotations

from tidegate.dialects.wire import Quirks as WireQuirks
from tidegate.providers.spec import Provider, Quirks

PROVIDER = Provider(
    name="localai",
    title="LocalAI",
    base_url="http://localhost:8080/v1",
    docs_url="https://localai.io/docs/overview/",
    key_required=False,
    capabilities=("chat", "completions", "embeddings"),
    quirks=Quirks(wire=WireQuirks(max_tokens_field="max_tokens")),
)
