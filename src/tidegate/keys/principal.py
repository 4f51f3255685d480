"""Who a request comes from. There is no empty one: authentication returns it or raises."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Principal:
    """The holder of a key.

    Attributes:
        key_id: Stable id of the key.
        name: Its name, given by the operator; shown in logs.
        subject: `key_id` as bytes, the subject of limits per key.
        team: Its team, if any.
        limits: Names of its own limits, besides the default ones.
        models: Model names it may use; None means all.
        expires_at_ms: Unix ms from which it is refused; None means never.
    """

    key_id: str
    name: str
    subject: bytes
    team: str | None
    limits: tuple[str, ...]
    models: frozenset[str] | None
    expires_at_ms: int | None
