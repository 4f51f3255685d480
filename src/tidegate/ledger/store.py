"""What the fold asks of a database, and the rows that pass between them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple, Protocol

HOUR_MS: Final = 3_600_000


class StoreDown(Exception):
    """The database cannot be used now. Whether the last commit took place is not known.

    Attributes:
        full: It has no room left.
    """

    def __init__(self, message: str, *, full: bool = False) -> None:
        super().__init__(message)
        self.full = full


class RowsDiffer(Exception):
    """The database holds other rows than the batch was made for; nothing was changed."""


class AttemptRow(NamedTuple):
    """One row of `ledger_attempts`, in the order of its columns.

    Fields are those of `records.Open` and `records.Settle`; `settled_at_ms` and `outcome` are
    None while the attempt runs. `instance` is the gateway that ran it, `writer` the process.
    """

    attempt_id: str
    ordinal: int
    opened_at_ms: int
    key_id: str
    endpoint: str
    model: str
    provider: str
    target_model: str
    stream: bool
    estimate_tokens: int
    estimate_nano_usd: int | None
    price_version: str
    instance: str
    writer: str
    settled_at_ms: int | None
    outcome: str | None
    status: int
    input_tokens: int
    cached_input_tokens: int
    cache_write_tokens: int
    output_tokens: int
    reasoning_tokens: int
    usage_source: str
    cost_nano_usd: int | None
    ttft_ms: int | None
    duration_ms: int
    delivered_bytes: int


Row = list[Any]
"""The values of an `AttemptRow` while they may still change."""

ALIKE_AT: Final = AttemptRow._fields.index("key_id")
SETTLE_AT: Final = AttemptRow._fields.index("settled_at_ms")
WRITER_AT: Final = SETTLE_AT - 1
"""Columns from `SETTLE_AT` on are those of `records.Settle` behind its attempt id."""


class AlikeColumns(NamedTuple):
    """The columns from `ALIKE_AT` to `WRITER_AT`: thousands of rows have them alike."""

    key_id: str
    endpoint: str
    model: str
    provider: str
    target_model: str
    stream: bool
    estimate_tokens: int
    estimate_nano_usd: int | None
    price_version: str
    instance: str
    writer: str


OwnColumns = list[Any]
"""The other columns of a row: those before `ALIKE_AT`, then those from `SETTLE_AT` on."""


def whole_row(alike: AlikeColumns, own: OwnColumns) -> Row:
    """Return a row in the order of its columns."""
    return [*own[:ALIKE_AT], *alike, *own[ALIKE_AT:]]


_OPENED_AT: Final = AttemptRow._fields.index("opened_at_ms")
_KEY_AT: Final = AttemptRow._fields.index("key_id")
_MODEL_AT: Final = AttemptRow._fields.index("model")

SettleValues = tuple[
    int, str, int, int, int, int, int, int, str, int | None, int | None, int, int, str
]
"""The columns from `SETTLE_AT` on, then the attempt id."""

ProgressValues = tuple[int, int, str, int | None, int | None, int, int, str]
"""input_tokens, output_tokens, usage_source, cost_nano_usd, ttft_ms, duration_ms,
delivered_bytes, then the attempt id."""

RollupKey = tuple[int, str, str]
"""Start of the hour (Unix ms), key id, model."""


class Sums(NamedTuple):
    """The figures of a rollup, in the order of its columns. Hours are those of the opening.

    Attributes:
        requests: Attempts with ordinal 1: what clients asked.
        attempts: All rows.
        settled: Rows with an outcome; only they count in what follows.
        succeeded: Outcome `ok`.
        interrupted: Outcome `interrupted`.
        unpriced: Cost unknown, as the model has no price.
    """

    requests: int
    attempts: int
    settled: int
    succeeded: int
    interrupted: int
    unpriced: int
    input_tokens: int
    cached_input_tokens: int
    cache_write_tokens: int
    output_tokens: int
    reasoning_tokens: int
    cost_nano_usd: int


def rollup_of(row: Row) -> RollupKey:
    """Return whose sums *row* is part of."""
    opened_at_ms = row[_OPENED_AT]
    return (opened_at_ms - opened_at_ms % HOUR_MS, row[_KEY_AT], row[_MODEL_AT])


class Position(NamedTuple):
    """How far a file is folded; `done` when nothing more of it will be."""

    offset: int
    done: bool


@dataclass(slots=True)
class FoldState:
    """What an instance left in the database.

    Attributes:
        positions: File name → position.
        open: Attempt id → the row as it stands in the database, an `AttemptRow` as a list.
    """

    positions: dict[str, Position]
    open: dict[str, Row]


@dataclass(slots=True)
class FoldBatch:
    """One transaction.

    Attributes:
        inserts: New rows, open ones and whole ones, by what they have alike.
        settles: For rows that are open in the database.
        progress: Likewise.
        rollups: What is added to the sums; twelve figures in the order of `Sums`.
        positions: File name → its new position.
        forgotten: Names of files that no longer exist.
    """

    inserts: dict[AlikeColumns, list[OwnColumns]] = field(default_factory=dict)
    settles: list[SettleValues] = field(default_factory=list)
    progress: list[ProgressValues] = field(default_factory=list)
    rollups: dict[RollupKey, list[int]] = field(default_factory=dict)
    positions: dict[str, Position] = field(default_factory=dict)
    forgotten: list[str] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(
            self.inserts or self.settles or self.progress or self.positions or self.forgotten
        )


class LedgerStore(Protocol):
    """A database of attempts. Blocking, for one thread; every method may raise `StoreDown`."""

    def load(self, instance: str) -> FoldState:
        """Return what *instance* has left: positions and open rows."""

    def find(self, attempt_ids: Sequence[str]) -> dict[str, AttemptRow]:
        """Return those of *attempt_ids* that have a row."""

    def commit(self, instance: str, batch: FoldBatch) -> None:
        """Make all changes of *batch* durable, or none.

        Raises:
            RowsDiffer: A row to insert exists, or one to settle is not open. Nothing was changed.
        """

    def prune(self, rows_before_ms: int, rollups_before_ms: int, max_rows: int) -> int:
        """Delete old rows and rollups in whole hours; return how many rows went.

        At most *max_rows* rows at a time: call again until fewer go. Open rows stay.
        """

    def close(self) -> None:
        """Give the connection back."""


class LedgerReader(Protocol):
    """What reports ask of a database. Blocking; every method may raise `StoreDown`."""

    def usage(self, by: str, since_ms: int, until_ms: int) -> list[tuple[str | int, Sums]]:
        """Return the use of a time, added up by `key`, `model`, `day`, `hour`, or `provider` or
        `target` (`provider/model there`), which only rows that are still kept can tell.

        A day or an hour is given by its start (Unix ms, UTC). The time is in whole hours: those
        that begin at or after *since_ms* and before *until_ms*.
        """

    def find(self, attempt_ids: Sequence[str]) -> dict[str, AttemptRow]:
        """Return those of *attempt_ids* that have a row."""

    def both_sums(self) -> tuple[dict[RollupKey, Sums], dict[RollupKey, Sums]]:
        """Return the rollups, and the same added up from the rows, of one moment.

        Only hours that still have all their rows.
        """

    def sums_by_provider(self, instance: str, since_ms: int) -> dict[str, Sums]:
        """Return the sums of the rows that *instance* opened from *since_ms* on."""

    def load(self, instance: str) -> FoldState:
        """Return positions and open rows of *instance*."""

    def count_rows(self) -> tuple[int, int]:
        """Return how many rows there are, and how many of them are open."""

    def rows_from_ms(self) -> int:
        """Return the moment from which on no row has been deleted for its age."""

    def damage(self) -> list[str]:
        """Return what the database finds wrong with itself; slow."""

    def close(self) -> None:
        """Give the connection back."""
