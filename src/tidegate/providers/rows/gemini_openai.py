"""Google Gemini (OpenAI-compatible)."""

from __future__ import annotations

from tidegate.providers.spec import Provider

PROVIDER = Provider(
    name="gemini",
    title="Google Gemini (OpenAI-compatible)",
    base_url="https://generativelanguage.googleapis.com/v1beta/openai",
    docs_url="https://ai.google.dev/gemini-api/docs/openai",
    checked_on="2026-11-24",
    env_key="GEMINI_API_KEY",
    starter_models=("gemini-2.5-flash",),
    capabilities=("chat", "embeddings"),
)
