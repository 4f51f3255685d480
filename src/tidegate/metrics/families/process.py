"""The whole instance as one process: sums over all its processes, the dead ones' CPU included."""

from __future__ import annotations

from tidegate.metrics.family import Family

CPU = Family(
    "process_cpu_seconds_total",
    "counter",
    "Total user and system CPU time spent by all processes of the instance, in seconds.",
    computed=True,
)
RESIDENT_MEMORY = Family(
    "process_resident_memory_bytes",
    "gauge",
    "Resident memory of all processes in bytes; memory that they share counts in each.",
    computed=True,
)
VIRTUAL_MEMORY = Family(
    "process_virtual_memory_bytes",
    "gauge",
    "Virtual memory of all processes in bytes.",
    computed=True,
)
OPEN_FDS = Family(
    "process_open_fds",
    "gauge",
    "Number of open file descriptors of all processes.",
    computed=True,
)
MAX_FDS = Family(
    "process_max_fds",
    "gauge",
    "Sum of the processes' limits of open file descriptors.",
    computed=True,
)
START_TIME = Family(
    "process_start_time_seconds",
    "gauge",
    "Start time of the instance since the Unix epoch in seconds.",
    computed=True,
)
