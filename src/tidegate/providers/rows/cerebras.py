"""Cerebras."""

from __future__ import annotations

from tidegate.providers.spec import Provider

PROVIDER = Provider(
    name="cerebras",
    title="Cerebras",
    base_url="https://api.cerebras.ai/v1",
    docs_url="https://inference-docs.cerebras.ai/resources/openai",
    checked_on="2026-12-01",
    checked_in="cerebras-cloud-sdk 1.91.0",
    env_key="CEREBRAS_API_KEY",
    capabilities=("chat", "completions"),
)
