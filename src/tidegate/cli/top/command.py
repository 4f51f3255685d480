"""`tidegate top`: the live view of a running gateway in this terminal."""

from __future__ import annotations

import os
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, NoReturn

import typer

TOKEN_VARIABLE = "TIDEGATE_ADMIN_TOKEN"  # noqa: S105 (the name of a variable)


def top(
    url: Annotated[
        str, typer.Option(metavar="URL", help="The gateway's control port.")
    ] = "http://127.0.0.1:8001",
    token: Annotated[
        str,
        typer.Option(metavar="SOURCE", help="Where the admin token is: `env:NAME` or `file:PATH`."),
    ] = f"env:{TOKEN_VARIABLE}",
) -> None:
    """Watch a running gateway: traffic, providers, keys, limits, requests, alerts.

    Keys: 1 to 5 turn pages, p holds still, q ends. The gateway prints its admin token at
    its first start; `tidegate admin-token rotate` makes another.
    """
    if find_spec("textual") is None:
        _fail("this needs one more package: pip install 'tidegate[top]'")
    from tidegate.cli.top.feed import Feed, Place
    from tidegate.config.load import is_loopback

    secret = _read_token(token)
    try:
        place = Place.parse(url)
    except ValueError as error:
        _fail(f"--url {error}")
    if not (sys.stdin.isatty() and sys.stdout.isatty() and sys.stderr.isatty()):
        _fail("this needs a terminal; for programs there is the admin API")
    if not place.is_tls and not is_loopback(place.host):
        print(f"warning: the token travels unencrypted to {place.host}", file=sys.stderr)
    from tidegate.cli.top.screen import TopScreen

    screen = TopScreen(Feed(place, secret))
    screen.run()
    if screen.failure is not None:
        _fail(screen.failure)


def _read_token(source: str) -> str:
    from tidegate.config.secret import Sources, resolve

    if not source.startswith(("env:", "file:")):
        # Whoever lists processes reads their arguments.
        _fail("--token takes env:NAME or file:PATH, not the token itself")
    try:
        return resolve(source, Sources(os.environ, Path.cwd())).reveal()
    except ValueError as error:
        hint = ""
        if source == f"env:{TOKEN_VARIABLE}":
            hint = "; put the admin token there, or name its place with --token"
        _fail(f"{error}{hint}")


def _fail(reason: str) -> NoReturn:
    print(f"tidegate top: {reason}", file=sys.stderr)
    raise typer.Exit(1)
