"""Alibaba Cloud Model Studio.

Qwen. Accounts in China: `base_url: https://dashscope.aliyuncs.com/compatible-mode/v1`.
"""

from __future__ import annotations

from tidegate.dialects.wire import Quirks as WireQuirks
from tidegate.providers.spec import Provider, Quirks

PROVIDER = Provider(
    name="dashscope",
    title="Alibaba Cloud Model Studio",
    base_url="https://dashscope-intl.aliyuncs.com/compatible-mode/v1",
    docs_url="https://www.alibabacloud.com/help/en/model-studio/compatibility-of-openai-with-dashscope",
    checked_on="2026-11-24",
    env_key="DASHSCOPE_API_KEY",
    capabilities=("chat", "embeddings"),
    quirks=Quirks(wire=WireQuirks(max_tokens_field="max_tokens")),
)
