"""`tidegate keys`: make, list and revoke API keys, whether a gateway runs or not."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn, TypeVar

import typer

from tidegate.cli.columns import aligned
from tidegate.cli.place import Place, find_place, read_outline_of
from tidegate.workers.instance_lock import is_running

if TYPE_CHECKING:
    from tidegate.config.outline import Outline
    from tidegate.stores.keys import KeyRecord, KeyStore

IN_FORCE_S = 1.0

_T = TypeVar("_T")

keys = typer.Typer(
    name="keys",
    help="Make, list and revoke API keys.",
    rich_markup_mode=None,
    no_args_is_help=True,
)

_Config = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE", help="Configuration file. Default: ./tidegate.yaml if it is there."
    ),
]
_DataDir = Annotated[
    Path | None,
    typer.Option(
        metavar="DIR", help="Folder of the key database. Default: `server.data_dir` of the file."
    ),
]


@keys.command(short_help="Make a key; its secret is printed once.")
def create(
    name: Annotated[
        str, typer.Option(metavar="NAME", help="Name of the key, unique among active ones.")
    ],
    limit: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Name of a limit beside the default ones; repeatable."),
    ] = None,
    model: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Name of a model it may use; repeatable. Default: all."),
    ] = None,
    team: Annotated[str | None, typer.Option(metavar="TEAM", help="Whom it belongs to.")] = None,
    expires: Annotated[
        str | None,
        typer.Option(
            metavar="WHEN", help="From when it is refused: 30d, 12h, or 2027-01-31 (UTC)."
        ),
    ] = None,
    config: _Config = None,
    data_dir: _DataDir = None,
) -> None:
    """Make a key. Standard output gets its secret, once; nothing else can show it again."""
    from tidegate.config.field_types import check_name

    now_ms = _now_ms()
    for option, value in (("--name", name), ("--team", team)):
        if value is not None:
            _checked(option, partial(check_name, value))
    expires_at_ms = None
    if expires is not None:
        expires_at_ms = _checked("--expires", partial(_read_moment, expires, now_ms))
    outline = read_outline_of(config)
    _check_names(outline, limit or [], model or [])
    place = find_place(outline, data_dir)
    existed = place.exists
    with _store(place, to_make=True) as store:
        created = store.create(
            name,
            now_ms=now_ms,
            limits=list(dict.fromkeys(limit or [])),
            models=list(dict.fromkeys(model)) if model else None,
            team=team,
            expires_at_ms=expires_at_ms,
        )
    _wait_until_in_force(place)
    print(created.secret, flush=True)
    _say(
        f"Created key {created.record.name} ({created.record.id}) {place.where}"
        f"{'' if existed else ', a new database'}. Its secret is the line tg-…: it is not "
        "stored and cannot be shown again."
    )


@keys.command("list", short_help="List the keys.")
def list_keys(
    as_json: Annotated[bool, typer.Option("--json", help="Machine-readable.")] = False,
    config: _Config = None,
    data_dir: _DataDir = None,
) -> None:
    """List the keys, revoked ones too, and those that the configuration holds."""
    outline = read_outline_of(config)
    now_ms = _now_ms()
    records: tuple[KeyRecord, ...] = ()
    place = find_place(outline, data_dir)
    if place.exists:
        with _store(place) as store:
            records = store.list()
    if as_json:
        _print_json(records, outline, now_ms)
        return
    rows: list[tuple[str, ...]] = [
        ("NAME", "ID", "STATE", "SECRET", "LIMITS", "MODELS", "TEAM", "CREATED", "EXPIRES")
    ]
    rows += [_row(record, now_ms) for record in records]
    rows += [
        (name, f"cfg_{name}", "in file", "-", "-", "-", "-", "-", "-")
        for name in outline.key_names()
    ]
    if len(rows) == 1:
        _say(f"There is no key {place.where}: `tidegate keys create --name NAME` makes one.")
        return
    print(aligned(rows))


@keys.command(short_help="Refuse a key from now on.")
def revoke(
    name_or_id: Annotated[str, typer.Argument(metavar="NAME|ID", help="As `keys list` shows it.")],
    config: _Config = None,
    data_dir: _DataDir = None,
) -> None:
    """Refuse a key from now on, for good. A running gateway follows within a second."""
    outline = read_outline_of(config)
    if name_or_id.removeprefix("cfg_") in outline.key_names() and name_or_id.startswith("cfg_"):
        _fail(f"{name_or_id} stands in {outline.path or 'API_KEYS'}: remove it there")
    place = find_place(outline, data_dir)
    if not place.exists:
        _fail(f"{place.folder} has no key database; is it the right folder?")
    with _store(place) as store:
        record = store.revoke(name_or_id, now_ms=_now_ms())
    _wait_until_in_force(place)
    print(f"Revoked key {record.name} ({record.id}).")


def _wait_until_in_force(place: Place) -> None:
    """Give a gateway that runs here the second in which it promises to follow.

    So the next line of a script can use the key, or rely on its being refused.
    """
    if is_running(place.folder):
        time.sleep(IN_FORCE_S)


def _check_names(outline: Outline, limits: list[str], models: list[str]) -> None:
    """Refuse names that the configuration does not have; without a file there is no telling."""
    problems = [("--limit", outline.unknown_limit(limit)) for limit in limits]
    problems += [("--model", outline.unknown_model(model)) for model in models]
    found = [f"{option}: {reason}" for option, reason in problems if reason]
    if outline.path is not None and found:
        _fail("\n".join(f"{line} (in {outline.path})" for line in found))
    if found:
        _say(
            "No configuration file is known here, so names of limits and models are taken as "
            "they are. A key with a limit that the gateway does not have is refused."
        )


@contextmanager
def _store(place: Place, *, to_make: bool = False) -> Iterator[KeyStore]:
    """Open the keys; *to_make* some takes the pepper, which nothing else needs."""
    from tidegate.config.pepper import find_pepper
    from tidegate.stores.agreement import agree_on_pepper
    from tidegate.stores.keys import KeyStore, KeyStoreError
    from tidegate.stores.protocols import StoreError

    pepper, warning = find_pepper(place.pepper, place.folder) if to_make else (b"", None)
    if warning:
        _say(f"warning: {warning}")
    stores = place.open()
    try:
        if to_make:
            agree_on_pepper(stores.database, pepper, now_ms=_now_ms())
        yield KeyStore(stores.database, pepper)
    except KeyStoreError as error:
        _fail(str(error))
    except StoreError as error:
        _fail(f"the database {place.name} cannot be used now: {error}")
    finally:
        stores.close()


def _row(record: KeyRecord, now_ms: int) -> tuple[str, ...]:
    return (
        record.name,
        record.id,
        record.state(now_ms),
        record.display,
        ",".join(record.limits) or "-",
        "all" if record.models is None else ",".join(record.models) or "-",
        record.team or "-",
        _day(record.created_at_ms),
        "never" if record.expires_at_ms is None else _day(record.expires_at_ms),
    )


def _print_json(records: tuple[KeyRecord, ...], outline: Outline, now_ms: int) -> None:
    import msgspec

    shown = [
        msgspec.to_builtins(record) | {"state": record.state(now_ms), "source": "database"}
        for record in records
    ]
    shown += [
        {"id": f"cfg_{name}", "name": name, "source": "configuration"}
        for name in outline.key_names()
    ]
    print(msgspec.json.format(msgspec.json.encode(shown)).decode())


def _read_moment(text: str, now_ms: int) -> int:
    """Return Unix milliseconds of `30d` (from now) or of an ISO day or moment (UTC)."""
    from tidegate.config.units import parse_duration

    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        try:
            at_ms = now_ms + parse_duration(text).ns // 1_000_000
        except ValueError:
            raise ValueError("must be such as 30d, 12h, 2027-01-31") from None
    else:
        moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        at_ms = round(moment.timestamp() * 1000)
    if at_ms <= now_ms:
        raise ValueError("lies in the past")
    return at_ms


def _checked(option: str, read: Callable[[], _T]) -> _T:
    try:
        return read()
    except ValueError as error:
        _fail(f"{option}: {error}")


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


def _day(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).strftime("%Y-%m-%d")


def _say(text: str) -> None:
    print(text, file=sys.stderr)


def _fail(text: str) -> NoReturn:
    _say(text)
    raise typer.Exit(1)
