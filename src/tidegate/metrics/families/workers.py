"""Each worker by itself. `worker` is the number of its slot, which its successor takes over."""

from __future__ import annotations

from tidegate.metrics.family import Family

WORKER_RESTARTS = Family(
    "tidegate_worker_restarts_total",
    "counter",
    "Workers replaced because they had died: exit (with a status), signal, hang (the loop stood "
    "still), start (never became ready).",
    labels=("reason",),
    values={"reason": frozenset({"exit", "signal", "hang", "start"})},
    moves="when a dead worker has been buried",
)
WORKER_UP = Family(
    "tidegate_worker_up",
    "gauge",
    "1 while the worker accepts connections, 0 while it starts or drains or its slot is free.",
    labels=("worker",),
    computed=True,
)
WORKER_CPU = Family(
    "tidegate_worker_cpu_seconds_total",
    "counter",
    "CPU time of all processes that this slot has had.",
    labels=("worker",),
    computed=True,
)
WORKER_MEMORY = Family(
    "tidegate_worker_resident_memory_bytes",
    "gauge",
    "Resident memory of the worker.",
    labels=("worker",),
    computed=True,
)
WORKER_OPEN_FDS = Family(
    "tidegate_worker_open_fds",
    "gauge",
    "File descriptors that the worker has open.",
    labels=("worker",),
    computed=True,
)
WORKER_MAX_FDS = Family(
    "tidegate_worker_max_fds",
    "gauge",
    "File descriptors that the worker may have open.",
    labels=("worker",),
    computed=True,
)
WORKER_IN_FLIGHT = Family(
    "tidegate_worker_requests_in_flight",
    "gauge",
    "Requests that the worker is serving now.",
    labels=("worker",),
    computed=True,
)
WORKER_CONNECTIONS = Family(
    "tidegate_worker_connections",
    "gauge",
    "Client connections that the worker holds open.",
    labels=("worker",),
    computed=True,
)
WORKER_GENERATION = Family(
    "tidegate_worker_config_generation",
    "gauge",
    "Configuration generation in force in the worker.",
    labels=("worker",),
    computed=True,
)
