"""Volcengine Ark.

Models are names or endpoint ids (`ep-…`).
"""

from __future__ import annotations

from tidegate.dialects.wire import Quirks as WireQuirks
from tidegate.providers.spec import Provider, Quirks

PROVIDER = Provider(
    name="volcengine",
    title="Volcengine Ark",
    base_url="https://ark.cn-beijing.volces.com/api/v3",
    docs_url="https://www.volcengine.com/docs/82379",
    checked_on="2026-12-01",
    checked_in="source of July 2026",
    env_key="ARK_API_KEY",
    dialects=("openai", "responses"),
    capabilities=("chat", "embeddings", "responses"),
    quirks=Quirks(models_path="", wire=WireQuirks(reasoning_field="reasoning_content")),
)
