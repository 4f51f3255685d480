"""Google Gemini, in its own API."""

from __future__ import annotations

from tidegate.dialects.wire import Quirks as WireQuirks
from tidegate.providers.spec import Provider, Quirks

PROVIDER = Provider(
    name="gemini",
    title="Google Gemini",
    base_url="https://generativelanguage.googleapis.com/v1beta",
    docs_url="https://ai.google.dev/api/generate-content",
    checked_on="2026-12-01",
    checked_in="google-genai 3.6.1",
    env_key="GEMINI_API_KEY",
    starter_models=("gemini-2.5-flash",),
    auth="header:x-goog-api-key",
    dialects=("gemini",),
    quirks=Quirks(wire=WireQuirks(thinking="budget")),
    capabilities=("chat", "embeddings"),
)
