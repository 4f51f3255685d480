"""MiniMax.

Accounts in China: `base_url: https://api.minimaxi.com/v1`.
"""

from __future__ import annotations

from tidegate.providers.spec import Provider

PROVIDER = Provider(
    name="minimax",
    title="MiniMax",
    base_url="https://api.minimax.io/v1",
    docs_url="https://platform.minimaxi.com/docs/api-reference/text-openai-api",
    checked_on="2026-11-24",
    env_key="MINIMAX_API_KEY",
    capabilities=("chat",),
)
