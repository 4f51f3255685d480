"""Jina AI.

Embeddings alone.
"""

from __future__ import annotations

from tidegate.providers.spec import Provider, Quirks

PROVIDER = Provider(
    name="jina",
    title="Jina AI",
    base_url="https://api.jina.ai/v1",
    docs_url="https://jina.ai/embeddings/",
    checked_on="2026-12-01",
    checked_in="its meta-prompt of September 2025",
    env_key="JINA_API_KEY",
    capabilities=("embeddings",),
    quirks=Quirks(models_path=""),
)
