"""Z.AI.

Formerly Zhipu AI; accounts in China: `base_url: https://open.bigmodel.cn/api/paas/v4`.
"""

from __future__ import annotations

from tidegate.dialects.wire import Quirks as WireQuirks
from tidegate.providers.spec import Provider, Quirks

PROVIDER = Provider(
    name="zai",
    title="Z.AI",
    base_url="https://api.z.ai/api/paas/v4",
    docs_url="https://docs.z.ai/guides/overview/quick-start",
    checked_on="2026-12-01",
    checked_in="zai-sdk 0.2.3",
    env_key="ZAI_API_KEY",
    capabilities=("chat",),
    quirks=Quirks(
        wire=WireQuirks(max_tokens_field="max_tokens", reasoning_field="reasoning_content"),
    ),
)
