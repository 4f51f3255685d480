"""`tidegate usage`: requests, tokens and money from the ledger."""

from __future__ import annotations

import sys
import time
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tidegate.cli.columns import aligned
from tidegate.cli.place import find_place, read_outline_of

if TYPE_CHECKING:
    from tidegate.ledger.store import Sums
    from tidegate.stores.protocols import Database

_HOUR_MS = 3_600_000
_FOR_EVER_MS = 1 << 62


class By(StrEnum):
    """What usage can be added up by."""

    KEY = "key"
    MODEL = "model"
    PROVIDER = "provider"
    TARGET = "target"
    DAY = "day"
    HOUR = "hour"


_OF_ROWS = (By.PROVIDER, By.TARGET)


def usage(
    by: Annotated[By, typer.Option(help="What to add up by. Days and hours are UTC.")] = By.KEY,
    since: Annotated[
        str, typer.Option(help="From then on: 30d, 12h, or 2026-11-01 (UTC, whole hours), or all.")
    ] = "30d",
    until: Annotated[
        str | None, typer.Option(help="Up to then, as `--since`. Default: now.")
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
    """Show requests, tokens and cost. Each attempt counts in the hour in which it was opened.

    By model: the names that clients asked for; `provider/*` are all models of a provider
    that no configuration names. By target: each provider's own models.
    """
    from tidegate.cli.ledger import open_ledger
    from tidegate.ledger.store import StoreDown
    from tidegate.stores.protocols import StoreError

    now_ms = time.time_ns() // 1_000_000
    since_ms = _moment("--since", since, now_ms)
    until_ms = _FOR_EVER_MS if until is None else _moment("--until", until, now_ms)
    place = find_place(read_outline_of(config), data_dir)
    stores = open_ledger(place)
    try:
        found = stores.ledger.usage(by.value, since_ms, until_ms)
        names = _key_names(stores.database) if by is By.KEY else {}
        rows_from_ms = stores.ledger.rows_from_ms() if by in _OF_ROWS else 0
    except (StoreDown, StoreError) as error:
        print(f"the database {place.name} cannot be used now: {error}", file=sys.stderr)
        raise typer.Exit(1) from None
    finally:
        stores.close()
    if since_ms < rows_from_ms:
        first = datetime.fromtimestamp(rows_from_ms / 1000, UTC).strftime("%Y-%m-%dT%H:%MZ")
        print(
            f"warning: rows before {first} are no longer kept (ledger.keep_rows), so their use is "
            f"missing by {by.value}; by key, model, day and hour it is there",
            file=sys.stderr,
        )
    if as_json:
        _print_json(by, found, names)
    elif not found:
        print("No request in that time.", file=sys.stderr)
    else:
        print(_table(by, found, names))


def _moment(option: str, text: str, now_ms: int) -> int:
    """Return the start of an hour, Unix ms, of `30d` (ago), an ISO day or moment, or `all`."""
    from tidegate.config.units import parse_duration

    if text == "all":
        return 0
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        try:
            at_ms = now_ms - parse_duration(text).ns // 1_000_000
        except ValueError:
            print(f"{option}: must be such as 30d, 12h, 2026-11-01, all", file=sys.stderr)
            raise typer.Exit(1) from None
    else:
        at_ms = round(moment.replace(tzinfo=moment.tzinfo or UTC).timestamp() * 1000)
    return max(0, at_ms - at_ms % _HOUR_MS)


def _key_names(database: Database) -> dict[str, str]:
    """Return key id → name; those of the configuration have their name in their id."""
    from tidegate.stores.keys import KeyStore

    return {key.id: key.name for key in KeyStore(database, b"").list()}


def _label(by: By, what: str | int, names: dict[str, str]) -> str:
    if isinstance(what, int):
        moment = datetime.fromtimestamp(what / 1000, UTC)
        return moment.strftime("%Y-%m-%d" if by is By.DAY else "%Y-%m-%dT%H:00Z")
    if by is By.KEY:
        return names.get(what) or what.removeprefix("cfg_") or "(no key)"
    return what or "(none)"


def _table(by: By, found: list[tuple[str | int, Sums]], names: dict[str, str]) -> str:
    from tidegate.ledger.store import Sums
    from tidegate.money import format_usd

    rows: list[tuple[str, ...]] = [
        (by.value.upper(), "REQUESTS", "ATTEMPTS", "OK", "INPUT", "CACHED", "OUTPUT", "USD",
         "UNPRICED")
    ]  # fmt: skip
    total = Sums(*(sum(column) for column in zip(*(sums for _, sums in found), strict=True)))
    lines = [(_label(by, what, names), sums) for what, sums in found]
    for label, sums in [*lines, ("total", total)]:
        figures = (
            sums.requests,
            sums.attempts,
            sums.succeeded,
            sums.input_tokens,
            sums.cached_input_tokens,
            sums.output_tokens,
        )
        cost = format_usd(sums.cost_nano_usd)
        rows.append((label, *(str(figure) for figure in figures), cost, str(sums.unpriced)))
    return aligned(rows)


def _print_json(by: By, found: list[tuple[str | int, Sums]], names: dict[str, str]) -> None:
    import msgspec

    from tidegate.money import format_usd

    shown: list[dict[str, Any]] = []
    for what, sums in found:
        entry: dict[str, Any] = {by.value: _label(by, what, {}) if by is not By.KEY else what}
        if by is By.KEY:
            entry["name"] = names.get(str(what), "")
        entry |= sums._asdict()
        entry["cost_usd"] = format_usd(sums.cost_nano_usd, places=9)
        shown.append(entry)
    print(msgspec.json.format(msgspec.json.encode(shown)).decode())
