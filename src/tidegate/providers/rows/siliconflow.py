"""SiliconFlow.

Accounts in China: `base_url: https://api.siliconflow.cn/v1`.
"""

from __future__ import annotations

from tidegate.dialects.wire import Quirks as WireQuirks
from tidegate.providers.spec import Provider, Quirks

PROVIDER = Provider(
    name="siliconflow",
    title="SiliconFlow",
    base_url="https://api.siliconflow.com/v1",
    docs_url="https://www.siliconflow.com/blog/openai-sdk-siliconflow-compatibility-checks",
    checked_on="2026-11-24",
    env_key="SILICONFLOW_API_KEY",
    capabilities=("chat", "embeddings"),
    quirks=Quirks(
        wire=WireQuirks(max_tokens_field="max_tokens", reasoning_field="reasoning_content"),
    ),
)
