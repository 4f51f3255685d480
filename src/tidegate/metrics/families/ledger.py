"""The journal files and their way into the database."""

from __future__ import annotations

from tidegate.metrics.family import Family

LEDGER_RECORDS = Family(
    "tidegate_ledger_records_total",
    "counter",
    "Records written to the journals.",
    labels=("record",),
    values={"record": frozenset({"open", "settle"})},
    moves="before a provider is asked, and at the end of the attempt",
)
LEDGER_PENDING = Family(
    "tidegate_ledger_pending_bytes",
    "gauge",
    "Bytes of the journals that are not in the database yet.",
    moves="five times a second",
)
LEDGER_FOLD_LAG = Family(
    "tidegate_ledger_fold_lag_seconds",
    "gauge",
    "Age of the oldest record that is not in the database yet.",
    merge="max",
    moves="five times a second",
)
LEDGER_WRITE = Family(
    "tidegate_ledger_write_seconds",
    "histogram",
    "Time that one write to a journal took.",
    buckets=(0.000005, 0.00001, 0.000025, 0.0001, 0.0005, 0.001, 0.005, 0.025, 0.1, 1.0),
    moves="at one journal write in 64",
)
LEDGER_FOLDED = Family(
    "tidegate_ledger_folded_records_total",
    "counter",
    "Records of the journals that are in the database; a long stream writes more than two.",
    moves="about once a second",
)
LEDGER_OPEN = Family(
    "tidegate_ledger_open_attempts",
    "gauge",
    "Rows of attempts that have not ended yet.",
    moves="about once a second",
)
LEDGER_STORE_FAILURES = Family(
    "tidegate_ledger_store_failures_total",
    "counter",
    "Times the ledger's database could not be used; the journals keep what it did not take.",
    moves="when a fold fails",
)
LEDGER_DAMAGED = Family(
    "tidegate_ledger_damaged_files_total",
    "counter",
    "Journals set aside because what they hold is not what was written.",
    moves="when such a file is read",
)
LEDGER_LOST = Family(
    "tidegate_ledger_lost_records_total",
    "counter",
    "Records that found no room on the disk: open is an attempt served without a row, settle an "
    "end that was lost.",
    labels=("record",),
    values={"record": frozenset({"open", "settle"})},
    moves="each second, while the disk is full",
)
