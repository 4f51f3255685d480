"""Whatever shape the data has, loading ends in settings or in problems with paths."""

from __future__ import annotations

import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st

from tidegate.config.compile import compile_snapshot, config_keys
from tidegate.config.load import load_settings
from tidegate.config.reference import SECTIONS
from tidegate.errors import ConfigError
from tidegate.providers.discover import providers_by_name

FIELDS = sorted({name for _, model in SECTIONS for name in model.model_fields})
TOP = ["server", "providers", "models", "limits", "default_limits", "keys", "stores", "metrics",
       "routing", "logging"]  # fmt: skip
NAMES = ["a", "b", "openai", "demo", "x y", ""]
VALUES = ["a", "b", "demo", "openai", "demo/demo", "1m", "key", "http://h/v1", "env:A", "file:/x",
          "", "openai-compatible", "none", "token", "127.0.0.1", "\n", "é"]  # fmt: skip

scalars = (
    st.sampled_from(VALUES)
    | st.integers(-2, 70_000)
    | st.booleans()
    | st.none()
    | st.floats(allow_nan=False, allow_infinity=False)
)
names = st.sampled_from(FIELDS + NAMES)
shapes = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=4),
    max_leaves=12,
)
documents = st.dictionaries(
    st.sampled_from(TOP), shapes | st.dictionaries(st.sampled_from(NAMES), shapes, max_size=3)
)


@settings(max_examples=600, deadline=None)
@given(data=documents)
@example(data={"providers": {"a": {"kind": ["x"]}}})
@example(data={"providers": {"a": {"kind": None}}, "limits": {"a": {"requests": 1, "window": 0}}})
@example(data={"providers": {"openai": {"api_key": "x", "headers": 5}}})
@example(data={"models": {"a": {"targets": [{"provider": ["x"]}], "fallbacks": {"a": 1}}}})
@example(data={"keys": {"a": {"secret": "x", "models": [{}, None, "a/b"]}}, "providers": {}})
@example(data={"server": {"data_dir": "\0", "host": None}, "metrics": {"access": []}})
def test_loading_has_two_ends_only(data: dict[str, Any]) -> None:
    """No shape brings a traceback, and what is accepted can be compiled."""
    env = {"A": "a-secret-of-the-test", "RATE_LIMITER_CAPACITY": "3", "API_KEYS": "k" * 20}
    kinds = providers_by_name()
    with TemporaryDirectory() as folder:
        path = Path(folder, "g.yaml")
        path.write_text(json.dumps(data))
        try:
            loaded = load_settings(path, env, path.parent, kinds=kinds)
        except ConfigError as error:
            problems = error.problems
        else:
            problems = []
    if problems:
        assert all(place and reason for place, reason in problems)
        return
    compile_snapshot(loaded.settings, kinds=kinds, generation=1, pepper=bytes(32), data_dir=path)
    config_keys(loaded.settings, bytes(32))
