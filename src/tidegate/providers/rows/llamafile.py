"""llamafile."""

from __future__ import annotations

from tidegate.dialects.wire import Quirks as WireQuirks
from tidegate.providers.spec import Provider, Quirks

PROVIDER = Provider(
    name="llamafile",
    title="llamafile",
    base_url="http://localhost:8080/v1",
    docs_url="https://github.com/mozilla-ai/llamafile",
    checked_on="2026-12-01",
    checked_in="source of October 2025",
    key_required=False,
    capabilities=("chat", "completions", "embeddings"),
    quirks=Quirks(wire=WireQuirks(max_tokens_field="max_tokens")),
)
