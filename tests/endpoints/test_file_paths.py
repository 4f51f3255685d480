"""Where files and batches lie at a provider whose paths hold models."""

from __future__ import annotations

import pytest

from tidegate.providers.rows.azure import PROVIDER


@pytest.mark.parametrize("name", ["files", "batches"])
@pytest.mark.parametrize(
    ("options", "path"),
    [({}, "/openai/v1/{}"), ({"api_version": "2024-10-21"}, "/openai/{}?api-version=2024-10-21")],
)
def test_azure_keeps_files_beside_deployments(
    name: str, options: dict[str, str], path: str
) -> None:
    """In the dated API, too, where every model is a deployment in the path."""
    placed = PROVIDER.place("https://own.openai.azure.com", options).operations
    assert placed[name][0] == path.format(name)
