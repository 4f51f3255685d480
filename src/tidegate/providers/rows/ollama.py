"""Ollama."""

from __future__ import annotations

from tidegate.providers.spec import Provider, Quirks

PROVIDER = Provider(
    name="ollama",
    title="Ollama",
    base_url="http://localhost:11434/v1",
    docs_url="https://docs.ollama.com/api/openai-compatibility",
    checked_on="2026-11-24",
    key_required=False,
    env_base_url="OLLAMA_BASE_URL",
    starter_models=("llama3.1",),
    capabilities=("chat", "completions", "embeddings"),
    quirks=Quirks(native_models=True),
)
