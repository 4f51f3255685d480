"""The provider table as people and programs read it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from tidegate.providers.spec import Provider

_HEAD = """\
# Providers

<!-- Written by `make reference` from the rows of the provider table; change them there. -->

What can stand as `kind` of a provider; `tidegate providers` lists the same.
How to configure one, and how to add a row, is in the [guide](../guides/providers.md).

"key from" is the environment variable that fills in `api_key`, for the provider's own address only.
"checked" is the day on which the linked page, or the provider's SDK or source that is named beside
it, was read for this row; **unverified** rows were written from general knowledge, and nobody has
held them against the page yet.
A word in capitals or braces in an address is yours to fill in.
A dialect is a wire format, the preferred one first: a client of another one is translated.

| kind | provider | dialects | base URL | auth | key from | endpoints | checked |
|---|---|---|---|---|---|---|---|
"""

_QUIRKS_HEAD = """
## Where they differ

From the API that they are compatible with. `openai-compatible` has no row: it is that API.

| kind | differences |
|---|---|
"""


def where(row: Provider) -> str:
    """Return a row's address for people."""
    return "(built in)" if row.base_url == "" else row.base_url or row.example_url or "(yours)"


def as_data(row: Provider) -> dict[str, Any]:
    """Return a row as JSON-able data: its fields, defaults included."""
    return {
        "name": row.name,
        "title": row.title,
        "base_url": row.base_url,
        "example_url": row.example_url,
        "docs_url": row.docs_url,
        "checked_on": row.checked_on,
        "checked_in": row.checked_in,
        "auth": row.auth,
        "dialects": row.dialects,
        "capabilities": row.capabilities,
        "key_required": row.key_required,
        "env_key": row.env_key,
        "env_base_url": row.env_base_url,
        "discover": row.discover,
        "starter_models": row.starter_models,
        "section": row.section,
        "quirks": differences(row),
    }


def differences(row: Provider) -> dict[str, Any]:
    """Return the quirks of a row that are not the default, by name."""
    quirks, plain = row.quirks, type(row.quirks)()
    found = {
        name: getattr(quirks, name)
        for name in ("stream_usage", "models_path", "native_models")
        if getattr(quirks, name) != getattr(plain, name)
    }
    for field in msgspec.structs.fields(quirks.wire):
        value = getattr(quirks.wire, field.name)
        if value != getattr(plain.wire, field.name):
            found[field.name] = sorted(value) if isinstance(value, frozenset) else value
    return found


def render(rows: Iterable[Provider]) -> str:
    """Return docs/reference/providers.md."""
    lines, quirks = [], []
    for row in rows:
        address = where(row) if where(row).startswith("(") else f"`{where(row)}`"
        checked = f"[{row.checked_on or '**unverified**'}]({row.docs_url})"
        if not row.docs_url.startswith("https://"):
            checked = row.checked_on or "**unverified**"
        if row.checked_in:
            checked += f", {row.checked_in}"
        cells = (
            f"`{row.name}`",
            row.title,
            ", ".join(row.dialects),
            address,
            f"`{row.auth}`",
            f"`{row.env_key}`" if row.env_key else "",
            ", ".join(row.capabilities),
            checked,
        )
        lines.append("| " + " | ".join(cells) + " |")
        different = differences(row)
        if different:
            told = ", ".join(f"`{name}: {_shown(value)}`" for name, value in different.items())
            quirks.append(f"| `{row.name}` | {told} |")
    return _HEAD + "\n".join(lines) + "\n" + _QUIRKS_HEAD + "\n".join(quirks) + "\n"


def _shown(value: object) -> str:
    return value or '""' if isinstance(value, str) else msgspec.json.encode(value).decode()
