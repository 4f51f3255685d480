"""Turns records into the changes of one transaction: an open and its settle become one row."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from operator import itemgetter
from typing import Any, Final

from tidegate.ledger.reading import Alike, Head, Records, values_of
from tidegate.ledger.records import PROGRESS_TAG, SETTLE_TAG, Settle, Values
from tidegate.ledger.store import (
    ALIKE_AT,
    HOUR_MS,
    SETTLE_AT,
    WRITER_AT,
    AlikeColumns,
    AttemptRow,
    FoldBatch,
    OwnColumns,
    ProgressValues,
    RollupKey,
    Row,
    Sums,
    rollup_of,
    whole_row,
)

_UNSETTLED: Final = (None, None, 0, 0, 0, 0, 0, 0, "none", None, None, 0, 0)
_ZERO: Final = [0] * len(Sums._fields)

_HEAD_FIELDS: Final = ALIKE_AT
"""A new row has only these until its end or progress is read."""
_ID: Final = AttemptRow._fields.index("attempt_id")
_OPENED: Final = AttemptRow._fields.index("opened_at_ms")


def _own_place(name: str) -> int:
    """Return where a column stands in `OwnColumns`."""
    place = AttemptRow._fields.index(name)
    return place if place < ALIKE_AT else place - SETTLE_AT + ALIKE_AT


_SETTLED: Final = _own_place("settled_at_ms")
_opened_of: Final = itemgetter(_OPENED)
_ordinal_of: Final = itemgetter(_own_place("ordinal"))
_outcome_of: Final = itemgetter(_own_place("outcome"))
_cost_of: Final = itemgetter(_own_place("cost_nano_usd"))
#: Place in `Sums` → what of a row is added there.
_TOKENS: Final = tuple(
    (Sums._fields.index(name), itemgetter(_own_place(name)))
    for name in (
        "input_tokens",
        "cached_input_tokens",
        "cache_write_tokens",
        "output_tokens",
        "reasoning_tokens",
    )
)
_PROGRESS_COLUMNS: Final = (
    "input_tokens",
    "output_tokens",
    "usage_source",
    "cost_nano_usd",
    "ttft_ms",
    "duration_ms",
    "delivered_bytes",
)
_PROGRESS: Final = tuple(AttemptRow._fields.index(name) for name in _PROGRESS_COLUMNS)
_OWN_PROGRESS: Final = tuple(_own_place(name) for name in _PROGRESS_COLUMNS)


class Merge:
    """Collects one batch. Changes nothing but itself until `apply`.

    Args:
        instance: Goes into each row.
        open_rows: Attempts that are open in the database.

    Attributes:
        batch: What has been collected; complete after `finish`.
        orphans: Settles and progress of attempts that are not open: already settled, or
            never recorded.
        repeated: Opens of attempts that have a row.
        unknown: Records of a kind that this version does not know.
    """

    __slots__ = (
        "_done",
        "_fresh",
        "_instance",
        "_late",
        "_open",
        "_progress",
        "_settled",
        "batch",
        "orphans",
        "repeated",
        "unknown",
    )

    def __init__(self, instance: str, open_rows: dict[str, Row]) -> None:
        self.batch = FoldBatch()
        self.orphans = 0
        self.repeated = 0
        self.unknown = 0
        self._instance = instance
        self._open = open_rows
        self._fresh: dict[str, OwnColumns] = {}
        self._late: dict[RollupKey, list[OwnColumns]] = {}
        self._progress: dict[str, ProgressValues] = {}
        self._settled: set[str] = set()
        self._done: set[str] = set()

    def skip(self, attempt_id: str) -> None:
        """Take no record of an attempt that has a settled row."""
        self._done.add(attempt_id)

    def add(self, writer: str, records: Records) -> None:
        """Take *records* of one writer. Their lists become the batch's."""
        self.unknown += records.unknown
        self._add_opens(writer, records.opens)
        row_of = self._fresh.get
        for values in records.ends:
            row = row_of(values[1])
            if row is not None and len(row) == _HEAD_FIELDS and values[0] == SETTLE_TAG:
                row += values[2:]
            elif values[0] == SETTLE_TAG:
                self._settle(values, row)
            elif values[0] == PROGRESS_TAG:
                self._note_progress(values, row)

    def interrupt(self, writer: str, now_ms: int) -> int:
        """Settle what a dead *writer* left open, with what was delivered; return how many."""
        left = [AttemptRow(*row) for row in self._fresh_open() if row[WRITER_AT] == writer]
        for attempt_id, row in self._open.items():
            if row[WRITER_AT] == writer and attempt_id not in self._settled:
                latest = row.copy()
                _set_progress(latest, _PROGRESS, self._progress.get(attempt_id))
                left.append(AttemptRow(*latest))
        for end in left:
            self._settle(values_of(_interrupted(end, now_ms)), self._fresh.get(end.attempt_id))
        return len(left)

    def finish(self) -> FoldBatch:
        """Return the batch, complete."""
        for alike, rows in self.batch.inserts.items():
            for row in [row for row in rows if len(row) == _HEAD_FIELDS]:
                row.extend(_UNSETTLED)
            self._sum_up(alike, rows)
        for key, rows in self._late.items():
            _count_settled(self._sums(key), rows)
        self.batch.progress = list(self._progress.values())
        return self.batch

    def apply(self) -> None:
        """Bring the open rows to what the committed batch has made of them."""
        open_rows = self._open
        for attempt_id in self._settled:
            del open_rows[attempt_id]
        for row in self._fresh_open():
            open_rows[row[_ID]] = row
        for attempt_id, progress in self._progress.items():
            _set_progress(open_rows[attempt_id], _PROGRESS, progress)

    def _fresh_open(self) -> Iterator[Row]:
        """Give the new rows that have no end, whole."""
        for alike, rows in self.batch.inserts.items():
            for row in rows:
                if len(row) == _HEAD_FIELDS:
                    yield whole_row(alike, [*row, *_UNSETTLED])
                elif row[_SETTLED] is None:
                    yield whole_row(alike, row)

    def _add_opens(self, writer: str, opens: Mapping[Alike, list[Head]]) -> None:
        new = {head[_ID]: head for heads in opens.values() for head in heads}
        if (
            len(new) < sum(map(len, opens.values()))
            or self._done
            or not new.keys().isdisjoint(self._fresh.keys())
            or not new.keys().isdisjoint(self._open.keys())
        ):
            opens, new = self._without_repeated(opens)
        self._fresh |= new
        inserts = self.batch.inserts
        for like, heads in opens.items():
            alike = AlikeColumns(*like, self._instance, writer)
            if "\x00" in like.target_model:  # the one text a client may have chosen
                target_model = like.target_model.replace("\x00", "\ufffd")
                alike = alike._replace(target_model=target_model)
            if alike in inserts:
                inserts[alike] += heads
            else:
                inserts[alike] = heads

    def _without_repeated(
        self, opens: Mapping[Alike, list[Head]]
    ) -> tuple[Mapping[Alike, list[Head]], dict[str, Head]]:
        kept: dict[Alike, list[Head]] = {}
        new: dict[str, Head] = {}
        for like, heads in opens.items():
            for head in heads:
                attempt_id = head[_ID]
                if any(attempt_id in known for known in (new, self._fresh, self._open, self._done)):
                    self.repeated += 1
                else:
                    new[attempt_id] = head
                    kept.setdefault(like, []).append(head)
        return kept, new

    def _settle(self, values: Values, row: OwnColumns | None) -> None:
        """Take an end that is not the first word on a new *row*."""
        if row is not None:
            if len(row) == _HEAD_FIELDS or row[_SETTLED] is None:
                row[_HEAD_FIELDS:] = values[2:]
            else:
                self.orphans += 1
            return
        attempt_id = values[1]
        opened = self._open.get(attempt_id)
        if opened is None or attempt_id in self._settled:
            self.orphans += 1
            return
        end = values[2:]
        self.batch.settles.append((*end, attempt_id))
        self._settled.add(attempt_id)
        if self._progress:
            self._progress.pop(attempt_id, None)
        self._late.setdefault(rollup_of(opened), []).append([*opened[:ALIKE_AT], *end])

    def _sum_up(self, alike: AlikeColumns, rows: list[OwnColumns]) -> None:
        """Count new rows that are alike in the sums of their hour, key and model."""
        opened = list(map(_opened_of, rows))
        first_ms, last_ms = min(opened), max(opened)
        hours = {first_ms - first_ms % HOUR_MS: rows}
        if first_ms // HOUR_MS != last_ms // HOUR_MS:
            hours = {}
            for at_ms, row in zip(opened, rows, strict=True):
                hours.setdefault(at_ms - at_ms % HOUR_MS, []).append(row)
        for hour_ms, group in hours.items():
            sums = self._sums((hour_ms, alike.key_id, alike.model))
            sums[0] += list(map(_ordinal_of, group)).count(1)
            sums[1] += len(group)
            _count_settled(sums, [row for row in group if row[_SETTLED] is not None])

    def _note_progress(self, values: Values, row: OwnColumns | None) -> None:
        attempt_id = values[1]
        if row is not None and (len(row) == _HEAD_FIELDS or row[_SETTLED] is None):
            row[_HEAD_FIELDS:] = _UNSETTLED
            _set_progress(row, _OWN_PROGRESS, _progress_values(values, row[_OPENED]))
        elif row is None and attempt_id in self._open and attempt_id not in self._settled:
            self._progress[attempt_id] = _progress_values(values, self._open[attempt_id][_OPENED])
        else:
            self.orphans += 1

    def _sums(self, key: RollupKey) -> list[int]:
        sums = self.batch.rollups.get(key)
        if sums is None:
            sums = self.batch.rollups[key] = _ZERO.copy()
        return sums


def _count_settled(sums: list[int], rows: list[OwnColumns]) -> None:
    """Count settled *rows* in *sums*; column by column, which takes a third of row by row."""
    outcomes = list(map(_outcome_of, rows))
    costs = list(map(_cost_of, rows))
    unpriced = costs.count(None)
    sums[2] += len(rows)
    sums[3] += outcomes.count("ok")
    sums[4] += outcomes.count("interrupted")
    sums[5] += unpriced
    for place, tokens_of in _TOKENS:
        sums[place] += sum(map(tokens_of, rows))
    sums[11] += sum([cost for cost in costs if cost is not None]) if unpriced else sum(costs)


def _progress_values(values: Values, opened_at_ms: int) -> ProgressValues:
    _, attempt_id, at_ms, input_tokens, output_tokens, cost, ttft_ms, delivered_bytes = values
    return (
        input_tokens,
        output_tokens,
        "partial",
        cost,
        ttft_ms,
        max(0, at_ms - opened_at_ms),
        delivered_bytes,
        attempt_id,
    )


def _set_progress(row: list[Any], places: tuple[int, ...], progress: ProgressValues | None) -> None:
    if progress is not None:
        for column, value in zip(places, progress, strict=False):  # the id comes last
            row[column] = value


def _interrupted(row: AttemptRow, now_ms: int) -> Settle:
    """Return the end of an attempt whose worker died: its last journalled progress."""
    cost = row.cost_nano_usd
    if cost is None and row.price_version:
        cost = 0  # it has a price, and nothing is known to have been used
    return Settle(
        attempt_id=row.attempt_id,
        at_ms=now_ms,
        outcome="interrupted",
        status=row.status,
        input_tokens=row.input_tokens,
        cached_input_tokens=row.cached_input_tokens,
        cache_write_tokens=row.cache_write_tokens,
        output_tokens=row.output_tokens,
        reasoning_tokens=row.reasoning_tokens,
        usage_source=row.usage_source,
        cost_nano_usd=cost,
        ttft_ms=row.ttft_ms,
        duration_ms=row.duration_ms,
        delivered_bytes=row.delivered_bytes,
    )
