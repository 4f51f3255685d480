"""NVIDIA NIM."""

from __future__ import annotations

from tidegate.providers.spec import Provider

PROVIDER = Provider(
    name="nvidia",
    title="NVIDIA NIM",
    base_url="https://integrate.api.nvidia.com/v1",
    docs_url="https://docs.api.nvidia.com/nim/reference/",
    checked_on="2026-12-01",
    checked_in="langchain-nvidia-ai-endpoints 1.5.0",
    env_key="NVIDIA_API_KEY",
    capabilities=("chat", "completions", "embeddings"),
)
