"""Databricks.

Models are names of serving endpoints.
"""

from __future__ import annotations

from tidegate.dialects.wire import Quirks as WireQuirks
from tidegate.providers.spec import Provider, Quirks

PROVIDER = Provider(
    name="databricks",
    title="Databricks",
    base_url=None,
    example_url="https://WORKSPACE/serving-endpoints",
    docs_url="https://learn.microsoft.com/en-us/azure/databricks/large-language-models/llm-serving-intro",
    checked_on="2026-12-01",
    checked_in="databricks-sdk 0.162.0",
    env_key="DATABRICKS_TOKEN",
    own_hosts=("cloud.databricks.com", "azuredatabricks.net", "gcp.databricks.com"),
    capabilities=("chat", "completions", "embeddings"),
    discover=False,
    quirks=Quirks(models_path="", wire=WireQuirks(max_tokens_field="max_tokens")),
)
