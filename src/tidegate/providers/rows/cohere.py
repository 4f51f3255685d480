"""Cohere.

Its SDK prefers the name `CO_API_KEY` for the variable and takes this one too.
In its own API, which answers what its OpenAI-compatible one leaves out (documents, citations).
"""

from __future__ import annotations

from tidegate.dialects.wire import Quirks as WireQuirks
from tidegate.providers.spec import Provider, Quirks

PROVIDER = Provider(
    name="cohere",
    title="Cohere",
    base_url="https://api.cohere.com",
    docs_url="https://docs.cohere.com/docs/migrating-v1-to-v2",
    checked_on="2026-12-01",
    checked_in="cohere 7.3.1",
    env_key="COHERE_API_KEY",
    capabilities=("chat", "embeddings"),
    dialects=("cohere",),
    quirks=Quirks(models_path="", wire=WireQuirks(thinking="budget")),
)
