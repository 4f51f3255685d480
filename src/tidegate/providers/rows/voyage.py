"""Voyage AI.

Embeddings alone. Keys that begin with `al-` are MongoDB's: `base_url: https://ai.mongodb.com/v1`.
"""

from __future__ import annotations

from tidegate.providers.spec import Provider, Quirks

PROVIDER = Provider(
    name="voyage",
    title="Voyage AI",
    base_url="https://api.voyageai.com/v1",
    docs_url="https://docs.voyageai.com/reference/embeddings-api",
    checked_on="2026-12-01",
    checked_in="voyageai 0.5.0",
    env_key="VOYAGE_API_KEY",
    capabilities=("embeddings",),
    quirks=Quirks(models_path=""),
)
