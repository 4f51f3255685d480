"""Where a configured provider is, and what it can be asked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from tidegate.config.snapshot import ModelFamily


@dataclass(frozen=True, slots=True)
class Placement:
    """What a provider row makes of a user's settings.

    Attributes:
        base_url: Where its API starts, no slash at the end; empty for a built-in provider.
        operations: Operation → paths of a whole answer and of a stream below it.
        families: Models that are asked otherwise than the rest.
    """

    base_url: str
    operations: Mapping[str, tuple[str, str]]
    families: tuple[ModelFamily, ...] = ()
