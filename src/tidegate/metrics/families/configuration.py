"""The configuration in force."""

from __future__ import annotations

from tidegate.metrics.family import Family

CONFIG_RELOADS = Family(
    "tidegate_config_reloads_total",
    "counter",
    "Reloads of the configuration, by whether the new one was put in force.",
    labels=("result",),
    values={"result": frozenset({"applied", "refused"})},
    moves="at the end of a reload",
)
CONFIG_GENERATION = Family(
    "tidegate_config_generation",
    "gauge",
    "Newest configuration generation that the supervisor has published.",
    computed=True,
)
CONFIG_LAST_RELOAD = Family(
    "tidegate_config_last_reload_successful",
    "gauge",
    "1 when the newest configuration that was read is in force, 0 after a refused reload.",
    moves="at the start and at the end of a reload",
)
