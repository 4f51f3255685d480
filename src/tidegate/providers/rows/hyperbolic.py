"""Hyperbolic."""

from __future__ import annotations

from tidegate.dialects.wire import Quirks as WireQuirks
from tidegate.providers.spec import Provider, Quirks

PROVIDER = Provider(
    name="hyperbolic",
    title="Hyperbolic",
    base_url="https://api.hyperbolic.xyz/v1",
    docs_url="https://docs.hyperbolic.xyz/",
    env_key="HYPERBOLIC_API_KEY",
    capabilities=("chat", "completions"),
    quirks=Quirks(wire=WireQuirks(max_tokens_field="max_tokens")),
)
