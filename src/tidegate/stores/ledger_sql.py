"""The ledger's statements, as SQLite and PostgreSQL both read them (`?` stands for a value)."""

from __future__ import annotations

from typing import Final

from sqlalchemy import Table

from tidegate.ledger.store import ALIKE_AT, HOUR_MS, SETTLE_AT, AttemptRow, Sums
from tidegate.stores.schema import ledger_attempts, ledger_rollups

# ruff: noqa: S608 (every name in a statement is one of our own columns)

ROWS_FROM: Final = "rows_from_ms"
"""Name of the mark in `ledger_state`: earlier hours have rollups, but not all rows."""


def _columns(table: Table) -> str:
    return ", ".join(column.name for column in table.columns)


def _marks(count: int) -> str:
    return ", ".join("?" * count)


ATTEMPTS: Final = _columns(ledger_attempts)

_IF_NEW: Final = "ON CONFLICT (attempt_id) DO NOTHING"


_ALIKE: Final = ", ".join(AttemptRow._fields[ALIKE_AT:SETTLE_AT])
_OWN: Final = (*AttemptRow._fields[:ALIKE_AT], *AttemptRow._fields[SETTLE_AT:])

INSERT: Final = (
    f"INSERT INTO ledger_attempts ({ATTEMPTS}) VALUES ({_marks(len(AttemptRow._fields))}) {_IF_NEW}"
)

# What rows have alike is bound once, and in SQLite alone, in whose memory this table is.
MAKE_ALIKE: Final = f"CREATE TEMP TABLE alike (number INTEGER PRIMARY KEY, {_ALIKE})"
KEEP_ALIKE: Final = f"INSERT INTO temp.alike VALUES ({_marks(1 + SETTLE_AT - ALIKE_AT)})"
FORGET_ALIKE: Final = "DELETE FROM temp.alike"


def insert_many(rows: int) -> str:
    """Return SQLite's statement that inserts *rows* rows.

    Its values are, for each row, the `OwnColumns` and the number in `alike` of the others.
    """
    own = ", ".join(_OWN)
    row = f"({_marks(len(_OWN) + 1)})"
    return (
        f"INSERT INTO ledger_attempts ({own}, {_ALIKE}) "
        f"WITH own ({own}, number) AS (VALUES {', '.join([row] * rows)}) "
        f"SELECT {', '.join(f'own.{name}' for name in _OWN)}, {_ALIKE} "
        f"FROM own CROSS JOIN temp.alike ON alike.number = own.number WHERE true {_IF_NEW}"
    )


SETTLE: Final = (
    "UPDATE ledger_attempts SET "
    + ", ".join(f"{name} = ?" for name in AttemptRow._fields[SETTLE_AT:])
    + " WHERE attempt_id = ? AND outcome IS NULL"
)
PROGRESS: Final = (
    "UPDATE ledger_attempts SET input_tokens = ?, output_tokens = ?, usage_source = ?, "
    "cost_nano_usd = ?, ttft_ms = ?, duration_ms = ?, delivered_bytes = ? "
    "WHERE attempt_id = ? AND outcome IS NULL"
)
ROLLUP: Final = (
    f"INSERT INTO ledger_rollups ({_columns(ledger_rollups)}) "
    f"VALUES ({_marks(3 + len(Sums._fields))}) ON CONFLICT (hour_ms, key_id, model) DO UPDATE SET "
    + ", ".join(f"{name} = ledger_rollups.{name} + excluded.{name}" for name in Sums._fields)
)
POSITION: Final = (
    "INSERT INTO ledger_positions (instance, file, position, done) VALUES (?, ?, ?, ?) "
    "ON CONFLICT (instance, file) DO UPDATE SET position = excluded.position, done = excluded.done"
)
FORGET: Final = "DELETE FROM ledger_positions WHERE instance = ? AND file = ?"

POSITIONS: Final = "SELECT file, position, done FROM ledger_positions WHERE instance = ?"
OPEN_ROWS: Final = f"SELECT {ATTEMPTS} FROM ledger_attempts WHERE instance = ? AND outcome IS NULL"

MARK_ROWS_FROM: Final = (
    f"INSERT INTO ledger_state (name, value) VALUES ('{ROWS_FROM}', ?) "
    "ON CONFLICT (name) DO UPDATE SET value = excluded.value "
    "WHERE excluded.value > ledger_state.value"
)
PRUNE_ROLLUPS: Final = "DELETE FROM ledger_rollups WHERE hour_ms < ?"
PRUNE_ROWS: Final = (
    "DELETE FROM ledger_attempts WHERE attempt_id IN (SELECT attempt_id FROM ledger_attempts "
    "WHERE opened_at_ms < ? AND outcome IS NOT NULL ORDER BY opened_at_ms LIMIT ?)"
)

# ---------------------------------------------------------------- reading

READ_ROWS_FROM: Final = f"SELECT value FROM ledger_state WHERE name = '{ROWS_FROM}'"

_SETTLED: Final = "outcome IS NOT NULL"


def _count(condition: str) -> str:
    return f"SUM(CASE WHEN {condition} THEN 1 ELSE 0 END)"


def _total(column: str) -> str:
    return f"SUM(CASE WHEN {_SETTLED} THEN {column} ELSE 0 END)"


_ROW_SUMS: Final = {
    "requests": _count("ordinal = 1"),
    "attempts": "COUNT(*)",
    "settled": _count(_SETTLED),
    "succeeded": _count("outcome = 'ok'"),
    "interrupted": _count("outcome = 'interrupted'"),
    "unpriced": _count(f"{_SETTLED} AND cost_nano_usd IS NULL"),
    "input_tokens": _total("input_tokens"),
    "cached_input_tokens": _total("cached_input_tokens"),
    "cache_write_tokens": _total("cache_write_tokens"),
    "output_tokens": _total("output_tokens"),
    "reasoning_tokens": _total("reasoning_tokens"),
    "cost_nano_usd": _total("COALESCE(cost_nano_usd, 0)"),
}
_SUMS_OF_ROWS: Final = ", ".join(f"CAST({_ROW_SUMS[name]} AS BIGINT)" for name in Sums._fields)

ROLLUPS: Final = f"SELECT {_columns(ledger_rollups)} FROM ledger_rollups WHERE hour_ms >= ?"
SUMS_OF_ROWS: Final = (
    f"SELECT opened_at_ms - opened_at_ms % {HOUR_MS} AS hour_ms, key_id, model, {_SUMS_OF_ROWS} "
    "FROM ledger_attempts WHERE opened_at_ms >= ? GROUP BY 1, 2, 3"
)
SUMS_BY_PROVIDER: Final = (
    f"SELECT provider, {_SUMS_OF_ROWS} FROM ledger_attempts "
    "WHERE opened_at_ms >= ? AND instance = ? GROUP BY 1"
)
COUNT_ROWS: Final = f"SELECT COUNT(*), {_count('outcome IS NULL')} FROM ledger_attempts"

GROUPS: Final = {
    "key": "key_id",
    "model": "model",
    "day": f"hour_ms - hour_ms % {24 * HOUR_MS}",
    "hour": "hour_ms",
}
"""How usage can be grouped → what of a rollup makes the group."""

ROW_GROUPS: Final = {"provider": "provider", "target": "provider || '/' || target_model"}
"""The same for what rollups do not hold: added up from the rows, as long as those are kept."""


def usage_statement(by: str) -> str:
    """Return the statement for usage by one of `GROUPS` or `ROW_GROUPS`, between two moments."""
    if by in ROW_GROUPS:
        return (
            f"SELECT {ROW_GROUPS[by]} AS what, {_SUMS_OF_ROWS} FROM ledger_attempts "
            "WHERE opened_at_ms >= ? AND opened_at_ms < ? GROUP BY 1 ORDER BY 1"
        )
    sums = ", ".join(f"CAST(SUM({name}) AS BIGINT)" for name in Sums._fields)
    return (
        f"SELECT {GROUPS[by]} AS what, {sums} FROM ledger_rollups "
        "WHERE hour_ms >= ? AND hour_ms < ? GROUP BY 1 ORDER BY 1"
    )
