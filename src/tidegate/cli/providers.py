"""`tidegate providers`: what can stand as `kind` of a provider."""

from __future__ import annotations

from typing import Annotated

import typer

from tidegate.cli.columns import aligned


def providers(
    as_json: Annotated[bool, typer.Option("--json", help="Machine-readable.")] = False,
) -> None:
    """List the kinds of providers, where they are, and how their key is found."""
    from tidegate.providers.discover import providers_by_name

    table = providers_by_name()
    if as_json:
        import msgspec

        print(msgspec.json.format(msgspec.json.encode(list(table.values()))).decode())
        return
    rows = [("KIND", "NAME", "BASE URL", "KEY FROM", "CHECKED")]
    for row in table.values():
        where = "(built in)" if row.base_url == "" else row.base_url or "(yours)"
        rows.append((row.name, row.title, where, row.env_key or "-", row.checked_on))
    print(aligned(rows))
