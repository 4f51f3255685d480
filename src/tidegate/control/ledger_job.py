"""Folds the workers' journals into the database, five times a second.

Blocking code on a thread of its own: journals must become durable while the database of the
keys is waited for. The figures go into cells that only this job's
thread writes, so the loop's thread cannot be in its way.
"""

from __future__ import annotations

from pathlib import Path

from tidegate.config.snapshot import Snapshot
from tidegate.control.live.key_tally import KeyTally
from tidegate.ledger import JOURNAL_FOLDER
from tidegate.ledger.fold import EVERY_S, Folder, Retention
from tidegate.ledger.store import LedgerStore, StoreDown
from tidegate.metrics.families.ledger import (
    LEDGER_DAMAGED,
    LEDGER_FOLDED,
    LEDGER_OPEN,
    LEDGER_STORE_FAILURES,
)
from tidegate.metrics.registry import Registry

TICK_EVERY_S = EVERY_S
#: Rows are this old at the most when `tidegate usage` reads them.
FOLD_EVERY_S = 1.0


class LedgerJob:
    """The one reader of an instance's journals. Make it on the loop, run it on the thread.

    Args:
        snapshot: The configuration.
        store: Where rows go.
        registry: Control's.
        tally: Counts usage by key for the live view.
    """

    def __init__(
        self, snapshot: Snapshot, store: LedgerStore, registry: Registry, tally: KeyTally
    ) -> None:
        self._tally = tally
        self._data_dir = Path(snapshot.data_dir)
        self._store = store
        self._retention = Retention(snapshot.ledger.keep_rows_days, snapshot.ledger.keep_sums_days)
        self._folder: Folder | None = None
        self._pending_bytes = registry.gauge(
            registry.families["tidegate_ledger_pending_bytes"]
        ).series
        self._open_attempts = registry.gauge(LEDGER_OPEN).series
        self._folded = registry.counter(LEDGER_FOLDED).series
        self._store_failures = registry.counter(LEDGER_STORE_FAILURES).series
        self._damaged = registry.counter(LEDGER_DAMAGED).series
        self._counted = (0, 0, 0)
        self._lag_s = registry.gauge(registry.families["tidegate_ledger_fold_lag_seconds"]).series

    def tick(self) -> None:
        """Fold what has been written since the last tick, and show how far behind we are.

        Raises:
            StoreDown: The database could not be used; journals keep what it did not take.
        """
        folder = self._folder
        if folder is None:
            folder = self._folder = Folder(
                self._data_dir / JOURNAL_FOLDER,
                self._store,
                retention=self._retention,
                fold_every_s=FOLD_EVERY_S,
            )
            folder.on_committed = self._tally.add
        folder.tick()
        self._show(folder)
        if folder.last_error is not None:
            raise StoreDown(folder.last_error)

    def _show(self, folder: Folder) -> None:
        self._pending_bytes.set(float(folder.backlog_bytes))
        self._lag_s.set(folder.lag_s)
        self._open_attempts.set(float(folder.open_attempts))
        folded, failures, damaged = self._counted
        self._folded.inc(folder.folded_records - folded)
        self._store_failures.inc(folder.store_failures - failures)
        self._damaged.inc(folder.damaged_files - damaged)
        self._counted = (folder.folded_records, folder.store_failures, folder.damaged_files)

    def close(self) -> None:
        """Fold what is left, at the end of the process."""
        if self._folder is None:
            self.tick()
        if self._folder is not None:
            self._folder.close()
