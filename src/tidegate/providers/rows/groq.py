"""Groq."""

from __future__ import annotations

from tidegate.providers.spec import Provider

PROVIDER = Provider(
    name="groq",
    title="Groq",
    base_url="https://api.groq.com/openai/v1",
    docs_url="https://console.groq.com/docs/openai",
    checked_on="2026-11-24",
    env_key="GROQ_API_KEY",
    dialects=("openai", "responses"),
    capabilities=("chat", "responses"),
)
