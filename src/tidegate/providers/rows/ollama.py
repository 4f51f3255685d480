"""Ollama."""

from __future__ import annotations

from tidegate.dialects.wire import Quirks as WireQuirks
from tidegate.providers.spec import Provider, Quirks

PROVIDER = Provider(
    name="ollama",
    title="Ollama",
    base_url="http://localhost:11434/v1",
    docs_url="https://docs.ollama.com/api/openai-compatibility",
    checked_on="2026-12-01",
    checked_in="source of August 2026",
    key_required=False,
    env_base_url="OLLAMA_BASE_URL",
    starter_models=("llama3.1",),
    dialects=("openai", "responses"),
    capabilities=("chat", "completions", "embeddings", "responses"),
    quirks=Quirks(native_models=True, wire=WireQuirks(max_tokens_field="max_tokens")),
)
