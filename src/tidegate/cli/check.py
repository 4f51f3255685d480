"""`tidegate check`: say whether a configuration can be used, and why not."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer


def check(
    config: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Configuration file. Default: ./tidegate.yaml if it is there."
        ),
    ] = None,
) -> None:
    """Check the configuration: exit 0, or 1 with a line `path: reason` for each problem."""
    from tidegate.config.compile import compile_snapshot
    from tidegate.config.load import is_loopback, load_settings
    from tidegate.errors import ConfigError
    from tidegate.providers.discover import providers_by_name

    kinds = providers_by_name()
    try:
        loaded = load_settings(config, os.environ, Path.cwd(), kinds=kinds)
    except ConfigError as error:
        if error.file:
            print(f"{error.file}:", file=sys.stderr)
        for path, reason in error.problems:
            print(f"{path}: {reason}", file=sys.stderr)
        raise typer.Exit(1) from None
    settings = loaded.settings
    snapshot = compile_snapshot(
        settings, kinds=kinds, generation=1, pepper=bytes(32), data_dir=settings.server.data_dir
    )
    for warning in loaded.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    if not settings.keys and not is_loopback(settings.server.host):
        print(
            f"warning: {settings.server.host} can be reached from other machines: `serve` will "
            "refuse it until `tidegate keys create` has made a key",
            file=sys.stderr,
        )
    counts = (
        _count(len(snapshot.providers), "provider"),
        _count(len(snapshot.models), "model"),
        _count(len(snapshot.limits), "limit"),
        _count(len(settings.keys), "key"),
    )
    print(f"{loaded.path or 'defaults and environment'}: ok ({', '.join(counts)})")


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
