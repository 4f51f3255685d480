"""`tidegate admin-token`: replace the token of the control port, running or not."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Annotated

import typer

from tidegate.cli.place import find_place, read_outline_of
from tidegate.workers.instance_lock import is_running

IN_FORCE_S = 1.5

admin_token = typer.Typer(
    name="admin-token",
    help="Replace the token of the live view and admin API.",
    rich_markup_mode=None,
    no_args_is_help=True,
)


@admin_token.callback()
def _group() -> None:
    """Replace the token of the live view and admin API."""


@admin_token.command(short_help="Make a new token; it is printed once.")
def rotate(
    config: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Configuration file. Default: ./tidegate.yaml if it is there."
        ),
    ] = None,
    data_dir: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Folder of the key database. Default: `server.data_dir` of the file.",
        ),
    ] = None,
) -> None:
    """Make a new admin token. The one before opens nothing any more, and all sessions end.

    Standard output gets the token, once; nothing else can show it again. A running gateway
    follows within two seconds.
    """
    from tidegate.config.pepper import find_pepper
    from tidegate.stores.admin_token import AdminTokenStore
    from tidegate.stores.agreement import agree_on_pepper
    from tidegate.stores.protocols import StoreError

    place = find_place(read_outline_of(config), data_dir)
    pepper, warning = find_pepper(place.pepper, place.folder)
    if warning:
        print(f"warning: {warning}", file=sys.stderr)
    stores = place.open()
    try:
        agree_on_pepper(stores.database, pepper, now_ms=time.time_ns() // 1_000_000)
        token = AdminTokenStore(stores.database, pepper).rotate()
    except StoreError as error:
        print(f"the database {place.name} cannot be used now: {error}", file=sys.stderr)
        raise typer.Exit(1) from None
    finally:
        stores.close()
    if is_running(place.folder):
        time.sleep(IN_FORCE_S)
    print(token, flush=True)
    print(
        f"This is the admin token {place.where} now. It is not stored and cannot be shown again.",
        file=sys.stderr,
    )
