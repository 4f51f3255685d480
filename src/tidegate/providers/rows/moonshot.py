"""Moonshot AI.

Accounts in China: `base_url: https://api.moonshot.cn/v1`.
"""

from __future__ import annotations

from tidegate.dialects.wire import Quirks as WireQuirks
from tidegate.providers.spec import Provider, Quirks

PROVIDER = Provider(
    name="moonshot",
    title="Moonshot AI",
    base_url="https://api.moonshot.ai/v1",
    docs_url="https://platform.kimi.com/docs/api/overview",
    checked_on="2026-12-01",
    checked_in="its OpenAPI document",
    env_key="MOONSHOT_API_KEY",
    capabilities=("chat",),
    quirks=Quirks(wire=WireQuirks(reasoning_field="reasoning_content")),
)
