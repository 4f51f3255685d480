"""The journal files and their way into the database."""

from __future__ import annotations

from tidegate.metrics.family import Family

LEDGER_RECORDS = Family(
    "tidegate_ledger_records_total",
    "counter",
    "Records written to the journals.",
    labels=("record",),
    values={"record": frozenset({"open", "settle"})},
)
LEDGER_PENDING = Family(
    "tidegate_ledger_pending_bytes",
    "gauge",
    "Bytes of the journals that are not in the database yet.",
)
LEDGER_FOLD_LAG = Family(
    "tidegate_ledger_fold_lag_seconds",
    "gauge",
    "Age of the oldest record that is not in the database yet.",
    merge="max",
)
LEDGER_WRITE = Family(
    "tidegate_ledger_write_seconds",
    "histogram",
    "Time that one write to a journal took.",
    buckets=(0.000005, 0.00001, 0.000025, 0.0001, 0.0005, 0.001, 0.005, 0.025, 0.1, 1.0),
)
