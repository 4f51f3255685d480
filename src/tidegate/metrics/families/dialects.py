"""Translation between wire formats."""

from __future__ import annotations

from tidegate.metrics.family import Family

FIDELITY = Family(
    "tidegate_fidelity_total",
    "counter",
    "Fields that a translated request or answer lost or bent, by the caller's and the provider's "
    "wire format and by feature.",
    labels=("dialect_in", "dialect_out", "field"),
    moves="when a translated request is answered",
)
