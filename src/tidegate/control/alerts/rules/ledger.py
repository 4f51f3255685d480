"""The ledger: rows that come late, and rows that are lost."""

from __future__ import annotations

from tidegate.control.alerts.conditions import Compare
from tidegate.control.alerts.expressions import Events, Increase, Latest
from tidegate.control.alerts.rule import AlertRule
from tidegate.metrics.families.ledger import (
    LEDGER_DAMAGED,
    LEDGER_FOLD_LAG,
    LEDGER_LOST,
    LEDGER_STORE_FAILURES,
)

LEDGER_RULES = (
    AlertRule(
        "TidegateLedgerLagging",
        "warning",
        300,
        "Records wait more than a minute for the ledger's database",
        "The ledger of {{ $labels.instance }} is {{ $value | humanizeDuration }} behind",
        "Nothing is lost: the journals keep what the database has not taken. Spend is out of date "
        "by that much, and the journals grow.",
        Compare(Latest(LEDGER_FOLD_LAG), ">", 60),
    ),
    AlertRule(
        "TidegateLedgerStoreFailing",
        "warning",
        60,
        "The ledger's database keeps failing",
        "The ledger's database failed {{ $value | humanize }} times in 15 minutes on "
        "{{ $labels.instance }}",
        "Requests go on and the journals keep their records until the database takes them.",
        # Over three: Prometheus' increase of three failures may come out as 3.2.
        Compare(Increase(LEDGER_STORE_FAILURES, window_s=900), ">", 3.5),
    ),
    AlertRule(
        "TidegateLedgerRecordsLost",
        "critical",
        0,
        "Records found no room on the disk",
        "{{ $labels.instance }} lost {{ $value | humanize }} ledger records ({{ $labels.record }})",
        "The disk of the data folder is full. A lost open is an attempt without a row, a lost "
        "settle one without its end.",
        Compare(Events(LEDGER_LOST, window_s=3600, by=("record",)), ">", 0),
    ),
    AlertRule(
        "TidegateLedgerDamaged",
        "critical",
        0,
        "A journal does not hold what was written",
        "{{ $labels.instance }} set {{ $value | humanize }} damaged journals aside",
        "Disk or file system changed what was written. Records before the damage are in the "
        "database, those behind it are not.",
        Compare(Events(LEDGER_DAMAGED, window_s=86_400), ">", 0),
    ),
)
