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
    env_key="JINA_API_KEY",
    capabilities=("embeddings",),
    quirks=Quirks(models_path=""),
)
