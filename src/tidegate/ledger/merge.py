"""Turns records into the changes of one transaction: an open and its settle become one row."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from msgspec.structs import astuple

from tidegate.ledger.records import Open, Progress, Record, Settle
from tidegate.ledger.store import (
    SETTLE_AT,
    WRITER_AT,
    AttemptRow,
    FoldBatch,
    ProgressValues,
    Row,
    Sums,
    rollup_of,
)

_UNSETTLED: Final = (None, None, 0, 0, 0, 0, 0, 0, "none", None, None, 0, 0)
_ZERO: Final = [0] * len(Sums._fields)

_OPENED: Final = AttemptRow._fields.index("opened_at_ms")
_TARGET: Final = AttemptRow._fields.index("target_model")
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

    def add(self, writer: str, records: Sequence[Record]) -> None:
        """Take *records* of one writer, in their order."""
        for record in records:
            if type(record) is Settle:
                self._settle(record)
            elif type(record) is Open:
                self._add_open(writer, record)
            elif type(record) is Progress:
                self._note_progress(record)

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
            self._settle(_interrupted(end, now_ms))
        return len(left)

    def finish(self) -> FoldBatch:
        """Return the batch, complete."""
        self.batch.inserts = list(self._fresh.values())
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

    def _add_open(self, writer: str, record: Open) -> None:
        attempt_id = record.attempt_id
        if attempt_id in self._fresh or attempt_id in self._open or attempt_id in self._done:
            self.repeated += 1
            return
        row: Row = [*astuple(record), self._instance, writer, *_UNSETTLED]
        if "\x00" in record.target_model:  # the one text a client may have chosen
            row[_TARGET] = record.target_model.replace("\x00", "\ufffd")
        self._fresh[attempt_id] = row
        sums = self._sums(row)
        sums[1] += 1
        if record.ordinal == 1:
            sums[0] += 1

    def _settle(self, record: Settle) -> None:
        values = astuple(record)
        attempt_id = values[0]
        row = self._fresh.get(attempt_id)
        if row is not None and row[SETTLE_AT] is None:
            row[SETTLE_AT:] = values[1:]
        else:
            row = self._open.get(attempt_id) if row is None else None
            if row is None or attempt_id in self._settled:
                self.orphans += 1
                return
            self.batch.settles.append((*values[1:], attempt_id))
            self._settled.add(attempt_id)
            if self._progress:
                self._progress.pop(attempt_id, None)
        sums = self._sums(row)
        outcome, cost = record.outcome, record.cost_nano_usd
        sums[2] += 1
        if outcome == "ok":
            sums[3] += 1
        elif outcome == "interrupted":
            sums[4] += 1
        sums[6] += record.input_tokens
        sums[7] += record.cached_input_tokens
        sums[8] += record.cache_write_tokens
        sums[9] += record.output_tokens
        sums[10] += record.reasoning_tokens
        if cost is None:
            sums[5] += 1
        else:
            sums[11] += cost

    def _note_progress(self, record: Progress) -> None:
        attempt_id = record.attempt_id
        row = self._fresh.get(attempt_id)
        if row is not None and row[SETTLE_AT] is None:
            _set_progress(row, _progress_values(record, row[_OPENED]))
        elif row is None and attempt_id in self._open and attempt_id not in self._settled:
            self._progress[attempt_id] = _progress_values(record, self._open[attempt_id][_OPENED])
        else:
            self.orphans += 1

    def _sums(self, row: Row) -> list[int]:
        key = rollup_of(row)
        sums = self.batch.rollups.get(key)
        if sums is None:
            sums = self.batch.rollups[key] = _ZERO.copy()
        return sums


def _progress_values(record: Progress, opened_at_ms: int) -> ProgressValues:
    return (
        record.input_tokens,
        record.output_tokens,
        "partial",
        record.cost_nano_usd,
        record.ttft_ms,
        max(0, record.at_ms - opened_at_ms),
        record.delivered_bytes,
        record.attempt_id,
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
