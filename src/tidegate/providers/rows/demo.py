"""Built-in demo model.

Offline and deterministic; `providers.demo_upstream` answers in place of a server.
"""

from __future__ import annotations

from tidegate.providers.spec import Provider, Quirks

PROVIDER = Provider(
    name="demo",
    title="Built-in demo model",
    base_url="",
    docs_url="docs/reference/config.md",
    checked_on="2026-11-24",
    auth="none",
    key_required=False,
    discover=False,
    quirks=Quirks(models_path=""),
    capabilities=("chat", "completions", "embeddings"),
)
