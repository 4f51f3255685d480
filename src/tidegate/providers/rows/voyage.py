"""Voyage AI.

Embeddings alone.
"""

from __future__ import annotations

from tidegate.providers.spec import Provider, Quirks

PROVIDER = Provider(
    name="voyage",
    title="Voyage AI",
    base_url="https://api.voyageai.com/v1",
    docs_url="https://docs.voyageai.com/reference/embeddings-api",
    env_key="VOYAGE_API_KEY",
    capabilities=("embeddings",),
    quirks=Quirks(models_path=""),
)
