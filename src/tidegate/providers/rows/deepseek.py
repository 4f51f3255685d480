"""DeepSeek."""

from __future__ import annotations

from tidegate.dialects.wire import Quirks as WireQuirks
from tidegate.providers.spec import Provider, Quirks

PROVIDER = Provider(
    name="deepseek",
    title="DeepSeek",
    base_url="https://api.deepseek.com",
    docs_url="https://api-docs.deepseek.com/",
    checked_on="2026-11-24",
    env_key="DEEPSEEK_API_KEY",
    capabilities=("chat",),
    quirks=Quirks(
        wire=WireQuirks(max_tokens_field="max_tokens", reasoning_field="reasoning_content"),
    ),
)
