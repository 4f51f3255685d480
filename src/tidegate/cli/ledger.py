"""`tidegate ledger`: prove that the ledger is whole."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

if TYPE_CHECKING:
    from tidegate.ledger.store import LedgerReader
    from tidegate.ledger.verify import Report

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

    folder = ledger_folder(config, data_dir)
    reader = open_reader(folder)
    try:
        journals = folder / JOURNAL_FOLDER
        report = compare(journals, reader)
        if page is not None:
            instance = (journals / "instance").read_text().strip()
            compare_page(report, instance, reader, lambda: _read(page, page_token_env))
    except StoreDown as error:
        _fail(f"the database in {folder} cannot be used now: {error}")
    except OSError as error:
        _fail(f"cannot verify: {error}")
    finally:
        reader.close()
    _show(report, as_json=as_json)
    if report.problems:
        raise typer.Exit(1)


def ledger_folder(config: Path | None, data_dir: Path | None) -> Path:
    """Return the data directory that the options name."""
    if data_dir is not None:
        return data_dir.expanduser().absolute()
    from tidegate.config.outline import read_outline
    from tidegate.providers.discover import providers_by_name

    outline = read_outline(config, os.environ, Path.cwd(), kinds=providers_by_name())
    return outline.data_dir


def open_reader(folder: Path) -> LedgerReader:
    """Open the ledger of a data directory; ends the command when there is none."""
    from tidegate.stores.database import DATABASE_FILE, open_database
    from tidegate.stores.ledger import SqliteLedger

    if not (folder / DATABASE_FILE).exists():
        _fail(f"{folder} has no database; is it the right folder?")
    open_database(folder).close()
    return SqliteLedger(folder)


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
