"""GitHub Models.

A token with the `models: read` permission. `GITHUB_TOKEN` is on many machines for other ends, so
the variable is one of our own. Its model list is elsewhere and of another shape.
"""

from __future__ import annotations

from tidegate.providers.spec import Provider, Quirks

PROVIDER = Provider(
    name="github-models",
    title="GitHub Models",
    base_url="https://models.github.ai/inference",
    docs_url="https://docs.github.com/en/rest/models/inference",
    checked_on="2026-11-24",
    env_key="GITHUB_MODELS_TOKEN",
    capabilities=("chat", "embeddings"),
    quirks=Quirks(models_path=""),
)
