"""The reference page is what the code says, and its examples are configurations."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from tidegate.config.load import Loaded
from tidegate.config.reference import SECTIONS, render_reference
from tidegate.config.settings import Section

ROOT = Path(__file__).parents[2]
DOCUMENTS = [*ROOT.glob("docs/**/*.md"), *ROOT.glob("*.md")]


def test_the_page_is_up_to_date() -> None:
    """Refresh it: `python -m tidegate.config.reference > docs/reference/config.md`."""
    assert (ROOT / "docs/reference/config.md").read_text() == render_reference()


def test_every_section_and_field_is_described() -> None:
    """A setting that is not on the page does not exist for a reader."""
    assert {model for _, model in SECTIONS} == set(Section.__subclasses__()) - {
        model for model in Section.__subclasses__() if model.__name__ == "Settings"
    }
    for _, model in SECTIONS:
        for name, field in model.model_fields.items():
            assert field.description, f"{model.__name__}.{name}"


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_every_configuration_block_in_the_documents_loads(
    path: Path, load: Callable[..., Loaded]
) -> None:
    """A YAML block with one of our sections at its top is tried as a whole file."""
    for block in re.findall(r"^```yaml\n(.*?)^```", path.read_text(), re.M | re.S):
        top = set(re.findall(r"^(\w+):", block, re.M))
        if not top & {"server", "providers", "models", "limits", "keys", "default_limits"}:
            continue
        names = set(re.findall(r"env:(\w+)", block))
        # A container's secret stands where only the container has it.
        block = re.sub(r"file:/run/secrets/\w+", "env:OF_A_CONTAINER", block)
        names |= {"OF_A_CONTAINER"} if "env:OF_A_CONTAINER" in block else set()
        load(block, **{name: f"value-of-{name}-for-the-test" for name in names})
