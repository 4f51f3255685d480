"""Which Tidegate this is."""

from __future__ import annotations

from tidegate.metrics.family import Family

BUILD_INFO = Family(
    "tidegate_build_info",
    "gauge",
    "1, with the version that renders this page.",
    labels=("version",),
    computed=True,
)
