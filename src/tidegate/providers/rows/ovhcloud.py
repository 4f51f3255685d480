"""OVHcloud AI Endpoints."""

from __future__ import annotations

from tidegate.dialects.wire import Quirks as WireQuirks
from tidegate.providers.spec import Provider, Quirks

PROVIDER = Provider(
    name="ovhcloud",
    title="OVHcloud AI Endpoints",
    base_url="https://oai.endpoints.kepler.ai.cloud.ovh.net/v1",
    docs_url="https://docs.ovhcloud.com/en/guides/public-cloud/ai-machine-learning/ai-endpoints-getting-started",
    checked_on="2026-12-01",
    env_key="OVH_AI_ENDPOINTS_ACCESS_TOKEN",
    capabilities=("chat", "completions", "embeddings"),
    quirks=Quirks(wire=WireQuirks(max_tokens_field="max_tokens")),
)
