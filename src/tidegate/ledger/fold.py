"""Folds the journals of an instance into its database, exactly once, through any crash.

The positions up to which files are folded move in the transaction that writes the rows. A
crash before the commit leaves both as they were, a crash behind it leaves nothing to repeat;
rows are keyed by attempt id, so that even a repetition would change nothing.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tidegate.ledger.journal import directory_bytes
from tidegate.ledger.merge import Merge
from tidegate.ledger.reading import Records
from tidegate.ledger.reserve import release_reserve
from tidegate.ledger.store import (
    HOUR_MS,
    WRITER_AT,
    FoldState,
    LedgerStore,
    Position,
    RollupKey,
    RowsDiffer,
    StoreDown,
)
from tidegate.ledger.tail import (
    JournalFile,
    WriterTail,
    instance_of,
    journal_paths,
    lock_for_folding,
)

BATCH_RECORDS: Final = 4_000
EVERY_S: Final = 0.2
"""How often `Folder.tick` wants to be called."""

_MAX_BATCHES: Final = 50
_FIRST_WAIT_S: Final = 0.2
_LONGEST_WAIT_S: Final = 5.0
_PRUNE_EVERY_S: Final = 600.0
_PRUNE_ROWS: Final = 5_000
_STALE_BUILDING_S: Final = 60.0
_DAY_MS: Final = 24 * HOUR_MS
_START: Final = Position(0, done=False)


@dataclass(frozen=True, slots=True)
class Retention:
    """How long rows and rollups stay; None keeps them for ever.

    Rollups should stay longer than rows: `verify` compares the hours that have both.
    """

    rows_days: int | None = 90
    rollups_days: int | None = None


class Folder:
    """The one process that folds a journal directory; hold it for as long as it lives.

    All methods block and belong to one thread. A worker's death need not be told: its lock
    tells within a tick.

    Args:
        directory: Of the journals.
        store: Where rows go.
        retention: What is deleted again, and when.
        fold_every_s: Least time between two folds; ticks in between only make journals durable.
            The longer it is, the more attempts open and settle in one batch, which costs half.
        wall_ms: Unix time; the end of interrupted attempts.

    Attributes:
        backlog_bytes: In the journals, not in the database.
        lag_s: Upper bound of the age of the oldest record that is not in the database.
        open_attempts: Rows without an outcome.
        folded_records: Taken by this object.
        batches: Transactions made by this object.
        interrupted: Attempts settled for dead workers.
        orphans: Settles without an open row; ignored.
        repeated: Opens that had a row already; ignored.
        unknown: Records of a kind that only a newer version knows; ignored.
        damaged_files: Set aside as `*.damaged`.
        store_failures: Times the database could not be used.
        last_error: Why the last time; None while it works.
        on_committed: Called with what each committed batch added to the sums.

    Raises:
        BlockingIOError: Another process folds this directory.
    """

    def __init__(
        self,
        directory: Path,
        store: LedgerStore,
        *,
        retention: Retention | None = None,
        batch_records: int = BATCH_RECORDS,
        fold_every_s: float = 0.0,
        wall_ms: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> None:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._directory = directory
        self._store = store
        self._retention = retention
        self._batch_records = batch_records
        self._wall_ms = wall_ms
        self._lock_fd = lock_for_folding(directory)
        self.instance = instance_of(directory)
        self._state: FoldState | None = None
        self._writers: dict[str, WriterTail] = {}
        self._forget: list[str] = []
        self._turn = 0
        self._writers_left = True
        self._careful = False
        self._wait_s = _FIRST_WAIT_S
        self._retry_at_s = 0.0
        self._fold_every_s = fold_every_s
        self._fold_at_s = 0.0
        self._caught_up_s = time.monotonic()
        self._prune_at_s = 0.0
        self.backlog_bytes = 0
        self.lag_s = 0.0
        self.folded_records = 0
        self.batches = 0
        self.interrupted = 0
        self.orphans = 0
        self.repeated = 0
        self.unknown = 0
        self.damaged_files = 0
        self.store_failures = 0
        self.last_error: str | None = None
        self.on_committed: Callable[[dict[RollupKey, list[int]]], None] | None = None

    @property
    def open_attempts(self) -> int:
        """Rows without an outcome; 0 while the database has not been read."""
        return 0 if self._state is None else len(self._state.open)

    def tick(self) -> None:
        """Fold what has been written, make journals durable, refresh the figures.

        Never raises because of the database: it backs off, and journals keep what they hold.
        """
        caught_up = False
        try:
            self._discover()
            now_s = time.monotonic()
            if now_s >= self._retry_at_s and now_s >= self._fold_at_s:
                self._fold_at_s = now_s + self._fold_every_s
                caught_up = self._catch_up()
                self._prune()
        except StoreDown as error:
            self._back_off(error)
        except BaseException:
            self._state = None  # files may have been read further than was committed
            raise
        finally:
            self._sync()
            self._measure(caught_up)

    def close(self) -> None:
        """Fold what is there now and let another process take over. The store stays open."""
        self._retry_at_s = self._fold_at_s = 0.0
        self.tick()
        self.abandon()

    def abandon(self) -> None:
        """Let another process take over now; it goes on where the last commit ended."""
        for writer in self._writers.values():
            writer.close()
        self._writers.clear()
        os.close(self._lock_fd)

    # ------------------------------------------------------------------ what there is

    def _discover(self) -> None:
        """Open journals that are new, clear away what a dead writer was about to begin."""
        known = {file.name for writer in self._writers.values() for file in writer.files}
        for path, header in journal_paths(self._directory):
            if path.name in known:
                continue
            with suppress(FileNotFoundError):
                file = JournalFile(path, header.number)
                if self._state is not None:
                    position = self._state.positions.get(path.name, _START)
                    file.seek(position.offset, ended=position.done)
                writer = self._writers.get(header.writer)
                if writer is None:
                    writer = self._writers[header.writer] = WriterTail(header.writer)
                writer.add(file)
        oldest_s = time.time() - _STALE_BUILDING_S
        for path in self._directory.glob("*.new"):
            with suppress(FileNotFoundError):
                if path.stat().st_mtime < oldest_s:
                    path.unlink()

    def _load(self) -> None:
        """Read where the last committed batch ended, and go on from there."""
        state = self._store.load(self.instance)
        names = set()
        for writer in self._writers.values():
            for file in writer.files:
                position = state.positions.get(file.name, _START)
                file.seek(position.offset, ended=position.done)
                names.add(file.name)
        self._forget = [name for name in state.positions if name not in names]
        self._writers_left = True
        self._state = state

    # ------------------------------------------------------------------ folding

    def _catch_up(self) -> bool:
        """Fold batch by batch until nothing is left; False when more than a tick's worth was."""
        if self._state is None:
            self._load()
        for _ in range(_MAX_BATCHES):
            try:
                more = self._fold_batch()
            except RowsDiffer as error:
                if self._careful:
                    raise StoreDown(f"rows changed while they were folded: {error}") from error
                # Positions were lost (a restored backup, say): look each row up before.
                self._careful = True
                self._load()
                more = True
            if not more:
                self._careful = False
                return True
        return False

    def _fold_batch(self) -> bool:
        """Fold at most one batch; return whether there may be more."""
        state = self._state
        assert state is not None
        merge = Merge(self.instance, state.open)
        folded = self._read_into(merge, state)
        interrupted = self._interrupt_dead(merge, state) if folded < self._batch_records else 0
        batch = merge.finish()
        for writer in self._writers.values():
            for file in writer.files:
                position = Position(file.offset, file.ended)
                if state.positions.get(file.name) != position and (file.ended or file.offset):
                    batch.positions[file.name] = position
        batch.forgotten = self._forget
        if batch:
            self._store.commit(self.instance, batch)
            self.batches += 1
            if self.on_committed is not None:
                self.on_committed(batch.rollups)
            merge.apply()
            state.positions.update(batch.positions)
            for name in batch.forgotten:
                state.positions.pop(name, None)
            self._forget = []
        self.last_error = None
        self._wait_s = _FIRST_WAIT_S
        self.folded_records += folded
        self.interrupted += interrupted
        self.orphans += merge.orphans
        self.repeated += merge.repeated
        self.unknown += merge.unknown
        self._remove_ended()
        return folded >= self._batch_records or interrupted > 0 or bool(self._forget)

    def _read_into(self, merge: Merge, state: FoldState) -> int:
        """Read up to a batch from all writers, another one first each time."""
        room = self._batch_records
        writers = list(self._writers.values())
        if writers:
            self._turn = (self._turn + 1) % len(writers)
            writers = writers[self._turn :] + writers[: self._turn]
        for writer in writers:
            if room <= 0:
                break
            records = Records()
            room -= writer.read(room, records)
            if self._careful:
                ids = [head[0] for heads in records.opens.values() for head in heads]
                for attempt_id, row in self._store.find(ids).items():
                    if row.outcome is None:
                        state.open.setdefault(attempt_id, list(row))
                    else:
                        merge.skip(attempt_id)
            merge.add(writer.name, records)
        return self._batch_records - room

    def _interrupt_dead(self, merge: Merge, state: FoldState) -> int:
        """Settle what dead writers left open; all that can be read has been read."""
        if not self._writers_left and not any(writer.ended for writer in self._writers.values()):
            return 0
        # A file gets its name before the one before it is unlocked: after one more look, a
        # writer without a file that may grow is dead, not just going over to its next one.
        self._discover()
        dead = {writer.name for writer in self._writers.values() if writer.ended}
        dead |= {row[WRITER_AT] for row in state.open.values()} - self._writers.keys()
        self._writers_left = False
        now_ms = self._wall_ms()
        return sum(merge.interrupt(writer, now_ms) for writer in sorted(dead))

    def _remove_ended(self) -> None:
        """Delete files that are folded to their end, as the database now knows."""
        for writer in list(self._writers.values()):
            for file in [file for file in writer.files if file.ended]:
                with suppress(OSError):
                    self.damaged_files += file.damaged
                    file.remove()
                    writer.files.remove(file)
                    self._forget.append(file.name)
                    file.close()
            if not writer.files:
                del self._writers[writer.name]
                self._writers_left = True

    def _prune(self) -> None:
        """Delete old rows, some at a time; look again ten minutes after the last one."""
        if self._retention is None or time.monotonic() < self._prune_at_s:
            return
        now_ms = self._wall_ms()

        def before_ms(days: int | None) -> int:
            limit_ms = 0 if days is None else now_ms - days * _DAY_MS
            return limit_ms - limit_ms % HOUR_MS

        gone = self._store.prune(
            before_ms(self._retention.rows_days),
            before_ms(self._retention.rollups_days),
            _PRUNE_ROWS,
        )
        if gone < _PRUNE_ROWS:
            self._prune_at_s = time.monotonic() + _PRUNE_EVERY_S

    # ------------------------------------------------------------------ round about

    def _back_off(self, error: StoreDown) -> None:
        """Forget what we believe about the database, and leave it alone for a while."""
        self.store_failures += 1
        self.last_error = str(error)
        self._state = None
        self._retry_at_s = time.monotonic() + self._wait_s
        self._wait_s = min(self._wait_s * 2, _LONGEST_WAIT_S)
        if error.full:
            # With the room of one batch, folded journals can be deleted, which makes more.
            release_reserve(self._directory)

    def _sync(self) -> None:
        for writer in self._writers.values():
            for file in writer.files:
                file.sync()

    def _measure(self, caught_up: bool) -> None:
        now_s = time.monotonic()
        if self._state is None:
            self.backlog_bytes = directory_bytes(self._directory)
        else:
            self.backlog_bytes = sum(
                max(0, file.size - file.offset)
                for writer in self._writers.values()
                for file in writer.files
            )
        if caught_up:
            self._caught_up_s = now_s
        self.lag_s = now_s - self._caught_up_s if self.backlog_bytes else 0.0
