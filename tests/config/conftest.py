"""A loader that takes YAML as text and an environment as keywords."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tidegate.config.load import Loaded, load_settings
from tidegate.errors import ConfigError
from tidegate.providers.discover import providers_by_name

Load = Callable[..., Loaded]


@pytest.fixture
def load(tmp_path: Path) -> Load:
    """Load YAML *text* (None: no file at all) under the environment given by keywords."""

    def run(text: str | None = None, /, **env: str) -> Loaded:
        path = None
        if text is not None:
            path = tmp_path / "gateway.yaml"
            path.write_text(text)
        return load_settings(path, env, tmp_path, kinds=providers_by_name())

    return run


@pytest.fixture
def problems(load: Load) -> Callable[..., dict[str, str]]:
    """Return what is wrong with YAML *text*, as path → reason without the line."""

    def run(text: str | None = None, /, **env: str) -> dict[str, str]:
        with pytest.raises(ConfigError) as caught:
            load(text, **env)
        return {path: reason.rpartition(" (line ")[0] or reason
                for path, reason in caught.value.problems}  # fmt: skip

    return run
