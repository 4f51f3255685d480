"""Baseten."""

from __future__ import annotations

from tidegate.dialects.wire import Quirks as WireQuirks
from tidegate.providers.spec import Provider, Quirks

PROVIDER = Provider(
    name="baseten",
    title="Baseten",
    base_url="https://inference.baseten.co/v1",
    docs_url="https://docs.baseten.co/quickstart",
    checked_on="2026-12-01",
    checked_in="langchain-baseten 0.2.5",
    env_key="BASETEN_API_KEY",
    capabilities=("chat",),
    quirks=Quirks(wire=WireQuirks(max_tokens_field="max_tokens")),
)
