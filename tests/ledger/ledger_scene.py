"""A data directory with journals and a database, for the ledger's tests."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

from tidegate.ledger.fold import Folder
from tidegate.ledger.frames import open_frame, progress_frame, settle_frame
from tidegate.ledger.journal import Journal
from tidegate.ledger.store import AttemptRow, Sums
from tidegate.stores.database import DATABASE_FILE, open_database
from tidegate.stores.ledger import SqliteLedger

NOW_MS = 1_800_000_000_000
DIED_MS = NOW_MS + 999_000


class Scene:
    """One instance: `data_dir/journal` and `data_dir/tidegate.db`."""

    def __init__(self, data_dir: Path) -> None:
        self.data_dir = data_dir
        self.journals = data_dir / "journal"
        open_database(data_dir).close()
        self.store = SqliteLedger(data_dir)

    def folder(self, **more: Any) -> Folder:
        """Return the fold of this directory; its clock stands at `DIED_MS`."""
        return Folder(self.journals, self.store, wall_ms=lambda: DIED_MS, **more)

    def fold(self) -> Folder:
        """Fold everything once and let go."""
        folder = self.folder()
        folder.tick()
        folder.close()
        return folder

    def journal(self, slot: int = 2, incarnation: int = 1, **more: Any) -> Journal:
        """Return a writer."""
        return Journal(self.journals, slot, incarnation, **more)

    def query(self, statement: str, *values: object) -> list[Any]:
        """Return the rows of *statement*."""
        with closing(sqlite3.connect(self.data_dir / DATABASE_FILE)) as connection:
            return connection.execute(statement, values).fetchall()

    def rows(self) -> dict[str, AttemptRow]:
        """Return all rows by attempt id."""
        found = [AttemptRow(*row) for row in self.query("SELECT * FROM ledger_attempts")]
        assert len({row.attempt_id for row in found}) == len(found)
        return {row.attempt_id: row for row in found}

    def rollups(self) -> dict[tuple[int, str, str], Sums]:
        """Return all sums that are not zero throughout."""
        found = self.query("SELECT * FROM ledger_rollups")
        return {row[:3]: Sums(*row[3:]) for row in found if any(row[3:])}

    def sums_of_rows(self) -> dict[tuple[int, str, str], Sums]:
        """Return what the rollups have to be, added up in Python from the rows alone."""
        sums: dict[tuple[int, str, str], list[int]] = {}
        for row in self.rows().values():
            hour_ms = row.opened_at_ms // 3_600_000 * 3_600_000
            total = sums.setdefault((hour_ms, row.key_id, row.model), [0] * 12)
            settled = row.outcome is not None
            figures = [
                row.ordinal == 1,
                True,
                settled,
                row.outcome == "ok",
                row.outcome == "interrupted",
                settled and row.cost_nano_usd is None,
                *(
                    (
                        row.input_tokens,
                        row.cached_input_tokens,
                        row.cache_write_tokens,
                        row.output_tokens,
                        row.reasoning_tokens,
                        row.cost_nano_usd or 0,
                    )
                    if settled
                    else (0,) * 6
                ),
            ]
            for column, figure in enumerate(figures):
                total[column] += figure
        return {key: Sums(*total) for key, total in sums.items()}


def open_attempt(journal: Journal, attempt_id: str, **more: Any) -> bool:
    """Write an open record with plain values."""
    fields: dict[str, Any] = {
        "ordinal": int(attempt_id.rpartition(":")[2]),
        "at_ms": NOW_MS,
        "key_id": "key_a",
        "endpoint": "chat_completions",
        "model": "fast",
        "provider": "acme",
        "target_model": "acme-large",
        "stream": False,
        "estimate_tokens": 1000,
        "estimate_nano_usd": 5_000_000,
        "price_version": "genai-prices 1",
    }
    return journal.append([open_frame(attempt_id, **(fields | more))], [])


def settle_attempt(journal: Journal, attempt_id: str, **more: Any) -> None:
    """Write a settle record with plain values."""
    fields: dict[str, Any] = {
        "at_ms": NOW_MS + 1200,
        "outcome": "ok",
        "status": 200,
        "input_tokens": 100,
        "cached_input_tokens": 10,
        "cache_write_tokens": 0,
        "output_tokens": 50,
        "reasoning_tokens": 5,
        "usage_source": "provider",
        "cost_nano_usd": 123_456,
        "ttft_ms": 300,
        "duration_ms": 1200,
        "delivered_bytes": 2048,
    }
    journal.append_settle(settle_frame(attempt_id, **(fields | more)))


def progress_attempt(journal: Journal, attempt_id: str, **more: Any) -> None:
    """Write a progress record with plain values."""
    fields: dict[str, Any] = {
        "at_ms": NOW_MS + 700,
        "input_tokens": 100,
        "output_tokens": 20,
        "cost_nano_usd": 60_000,
        "ttft_ms": 300,
        "delivered_bytes": 800,
    }
    journal.append_progress(progress_frame(attempt_id, **(fields | more)))
