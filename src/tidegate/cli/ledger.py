"""`tidegate ledger`: prove that the ledger is whole."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from tidegate.cli.place import Place, find_place, read_outline_of

if TYPE_CHECKING:
    from tidegate.ledger.verify import Report
    from tidegate.stores.opening import Stores

ledger = typer.Typer(
    name="ledger",
    help="Look after the ledger of upstream attempts.",
    rich_markup_mode=None,
    no_args_is_help=True,
)


@ledger.callback()
def _group() -> None:
    """Look after the ledger of upstream attempts."""


@ledger.command(short_help="Compare journals, rows, rollups and the metrics page.")
def verify(
    page: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            help="Metrics page of the running gateway, to be held against the rows.",
        ),
    ] = None,
    page_token_env: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Environment variable with the page's bearer token."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Machine-readable.")] = False,
    config: Annotated[
        Path | None,
        typer.Option(help="Configuration file. Default: ./tidegate.yaml if it is there."),
    ] = None,
    data_dir: Annotated[
        Path | None,
        typer.Option(help="Folder of the ledger. Default: `server.data_dir` of the file."),
    ] = None,
) -> None:
    """Exit 0 when all agree, 1 with a line for each difference. The gateway may run or not."""
    from tidegate.ledger import JOURNAL_FOLDER
    from tidegate.ledger.store import StoreDown
    from tidegate.ledger.verify import compare_page
    from tidegate.ledger.verify import verify as compare

    place = find_place(read_outline_of(config), data_dir)
    stores = open_ledger(place)
    reader = stores.ledger
    try:
        journals = place.folder / JOURNAL_FOLDER
        report = compare(journals, reader)
        if page is not None:
            instance = (journals / "instance").read_text().strip()
            compare_page(report, instance, reader, lambda: _read(page, page_token_env))
    except StoreDown as error:
        _fail(f"the database {place.name} cannot be used now: {error}")
    except OSError as error:
        _fail(f"cannot verify: {error}")
    finally:
        stores.close()
    _show(report, as_json=as_json)
    if report.problems:
        raise typer.Exit(1)


def open_ledger(place: Place) -> Stores:
    """Open the stores of *place*; ends the command when there are none."""
    if not place.exists:
        _fail(f"{place.folder} has no database; is it the right folder?")
    return place.open()


def _read(url: str, token_env: str | None) -> str:
    import urllib.request

    if not url.startswith(("http://", "https://")):
        _fail("--page: must be an http or https address")
    request = urllib.request.Request(url, headers={"Accept": "text/plain"})  # noqa: S310 (above)
    if token_env is not None:
        request.add_header("Authorization", f"Bearer {os.environ.get(token_env, '')}")
    with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310 (checked above)
        return str(answer.read().decode())


def _show(report: Report, *, as_json: bool) -> None:
    if as_json:
        import msgspec

        print(msgspec.json.format(msgspec.json.encode(report)).decode())
        return
    for problem in report.problems:
        print(problem)
    waiting = f", {report.waiting_records} not folded yet" if report.waiting_records else ""
    page = "" if report.page_attempts is None else f"; page: {report.page_attempts} attempts"
    print(
        f"journals: {report.files} files, {report.records} records{waiting}; "
        f"rows: {report.rows}, {report.open_rows} open; rollups: {report.rollups}{page}"
    )
    print(f"{len(report.problems)} problems" if report.problems else "all agree")


def _fail(text: str) -> NoReturn:
    print(text, file=sys.stderr)
    raise typer.Exit(2)
