"""Fireworks AI."""

from __future__ import annotations

from tidegate.providers.spec import Provider

PROVIDER = Provider(
    name="fireworks",
    title="Fireworks AI",
    base_url="https://api.fireworks.ai/inference/v1",
    docs_url="https://docs.fireworks.ai/tools-sdks/openai-compatibility",
    checked_on="2026-11-24",
    env_key="FIREWORKS_API_KEY",
    capabilities=("chat", "completions", "embeddings", "responses"),
)
