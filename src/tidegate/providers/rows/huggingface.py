"""Hugging Face Inference Providers.

`HF_TOKEN` is on many machines for downloads, so it alone does not offer the provider.
"""

from __future__ import annotations

from tidegate.dialects.wire import Quirks as WireQuirks
from tidegate.providers.spec import Provider, Quirks

PROVIDER = Provider(
    name="huggingface",
    title="Hugging Face Inference Providers",
    base_url="https://router.huggingface.co/v1",
    docs_url="https://huggingface.co/docs/inference-providers/index",
    checked_on="2026-12-01",
    env_key="HF_TOKEN",
    discover=False,
    dialects=("openai", "responses"),
    capabilities=("chat", "responses"),
    quirks=Quirks(wire=WireQuirks(max_tokens_field="max_tokens")),
)
