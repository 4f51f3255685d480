"""vLLM."""

from __future__ import annotations

from tidegate.providers.spec import Provider

PROVIDER = Provider(
    name="vllm",
    title="vLLM",
    base_url="http://localhost:8000/v1",
    docs_url="https://docs.vllm.ai/en/stable/serving/openai_compatible_server/",
    checked_on="2026-11-24",
    key_required=False,
    dialects=("openai", "responses"),
    capabilities=("chat", "completions", "embeddings", "responses"),
)
