"""`tidegate`: finds the command and tells errors in lines that a person can act on."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from tidegate import __version__
from tidegate.cli.admin_token import admin_token
from tidegate.cli.check import check
from tidegate.cli.keys import keys
from tidegate.cli.ledger import ledger
from tidegate.cli.providers import providers
from tidegate.cli.serve import serve
from tidegate.cli.top.command import top
from tidegate.cli.usage import usage
from tidegate.errors import ConfigError

# Plain help: rich costs 50 ms that every command would pay.
app = typer.Typer(
    name="tidegate",
    rich_markup_mode=None,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command(short_help="Run the gateway.")(serve)
app.command(short_help="Check a configuration.")(check)
app.add_typer(keys)
app.add_typer(admin_token)
app.command(short_help="List the kinds of providers.")(providers)
app.command(short_help="Watch a running gateway.")(top)
app.command(short_help="Show what was used.")(usage)
app.add_typer(ledger)


def _show_version(wanted: bool) -> None:
    if wanted:
        print(f"tidegate {__version__}")
        raise typer.Exit


@app.callback()
def tidegate(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    """Self-hosted LLM gateway: exact limits, exact metrics, any SDK."""


def main() -> None:
    """Run the command that the arguments name; never returns."""
    try:
        app(prog_name="tidegate")
    except ConfigError as error:
        for line in error.lines():
            print(line, file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
