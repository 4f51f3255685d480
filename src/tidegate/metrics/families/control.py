"""The control process: keys, ledger, live view."""

from tidegate.metrics.family import Family

CONTROL_RESTARTS = Family(
    "tidegate_control_restarts_total",
    "counter",
    "Control processes replaced because they had died: exit (with a status), signal, hang (the "
    "loop stood still), start (never became ready).",
    labels=("reason",),
    values={"reason": frozenset({"exit", "signal", "hang", "start"})},
    moves="when a dead control process has been buried",
)
