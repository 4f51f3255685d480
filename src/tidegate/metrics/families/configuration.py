"""The configuration in force."""

from __future__ import annotations

from tidegate.metrics.family import Family

CONFIG_RELOADS = Family(
    "tidegate_config_reloads_total",
    "counter",
    "Reloads of the configuration, by whether the new one was put in force.",
    labels=("result",),
    values={"result": frozenset({"applied", "refused"})},
)
CONFIG_GENERATION = Family(
    "tidegate_config_generation",
    "gauge",
    "Newest configuration generation that the supervisor has published.",
    computed=True,
)
