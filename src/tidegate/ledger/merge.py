"""Turns records into the changes of one transaction: an open and its settle become one row."""

from __future__ import annotations

from collections.abc import Sequence
from operator import itemgetter
from typing import Final

from tidegate.ledger.records import OPEN_TAG, PROGRESS_TAG, SETTLE_TAG, Settle, Values, values_of
from tidegate.ledger.store import (
    SETTLE_AT,
    WRITER_AT,
    AttemptRow,
    FoldBatch,
    ProgressValues,
    RollupKey,
    Row,
    Sums,
    rollup_of,
)

_UNSETTLED: Final = (None, None, 0, 0, 0, 0, 0, 0, "none", None, None, 0, 0)
_ZERO: Final = [0] * len(Sums._fields)

_OPENED: Final = AttemptRow._fields.index("opened_at_ms")
_TARGET: Final = AttemptRow._fields.index("target_model")
_ordinal_of: Final = itemgetter(AttemptRow._fields.index("ordinal"))
_outcome_of: Final = itemgetter(AttemptRow._fields.index("outcome"))
_cost_of: Final = itemgetter(AttemptRow._fields.index("cost_nano_usd"))
#: Place in `Sums` → what of a row is added there.
_TOKENS: Final = tuple(
    (Sums._fields.index(name), itemgetter(AttemptRow._fields.index(name)))
    for name in (
        "input_tokens",
        "cached_input_tokens",
        "cache_write_tokens",
        "output_tokens",
        "reasoning_tokens",
    )
)
_PROGRESS: Final = tuple(
    AttemptRow._fields.index(name)
    for name in (
        "input_tokens",
        "output_tokens",
        "usage_source",
        "cost_nano_usd",
        "ttft_ms",
        "duration_ms",
        "delivered_bytes",
    )
)


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
    """

    __slots__ = (
        "_done",
        "_fresh",
        "_instance",
        "_open",
        "_progress",
        "_settled",
        "batch",
        "orphans",
        "repeated",
    )

    def __init__(self, instance: str, open_rows: dict[str, Row]) -> None:
        self.batch = FoldBatch()
        self.orphans = 0
        self.repeated = 0
        self._instance = instance
        self._open = open_rows
        self._fresh: dict[str, Row] = {}
        self._progress: dict[str, ProgressValues] = {}
        self._settled: set[str] = set()
        self._done: set[str] = set()

    def skip(self, attempt_id: str) -> None:
        """Take no record of an attempt that has a settled row."""
        self._done.add(attempt_id)

    def add(self, writer: str, records: Sequence[Values]) -> None:
        """Take *records* of one writer, in their order. Their lists become the batch's."""
        unsettled = (self._instance, writer, *_UNSETTLED)
        for values in records:
            tag = values[0]
            if tag == SETTLE_TAG:
                self._settle(values)
            elif tag == OPEN_TAG:
                self._add_open(values, unsettled)
            elif tag == PROGRESS_TAG:
                self._note_progress(values)

    def interrupt(self, writer: str, now_ms: int) -> int:
        """Settle what a dead *writer* left open, with what was delivered; return how many."""
        left = [
            AttemptRow(*row)
            for row in self._fresh.values()
            if row[SETTLE_AT] is None and row[WRITER_AT] == writer
        ]
        for attempt_id, row in self._open.items():
            if row[WRITER_AT] == writer and attempt_id not in self._settled:
                latest = row.copy()
                _set_progress(latest, self._progress.get(attempt_id))
                left.append(AttemptRow(*latest))
        for end in left:
            self._settle(values_of(_interrupted(end, now_ms)))
        return len(left)

    def finish(self) -> FoldBatch:
        """Return the batch, complete."""
        self.batch.inserts = rows = list(self._fresh.values())
        if rows:
            self._sum_up(rows)
        self.batch.progress = list(self._progress.values())
        return self.batch

    def apply(self) -> None:
        """Bring the open rows to what the committed batch has made of them."""
        open_rows = self._open
        for attempt_id in self._settled:
            del open_rows[attempt_id]
        for attempt_id, row in self._fresh.items():
            if row[SETTLE_AT] is None:
                open_rows[attempt_id] = row
        for attempt_id, progress in self._progress.items():
            _set_progress(open_rows[attempt_id], progress)

    def _add_open(self, values: Values, unsettled: tuple[object, ...]) -> None:
        attempt_id = values[1]
        if attempt_id in self._fresh or attempt_id in self._open or attempt_id in self._done:
            self.repeated += 1
            return
        row: Row = values
        del row[0]
        row += unsettled
        if "\x00" in row[_TARGET]:  # the one text a client may have chosen
            row[_TARGET] = row[_TARGET].replace("\x00", "\ufffd")
        self._fresh[attempt_id] = row

    def _settle(self, values: Values) -> None:
        attempt_id = values[1]
        row = self._fresh.get(attempt_id)
        if row is not None:
            if row[SETTLE_AT] is None:
                row[SETTLE_AT:] = values[2:]
            else:
                self.orphans += 1
            return
        row = self._open.get(attempt_id)
        if row is None or attempt_id in self._settled:
            self.orphans += 1
            return
        self.batch.settles.append((*values[2:], attempt_id))
        self._settled.add(attempt_id)
        if self._progress:
            self._progress.pop(attempt_id, None)
        _count_settled(self._sums(rollup_of(row)), [[*row[:SETTLE_AT], *values[2:]]])

    def _sum_up(self, rows: list[Row]) -> None:
        """Count the new rows in the sums of their hour, key and model."""
        groups: dict[RollupKey, list[Row]] = {}
        for row in rows:
            key = rollup_of(row)
            group = groups.get(key)
            if group is None:
                groups[key] = [row]
            else:
                group.append(row)
        for key, group in groups.items():
            sums = self._sums(key)
            sums[0] += list(map(_ordinal_of, group)).count(1)
            sums[1] += len(group)
            _count_settled(sums, [row for row in group if row[SETTLE_AT] is not None])

    def _note_progress(self, values: Values) -> None:
        attempt_id = values[1]
        row = self._fresh.get(attempt_id)
        if row is not None and row[SETTLE_AT] is None:
            _set_progress(row, _progress_values(values, row[_OPENED]))
        elif row is None and attempt_id in self._open and attempt_id not in self._settled:
            self._progress[attempt_id] = _progress_values(values, self._open[attempt_id][_OPENED])
        else:
            self.orphans += 1

    def _sums(self, key: RollupKey) -> list[int]:
        sums = self.batch.rollups.get(key)
        if sums is None:
            sums = self.batch.rollups[key] = _ZERO.copy()
        return sums


def _count_settled(sums: list[int], rows: list[Row]) -> None:
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


def _set_progress(row: Row, progress: ProgressValues | None) -> None:
    if progress is not None:
        for column, value in zip(_PROGRESS, progress, strict=False):  # the id comes last
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
