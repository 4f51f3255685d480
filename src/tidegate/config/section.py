"""What all sections of the settings share."""

from __future__ import annotations

from typing import Any

from pydantic import AfterValidator, BaseModel, ConfigDict

from tidegate.config.units import Duration


class Section(BaseModel):
    """Frozen, strict, no unknown field."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, arbitrary_types_allowed=True
    )


def seconds(number: float) -> Duration:
    """Return a duration of *number* seconds."""
    return Duration(round(number * 1e9))


def between(least: Duration, most: Duration) -> Any:
    """Return bounds of a duration, told in the units that people write."""

    def check(value: Duration) -> Duration:
        if not least <= value <= most:
            raise ValueError(f"must be between {least} and {most}")
        return value

    return AfterValidator(check)
