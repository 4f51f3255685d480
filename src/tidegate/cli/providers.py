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
    from tidegate.providers.listing import as_data, where

    table = providers_by_name()
    if as_json:
        import msgspec

        print(
            msgspec.json.format(
                msgspec.json.encode([as_data(row) for row in table.values()])
            ).decode()
        )
        return
    rows = [("KIND", "NAME", "DIALECTS", "BASE URL", "KEY FROM", "CHECKED")]
    rows += [
        (
            row.name,
            row.title,
            ",".join(row.dialects),
            where(row),
            row.env_key or "-",
            " ".join(filter(None, (row.checked_on, row.checked_in))) or "unverified",
        )
        for row in table.values()
    ]
    print(aligned(rows))
