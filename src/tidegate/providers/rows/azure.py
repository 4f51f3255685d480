"""Azure OpenAI. Models are names of deployments."""

from __future__ import annotations

from tidegate.providers.clouds import AzureProvider
from tidegate.providers.spec import Quirks

PROVIDER = AzureProvider(
    name="azure",
    title="Azure OpenAI",
    base_url=None,
    example_url="https://RESOURCE.openai.azure.com",
    docs_url="https://learn.microsoft.com/en-us/azure/foundry/openai/api-version-lifecycle",
    checked_on="2026-12-01",
    checked_in="openai 3.57.0",
    auth="header:api-key",
    env_key="AZURE_OPENAI_API_KEY",
    env_base_url="AZURE_OPENAI_ENDPOINT",
    env_credentials={
        "azure.tenant_id": ("AZURE_TENANT_ID",),
        "azure.client_id": ("AZURE_CLIENT_ID",),
        "azure.client_secret": ("AZURE_CLIENT_SECRET",),
    },
    own_hosts=("openai.azure.com", "services.ai.azure.com", "cognitiveservices.azure.com"),
    section="azure",
    dialects=("openai", "responses"),
    capabilities=("chat", "completions", "embeddings", "responses"),
    quirks=Quirks(models_path="/openai/v1/models"),
)
