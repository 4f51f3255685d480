"""SGLang."""

from __future__ import annotations

from tidegate.providers.spec import Provider

PROVIDER = Provider(
    name="sglang",
    title="SGLang",
    base_url="http://localhost:30000/v1",
    docs_url="https://docs.sglang.io/docs/basic_usage/send_request",
    checked_on="2026-12-01",
    checked_in="its pages on OpenAI's API",
    key_required=False,
    capabilities=("chat", "completions", "embeddings"),
)
