"""llama.cpp server."""

from __future__ import annotations

from tidegate.providers.spec import Provider

PROVIDER = Provider(
    name="llamacpp",
    title="llama.cpp server",
    base_url="http://localhost:8080/v1",
    docs_url="https://github.com/ggml-org/llama.cpp/tree/master/tools/server",
    checked_on="2026-11-24",
    key_required=False,
    capabilities=("chat", "completions", "embeddings"),
)
